import Artifacts
import Crypto
import Foundation
import PipelineSpec

/// The bytes of a pinned file in blocks, unpacked where it is gzip, with the proof that they are those that were
/// pinned.
///
/// Nothing beyond the pinned length is read. Memory is a few blocks, however large the file and whatever it unpacks to.
struct PinnedText {
    let file: PinnedFile

    /// Bytes asked from the system at a time.
    private static let blockSize = 1 << 20

    /// Calls `body` with each block of the file's text, in order.
    ///
    /// - Throws: ``StageError`` `inputs_changed` when the pinned part of the file is no longer what it was,
    ///   `bad_record` when it is broken gzip, and whatever `body` throws.
    func forEachBlock(_ body: (Data) throws -> Void) throws {
        guard let handle = FileHandle(forReadingAtPath: file.path) else {
            throw StageError("inputs_changed", "\(file.path) can no longer be opened", exit: .tryAgain)
        }
        defer { try? handle.close() }
        var hasher = SHA256()
        var remaining = Int(file.length)
        var gzip: GzipReader?
        var isFirst = true
        while remaining > 0 {
            guard let block = try handle.read(upToCount: min(Self.blockSize, remaining)), !block.isEmpty else {
                throw StageError(
                    "inputs_changed", "\(file.path) became shorter than the \(file.length) bytes this job pinned",
                    exit: .tryAgain)
            }
            remaining -= block.count
            hasher.update(data: block)
            if isFirst, GzipReader.recognises(block) { gzip = try GzipReader(file: file.path) }
            isFirst = false
            if let gzip { try gzip.read(block, body) } else { try body(block) }
        }
        // A file that was changed is no broken one: the digest speaks first.
        let digest = "sha256:" + hasher.finalize().map { String(format: "%02x", $0) }.joined()
        guard digest == file.digest else {
            throw StageError(
                "inputs_changed", "\(file.path) was changed inside the \(file.length) bytes this job pinned",
                exit: .tryAgain)
        }
        try gzip?.finish()
    }

    /// The beginning of the text, at most `count` bytes; of a file that cannot be unpacked, nothing.
    func start(_ count: Int) throws -> Data {
        struct Enough: Error {}
        var start = Data()
        do {
            try forEachBlock { block in
                start.append(block.prefix(count - start.count))
                if start.count >= count { throw Enough() }
            }
        } catch is Enough {}
        return start
    }

    /// The file's name without what says that it is packed, in lower case.
    var name: String {
        let name = URL(filePath: file.path).lastPathComponent.lowercased()
        return name.hasSuffix(".gz") ? String(name.dropLast(3)) : name
    }

    /// The ending of ``name``.
    var fileExtension: String { URL(filePath: name).pathExtension }
}

extension PinnedFile {
    /// The file as it is now.
    static func reading(_ file: URL) throws -> PinnedFile {
        guard let pinned = try Digest.pin(paths: [file.path]).first else {
            throw StageError("not_found", "\(file.path) is not a file that can be read")
        }
        return pinned
    }
}
