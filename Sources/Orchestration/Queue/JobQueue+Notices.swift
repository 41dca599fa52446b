package import Foundation
import GRDB
import Glibc
package import PipelineSpec

/// One notice on its way to one target, as `notify ls` shows it.
package struct NoticeDelivery: Sendable, Equatable {
    package enum State: String, Sendable { case pending, delivered, failed }

    /// What the receiver tells notices apart by.
    package var notice: String
    package var event: NoticeEvent
    /// When it became true.
    package var at: Date
    package var target: String
    package var state: State
    package var tries: Int
    /// When it is tried next; `nil` once it is settled.
    package var due: Date?
    /// What came of the last try; `nil` before the first.
    package var answer: String?
    /// What is told.
    var body: String
}

/// Whom to tell what: the outbox.
extension JobQueue {
    /// How long what was told is remembered: 30 days.
    private static let noticesKeptMilliseconds: Int64 = 30 * 86_400_000

    /// Lets notices be made, as long as there are targets for them.
    func setNoticeTargets(_ names: Set<String>) throws {
        let known = try read { try String.fetchSet($0, sql: "SELECT name FROM notice_target") }
        if known == names { return }
        try write { db in
            try db.execute(sql: "DELETE FROM notice_target")
            for name in names.sorted() {
                try db.execute(sql: "INSERT INTO notice_target (name) VALUES (?)", arguments: [name])
            }
        }
    }

    /// Whether a notice waits for its first or next try, or has not been addressed.
    func hasNotices(onlyUntried: Bool = false) throws -> Bool {
        try read { db in
            try Bool.fetchOne(
                db,
                sql: """
                    SELECT EXISTS (SELECT 1 FROM notice WHERE body IS NULL) OR EXISTS (
                      SELECT 1 FROM notice_delivery WHERE state = 'pending' AND (tries = 0 OR NOT :untried))
                    """, arguments: ["untried": onlyUntried]) ?? false
        }
    }

    /// Decides of every new notice who is told, and what: by the workspace's targets and by what the job's own manifest
    /// asks for. One that nobody wants is forgotten.
    ///
    /// - Parameter place: The workspace's name in what is told.
    func addressNotices(_ targets: [String: NoticeTarget], place: String) throws {
        guard
            try read({ try Bool.fetchOne($0, sql: "SELECT EXISTS (SELECT 1 FROM notice WHERE body IS NULL)") }) == true
        else { return }
        try write { db in
            let rows = try Row.fetchAll(
                db, sql: "SELECT id, event, subject, at_ms FROM notice WHERE body IS NULL ORDER BY at_ms, id LIMIT 200")
            for row in rows {
                let id: String = row["id"]
                guard let event = NoticeEvent(rawValue: row["event"]) else { continue }
                let document = try NoticeDocument(db, id, event, row["subject"], Self.date(row["at_ms"]), place)
                let own = document.notify.map { $0.on.contains(event) ? $0.to : [] } ?? []
                let names = Set(targets.filter { $0.value.events.contains(event) }.keys).union(own)
                if names.isEmpty {
                    try db.execute(sql: "DELETE FROM notice WHERE id = ?", arguments: [id])
                    continue
                }
                try db.execute(
                    sql: "UPDATE notice SET body = ? WHERE id = ?", arguments: [document.json.text(), id])
                for name in names.sorted() {
                    try db.execute(
                        sql: "INSERT INTO notice_delivery (notice_id, target, due_ms) VALUES (?, ?, ?)",
                        arguments: [id, name, now()])
                }
            }
            try db.execute(
                sql: """
                    DELETE FROM notice WHERE at_ms < ? AND body IS NOT NULL AND NOT EXISTS (
                      SELECT 1 FROM notice_delivery WHERE notice_id = notice.id AND state = 'pending')
                    """, arguments: [now() - Self.noticesKeptMilliseconds])
        }
    }

