import Foundation
import GRDB
import PipelineSpec

/// Quiet hours: in them nothing starts, and what runs gives its cores back at a checkpoint.
///
/// Nothing is remembered of their beginning or end. Whether it is quiet is asked of the clock whenever it matters, so a
/// daemon that starts in the middle, or a clock that is set, changes nothing; and what a person has paused or held is
/// touched neither when they begin nor when they end.
extension JobQueue {
    /// Takes over the quiet hours of the workspace.
    func configure(quiet: QuietHours?) throws {
        try write { db in
            try db.execute(sql: "UPDATE daemon SET quiet = ?", arguments: [try quiet.map(Self.text)])
        }
    }

    static func text(_ quiet: QuietHours) throws -> String {
        String(decoding: try ProtocolJSON.encode(quiet), as: UTF8.self)
    }

    /// Until when each queue is quiet that is so now; `nil` as key is every queue that has no hours of its own.
    func quietQueues(_ db: Database) throws -> (all: Date?, own: [String: Date?]) {
        let now = Date(timeIntervalSince1970: Double(now()) / 1000)
        func end(_ text: String) throws -> Date? {
            try ProtocolJSON.decode(QuietHours.self, from: Data(text.utf8)).end(after: now)
        }
        let all = try String.fetchOne(db, sql: "SELECT quiet FROM daemon WHERE quiet IS NOT NULL").flatMap(end)
        var own: [String: Date?] = [:]
        for row in try Row.fetchAll(db, sql: "SELECT name, quiet FROM queue WHERE quiet IS NOT NULL") {
            own[row["name"]] = .some(try end(row["quiet"]))
        }
        return (all, own)
    }

    /// Asks what runs in quiet hours to stop at a checkpoint and to be queued again, without a charge.
    ///
    /// - Returns: The jobs that were asked, each once.
    @discardableResult package func quieten() throws -> [String] {
        func loud(_ db: Database) throws -> [String] {
            let quiet = try quietQueues(db)
            if quiet.all == nil, !quiet.own.values.contains(where: { $0 != nil }) { return [] }
            return try Row.fetchAll(
                db,
                sql: "SELECT id, queue FROM job WHERE state = 'running' AND yield_requested_ms IS NULL ORDER BY seq"
            ).compactMap { row in
                let own: Date?? = quiet.own[row["queue"] as String]
                return (own ?? quiet.all) == nil ? nil : row["id"] as String
            }
        }
        // Looked up first: an idle daemon then writes nothing.
        guard try !read(loud).isEmpty else { return [] }
        return try write { db in
            let jobs = try loud(db)
            for job in jobs {
                try db.execute(sql: "UPDATE job SET yield_requested_ms = ? WHERE id = ?", arguments: [now(), job])
                try note(db, "yield_requested", job: job, ["why": "quiet hours"])
            }
            return jobs
        }
    }
}
