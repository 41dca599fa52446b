import Foundation
import Glibc

/// Held by the one process that makes or migrates a database, while others wait.
///
/// SQLite's own locks do not do: it does not wait for the one it needs to begin a write-ahead log, and a migrator looks
/// at what is done before the transaction in which it does the rest.
final class OpeningTurn {
    private let descriptor: Int32

    /// Waits for the lock on the folder of the file.
    init(_ file: URL) throws {
        let folder = file.deletingLastPathComponent().path(percentEncoded: false)
        descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw OrchestrationError(system: "open the folder", folder, errno) }
        while flock(descriptor, LOCK_EX) != 0 {
            guard errno == EINTR else { throw OrchestrationError(system: "lock the folder", folder, errno) }
        }
    }

    deinit { close(descriptor) }

    /// Whether the file has no write-ahead log yet: bytes 18 and 19 of its header are 2 in one that has.
    ///
    /// Source: SQLite, "Database File Format", section 1.3.
    static func isNeeded(_ file: URL) throws -> Bool {
        guard let handle = try? FileHandle(forReadingFrom: file) else { return true }
        defer { try? handle.close() }
        let header = try handle.read(upToCount: 20) ?? Data()
        return header.count < 20 || header[18] != 2 || header[19] != 2
    }
}
