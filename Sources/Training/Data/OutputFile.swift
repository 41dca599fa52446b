import Foundation

/// A file being written through a buffer of fixed size.
final class OutputFile {
    private let descriptor: Int32
    private let path: String
    private var buffer: [UInt8] = []
    private static let capacity = 1 << 18

    /// Creates the file, empty. With `isAnonymous` its name is removed at once, so that nothing outlives the process.
    init(_ url: URL, isAnonymous: Bool = false) throws {
        path = url.path(percentEncoded: false)
        descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw Self.failure(path, "cannot be created") }
        if isAnonymous { unlink(path) }
        buffer.reserveCapacity(Self.capacity)
    }

    deinit { close(descriptor) }

    /// Appends bytes.
    func write(_ bytes: UnsafeRawBufferPointer) throws {
        if buffer.count + bytes.count > Self.capacity { try drain() }
        if bytes.count > Self.capacity { return try put(bytes) }
        buffer.append(contentsOf: bytes)
    }

    /// Hands the buffer to the system.
    func drain() throws {
        try buffer.withUnsafeBytes { try put($0) }
        buffer.removeAll(keepingCapacity: true)
    }

    /// Appends the whole content of `other`, a buffer at a time.
    func append(contentsOf other: OutputFile) throws {
        try other.drain()
        var piece = [UInt8](repeating: 0, count: Self.capacity)
        var position = 0
        while true {
            let count = pread(other.descriptor, &piece, piece.count, off_t(position))
            guard count >= 0 else {
                guard errno == EINTR else { throw Self.failure(other.path, "cannot be read back") }
                continue
            }
            guard count > 0 else { return }
            try piece.withUnsafeBytes { try write(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
            position += count
        }
    }

    /// Replaces the first bytes of the file.
    func overwriteStart(_ bytes: [UInt8]) throws {
        try drain()
        guard pwrite(descriptor, bytes, bytes.count, 0) == bytes.count else {
            throw Self.failure(path, "cannot be written")
        }
    }

    /// Waits until the content is on the disk.
    func flush() throws {
        try drain()
        guard fsync(descriptor) == 0 else { throw Self.failure(path, "cannot be flushed to the disk") }
    }

    private func put(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = Foundation.write(descriptor, rest.baseAddress, rest.count)
            if count < 0 {
                guard errno == EINTR else { throw Self.failure(path, "cannot be written") }
            } else {
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
    }

    /// What the system said about the last call, as an error.
    static func failure(_ path: String, _ what: String) -> TrainingError {
        let code = errno
        let isFull = code == ENOSPC || code == EDQUOT
        return TrainingError(isFull ? .noSpace : .system, "\(path): \(what): \(String(cString: strerror(code)))")
    }

    /// Moves a file or folder, replacing what is there, and makes the move outlast a power failure.
    static func rename(_ source: URL, to destination: URL) throws {
        let (from, to) = (source.path(percentEncoded: false), destination.path(percentEncoded: false))
        guard Foundation.rename(from, to) == 0 else { throw failure(to, "cannot be put in place") }
        try flushFolder(destination.deletingLastPathComponent())
    }

    /// Makes the names in a folder outlast a power failure.
    static func flushFolder(_ folder: URL) throws {
        let path = folder.path(percentEncoded: false)
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(path, "cannot be opened") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure(path, "cannot be flushed to the disk") }
    }
}