    /// The first delivery of each target that is due, and when the next one will be.
    func dueDeliveries() throws -> (due: [NoticeDelivery], next: Date?) {
        try read { db in
            var firsts: [String: NoticeDelivery] = [:]
            let rows = try Row.fetchCursor(
                db,
                sql: Self.deliveries + " WHERE d.state = 'pending' AND d.due_ms <= ? ORDER BY d.due_ms, n.at_ms, n.id",
                arguments: [now()])
            while let row = try rows.next() {
                if let delivery = Self.delivery(row), firsts[delivery.target] == nil {
                    firsts[delivery.target] = delivery
                }
            }
            let next = try Int64.fetchOne(
                db, sql: "SELECT min(due_ms) FROM notice_delivery WHERE state = 'pending' AND due_ms > ?",
                arguments: [now()])
            return (firsts.values.sorted { $0.target < $1.target }, next.map(Self.date))
        }
    }

    /// Counts a try before it is made; until it is settled, or after a crash, the next one is due at `next`.
    func beginDelivery(_ delivery: NoticeDelivery, next: Date) throws {
        try write { db in
            try db.execute(
                sql: """
                    UPDATE notice_delivery SET tries = tries + 1, tried_ms = ?, due_ms = ?
                    WHERE notice_id = ? AND target = ? AND state = 'pending'
                    """, arguments: [now(), Self.noticeTime(next), delivery.notice, delivery.target])
        }
    }

    /// Notes what came of a try.
    func noteDelivery(_ delivery: NoticeDelivery, _ state: NoticeDelivery.State, answer: String) throws {
        try write { db in
            try db.execute(
                sql: """
                    UPDATE notice_delivery SET state = :state, answer = :answer,
                      settled_ms = CASE :state WHEN 'pending' THEN NULL ELSE :now END
                    WHERE notice_id = :notice AND target = :target AND state = 'pending'
                    """,
                arguments: [
                    "state": state.rawValue, "answer": PrintableText.line(answer, limit: 300), "now": now(),
                    "notice": delivery.notice, "target": delivery.target,
                ])
        }
    }

    /// What was told, or is about to be, the newest last.
    package func noticeDeliveries(limit: Int = .max) throws -> [NoticeDelivery] {
        try read { db in
            guard try db.tableExists("notice_delivery") else { return [] }
            return try Row.fetchAll(
                db, sql: Self.deliveries + " ORDER BY n.at_ms DESC, n.id DESC, d.target DESC LIMIT ?",
                arguments: [limit]
            ).reversed().compactMap(Self.delivery)
        }
    }

    /// Lets deliveries be tried again at once, with all their tries.
    ///
    /// - Parameters:
    ///   - notices: Ids of notices, or the beginnings of such; empty is every one that failed.
    ///   - target: Only to this one.
    /// - Returns: How many there are.
    /// - Throws: `permission` for others than the daemon's user and root.
    package func retryNotices(
        _ notices: [String] = [], target: String? = nil, as user: UInt32 = geteuid()
    ) throws -> Int {
        try authorizeQueues(as: user)
        return try write { db in
            var count = 0
            for prefix in notices.isEmpty ? [""] : notices {
                try db.execute(
                    sql: """
                        UPDATE notice_delivery SET state = 'pending', settled_ms = NULL, tries = 0, due_ms = :now
                        WHERE (state = 'failed' OR state = 'pending' AND :prefix <> '')
                          AND substr(notice_id, 1, length(:prefix)) = :prefix AND (:target IS NULL OR target = :target)
                        """, arguments: ["now": now(), "prefix": prefix, "target": target])
                count += db.changesCount
            }
            return count
        }
    }

    private static let deliveries = """
        SELECT n.id, n.event, n.at_ms, n.body, d.target, d.state, d.tries, d.due_ms, d.answer
        FROM notice_delivery AS d JOIN notice AS n ON n.id = d.notice_id
        """

    private static func delivery(_ row: Row) -> NoticeDelivery? {
        guard let event = NoticeEvent(rawValue: row["event"]), let state = NoticeDelivery.State(rawValue: row["state"])
        else { return nil }
        return NoticeDelivery(
            notice: row["id"], event: event, at: date(row["at_ms"]), target: row["target"], state: state,
            tries: row["tries"], due: state == .pending ? date(row["due_ms"]) : nil, answer: row["answer"],
            body: row["body"] ?? "")
    }

    private static func noticeTime(_ date: Date) -> Int64 { Int64((date.timeIntervalSince1970 * 1000).rounded()) }
}
