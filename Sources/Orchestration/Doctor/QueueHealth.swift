import Foundation
import GRDB
import Glibc
import PipelineSpec

/// Whether the file of the queue can be believed.
struct QueueHealth {
    let file: URL

    init(file: URL) { self.file = file }

    init(_ workspace: Workspace) { file = workspace.database }

    /// What SQLite finds wrong; empty for a sound queue.
    ///
    /// A file that is not there, empty, or was never finished has no rows to believe.
    ///
    /// - Throws: `wrongDatabase` for a database that is not ours to judge.
    func problems() throws -> [String] {
        do {
            let queue = try JobQueue.openReadOnly(file)
            let found = try queue.integrityProblems()
            try queue.close()
            return found
        } catch let error as OrchestrationError where error.code == .notFound {
            return [error.description]
        } catch let error as DatabaseError where error.resultCode != .SQLITE_BUSY && error.resultCode != .SQLITE_PERM {
            return ["\(error)"]
        }
    }

    var isSound: Bool { get throws { try problems().isEmpty } }

    /// What is paused, as far as a damaged file still says so; `nil` when it does not.
    ///
    /// It can only keep something from starting, so even an untrue answer does no harm.
    func pauses() -> (queues: [String], schedules: Set<String>)? {
        guard access(file.path, R_OK) == 0 else { return nil }
        var configuration = Configuration()
        configuration.readonly = true
        return try? DatabaseQueue(path: file.path, configuration: configuration).read { db in
            (
                try String.fetchAll(db, sql: "SELECT name FROM queue WHERE paused = 1"),
                Set(try String.fetchAll(db, sql: "SELECT id FROM schedule WHERE paused = 1"))
            )
        }
    }
}
