import CLinux
import Foundation
import GRDB
import Glibc
import PipelineSpec

/// The copy of an older database that is kept beside it before its tables are changed: `lorajobs.v1.sqlite`.
struct QueueBackup {
    let file: URL

    init(of file: URL) { self.file = file }

    /// Where the copy of a version lies.
    func place(_ version: Int32) -> URL {
        file.deletingPathExtension().appendingPathExtension("v\(version)").appendingPathExtension("sqlite")
    }

    /// Makes the copy when the database is older than this program and there is no copy of its version yet.
    ///
    /// The copy is whole, whatever others do meanwhile. It gets its name when it is durable, and
    /// never takes one that is taken: of two programs that begin at the same time, the second one may already see the
    /// new tables.
    func make(_ database: DatabaseQueue) throws {
        let version = try database.read { try Int32.fetchOne($0, sql: "PRAGMA user_version") ?? 0 }
        guard (1..<QueueSchema.version).contains(version) else { return }
        let place = place(version)
        guard !FileManager.default.fileExists(atPath: place.path) else { return }
        let draft = place.appendingPathExtension("\(getpid()).tmp")
        unlink(draft.path)
        defer { unlink(draft.path) }
        try JobQueue.copy(database, to: draft.path)
        let descriptor = Glibc.open(draft.path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw OrchestrationError(system: "open", draft.path, errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw OrchestrationError(system: "write", draft.path, errno) }
        guard clinux_rename_noreplace(draft.path, place.path) == 0 || errno == EEXIST else {
            throw OrchestrationError(system: "name the copy", place.path, errno)
        }
        try AtomicFile.syncFolder(place.deletingLastPathComponent().path)
    }
}
