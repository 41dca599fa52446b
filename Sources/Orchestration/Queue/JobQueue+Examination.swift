import Foundation
import GRDB

/// What `doctor` asks of the queue, beside the invariants.
extension JobQueue {
    /// `wal` in a queue that the daemon has opened.
    func journalMode() throws -> String { try read { try String.fetchOne($0, sql: "PRAGMA journal_mode") ?? "" } }

    /// `PRAGMA user_version`.
    func schemaVersion() throws -> Int32 { try read { try Int32.fetchOne($0, sql: "PRAGMA user_version") ?? 0 } }

    /// The latest time that any row speaks of as past.
    func newestMoment() throws -> Date? {
        let newest = try read { db in
            try Int64.fetchOne(
                db,
                sql: """
                    SELECT max(at) FROM (SELECT max(at_ms) AS at FROM event UNION ALL SELECT max(created_ms) FROM job
                                         UNION ALL SELECT max(started_ms) FROM attempt)
                    """)
        }
        return newest.map { Date(timeIntervalSince1970: Double($0) / 1000) }
    }

    /// Writes anew, from the jobs alone, what the scheduler reads.
    func recount() throws { try write { try $0.execute(sql: QueueSchema.recount) } }

    /// Every job there is.
    func jobIDs() throws -> Set<String> { try read { Set(try String.fetchAll($0, sql: "SELECT id FROM job")) } }

    /// Every claim whose file, receipt or report may be written again.
    func intakeRecords(_ ids: [String]) throws -> [IntakeRecord] { try ids.compactMap(intakeRecord) }
}
