import Foundation
import PipelineSpec

/// Reads a pinned file line by line, in bounded memory, and proves at the end that it read what was pinned.
struct LineReader {
    let file: PinnedFile

    /// A record longer than this is a mistake in the data, not a record.
    static let longestLine = 64 << 20

    /// Calls `body` with each line, without its line break, its number from 1, and the offset behind its line break in
    /// the text. A byte order mark at the start is left out.
    ///
    /// - Throws: `inputs_changed` when the pinned part of the file is no longer what it was, and whatever `body`
    ///   throws.
    func forEachLine(_ body: (_ line: Data, _ number: Int, _ end: Int64) throws -> Void) throws {
        var rest = Data()
        var number = 0
        var position: Int64 = 0
        func line(_ bytes: Data) throws {
            number += 1
            var bytes = bytes
            if bytes.last == UInt8(ascii: "\r") { bytes = bytes.dropLast() }
            if number == 1, bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes = bytes.dropFirst(3) }
            try body(bytes, number, position)
        }
        try PinnedText(file: file).forEachBlock { block in
            // What is left over was searched already; a long line must not be searched again with every block.
            var unsearched = rest.endIndex
            rest.append(block)
            var start = rest.startIndex
            while let end = Self.lineBreak(in: rest, from: unsearched) {
                position += Int64(end + 1 - start)
                try line(rest[start..<end])
                start = end + 1
                unsearched = start
            }
            if start > rest.startIndex { rest = Data(rest[start...]) }
            guard rest.count <= Self.longestLine else {
                throw StageError(
                    "bad_record", "\(file.path):\(number + 1): a line of more than \(Self.longestLine >> 20) MiB")
            }
        }
        if !rest.isEmpty {
            position += Int64(rest.count)
            try line(rest)
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
