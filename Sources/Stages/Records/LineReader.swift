import Crypto
import Foundation
import PipelineSpec

/// Reads a pinned file line by line, in bounded memory, and proves at the end that it read what was pinned.
struct LineReader {
    let file: PinnedFile

    /// Bytes asked from the system at a time.
    private static let chunk = 1 << 20
    /// A record longer than this is a mistake in the data, not a record.
    static let longestLine = 64 << 20

    /// Calls `body` with each line, without its line break, its number from 1, and the offset behind its line break.
    ///
    /// - Throws: `inputs_changed` when the pinned part of the file is no longer what it was, and whatever `body` throws.
    func forEachLine(_ body: (_ line: Data, _ number: Int, _ end: Int64) throws -> Void) throws {
        guard let handle = FileHandle(forReadingAtPath: file.path) else {
            throw StageError("inputs_changed", "\(file.path) can no longer be opened", exit: .tryAgain)
        }
        defer { try? handle.close() }
        var hasher = SHA256()
        var remaining = Int(file.length)
        var rest = Data()
        var number = 0
        while remaining > 0 {
            guard let block = try handle.read(upToCount: min(Self.chunk, remaining)), !block.isEmpty else {
                throw StageError(
                    "inputs_changed", "\(file.path) became shorter than the \(file.length) bytes this job pinned",
                    exit: .tryAgain)
            }
            remaining -= block.count
            hasher.update(data: block)
            // What is left over was searched already; a long line must not be searched again with every block.
            var unsearched = rest.endIndex
            rest.append(block)
            var start = rest.startIndex
            while let end = Self.lineBreak(in: rest, from: unsearched) {
                number += 1
                var line = rest[start..<end]
                if line.last == UInt8(ascii: "\r") { line = line.dropLast() }
                start = end + 1
                try body(line, number, file.length - Int64(remaining) - Int64(rest.endIndex - start))
                unsearched = start
            }
            if start > rest.startIndex { rest = Data(rest[start...]) }
            guard rest.count <= Self.longestLine else {
                throw StageError(
                    "bad_record", "\(file.path):\(number + 1): a line of more than \(Self.longestLine >> 20) MiB")
            }
        }
        if !rest.isEmpty { try body(rest, number + 1, file.length) }
        let digest = "sha256:" + hasher.finalize().map { String(format: "%02x", $0) }.joined()
        guard digest == file.digest else {
            throw StageError(
                "inputs_changed", "\(file.path) was changed inside the \(file.length) bytes this job pinned",
                exit: .tryAgain)
        }
    }

    /// The place of the first line break at or behind `index`.
    private static func lineBreak(in data: Data, from index: Data.Index) -> Data.Index? {
        data[index...].withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, let found = memchr(base, Int32(UInt8(ascii: "\n")), bytes.count) else {
                return nil
            }
            return index + (UnsafeRawPointer(found) - base)
        }
    }
}
