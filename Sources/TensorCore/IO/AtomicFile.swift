import Foundation
import Glibc

/// A file that appears under its name whole or not at all.
///
/// Written under a hidden temporary name beside its place (`.<name>.<pid>-<random>.tmp`), flushed to the disk,
/// renamed, and the folder flushed. A process that is killed may leave a temporary file, never half a file.
struct AtomicFile: ~Copyable {
    private let descriptor: Int32
    private let temporary: String
    private let destination: String

    /// Opens the temporary file; its folder must exist.
    private init(_ url: URL) throws {
        destination = url.path(percentEncoded: false)
        let name = ".\(url.lastPathComponent).\(getpid())-\(String(UInt64.random(in: .min ... .max), radix: 36)).tmp"
        temporary = url.deletingLastPathComponent().appending(path: name).path(percentEncoded: false)
        descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else {
            throw WeightFileError(.system, file: destination, "cannot be created: \(systemMessage(errno))")
        }
    }

    /// Writes a file at `url`, replacing one that is there; `body` gives its content by calls to ``write(_:)``.
    ///
    /// - Throws: ``WeightFileError`` with code `system` or `noSpace`, or what `body` throws; the old file is then untouched and
    ///   the temporary one removed.
    static func write(_ url: URL, body: (borrowing AtomicFile) throws -> Void) throws {
        let file = try AtomicFile(url)
        do {
            try body(file)
            guard fsync(file.descriptor) == 0 else { throw file.failure("cannot be flushed to the disk") }
        } catch {
            close(file.descriptor)
            unlink(file.temporary)
            throw error
        }
        // Some file systems report a failed write only here.
        guard close(file.descriptor) == 0, rename(file.temporary, file.destination) == 0 else {
            let error = file.failure("cannot be put in place")
            unlink(file.temporary)
            throw error
        }
        try flushFolder(url.deletingLastPathComponent())
    }

    /// Appends bytes.
    func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let chunk = UnsafeRawBufferPointer(rebasing: rest)
            let count = Glibc.write(descriptor, chunk.baseAddress, chunk.count)
            if count < 0 {
                guard errno == EINTR else { throw failure("cannot be written") }
            } else {
                rest = rest.dropFirst(count)
            }
        }
    }

    /// Makes the names in a folder outlast a power failure.
    static func flushFolder(_ folder: URL) throws {
        let path = folder.path(percentEncoded: false)
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw WeightFileError(.system, file: path, "cannot be opened: \(systemMessage(errno))")
        }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else {
            throw WeightFileError(.system, file: path, "cannot be flushed to the disk: \(systemMessage(errno))")
        }
    }

    private func failure(_ what: String) -> WeightFileError {
        let code = errno
        let isFull = code == ENOSPC || code == EDQUOT
        return WeightFileError(isFull ? .noSpace : .system, file: destination, "\(what): \(systemMessage(code))")
    }
}
