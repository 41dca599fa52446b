package import Artifacts
import Foundation
import GRDB
import PipelineSpec

/// What gates have decided, as the database has it.
extension JobQueue {
    /// Writes a decision down, in the transaction that ends its job.
    func record(_ db: Database, _ decision: GateDecision, of job: String) throws {
        try db.execute(sql: "UPDATE job SET gate = ? WHERE id = ?", arguments: [decision.outcome, job])
        try db.execute(
            sql: """
                INSERT INTO gate_decision (id, job_id, collection, name, alias, version, digest, moves, from_version,
                  outcome, reason, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                decision.id, job, decision.collection.rawValue, decision.name, decision.alias, decision.version,
                decision.digest, decision.moves, decision.from, decision.outcome, decision.reason,
                Int64((decision.time.timeIntervalSince1970 * 1000).rounded()),
            ])
        try note(
            db, "gate", job: job,
            [
                "outcome": decision.outcome, "alias": decision.alias, "version": "\(decision.version)",
                "reason": decision.reason,
            ])
    }

    /// Writes down that a person moves an alias, before the store does it.
    func record(_ move: GateDecision) throws {
        try write { db in
            try db.execute(
                sql: """
                    INSERT INTO alias_move (id, collection, name, alias, version, digest, from_version, cause, reason,
                      at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    move.id, move.collection.rawValue, move.name, move.alias, move.version, move.digest, move.from,
                    move.cause.rawValue, move.reason, Int64((move.time.timeIntervalSince1970 * 1000).rounded()),
                ])
        }
    }

    /// Decisions that the store has not followed yet, in their order.
    func openDecisions() throws -> [GateDecision] { try read { try openDecisions($0) } }

    func openDecisions(_ db: Database) throws -> [GateDecision] {
        try decisions(db, "SELECT * FROM decision WHERE settled_ms IS NULL ORDER BY at_ms, id")
    }

    /// Decisions that the store has followed, in their order.
    func appliedDecisions(_ db: Database) throws -> [GateDecision] {
        try decisions(db, "SELECT * FROM decision WHERE settlement = 'applied' ORDER BY at_ms, id")
    }

    /// Versions that a gate has held, and that nobody has promoted or rejected since, nor a later one replaced; oldest first.
    package func versionsAwaitingApproval(in store: ArtifactStore) throws -> [GateDecision] {
        var current: [String: Int] = [:]
        let held = "SELECT *, 'gate' AS cause FROM gate_decision WHERE outcome = 'held' ORDER BY at_ms, id"
        return try read { try decisions($0, held) }
            .filter { decision in
                // Years of held nights are told from the present one by one look at each alias.
                let place = "\(decision.collection.rawValue)/\(decision.name)@\(decision.alias)"
                if current[place] == nil {
                    current[place] =
                        try store.aliases(of: decision.name, in: decision.collection)[decision.alias] ?? 0
                }
                return try current[place] ?? 0 < decision.version && store.awaitsApproval(decision)
            }
    }

    func noteFollowed(_ decision: GateDecision, _ settlement: GateDecision.Settlement) throws {
        let table = decision.cause == .gate ? "gate_decision" : "alias_move"
        try write { db in
            try db.execute(
                sql: "UPDATE \(table) SET settled_ms = ?, settlement = ? WHERE id = ? AND settled_ms IS NULL",
                arguments: [now(), settlement.rawValue, decision.id])
            if decision.cause == .gate, settlement == .superseded, db.changesCount == 1 {
                let job = try String.fetchOne(
                    db, sql: "SELECT job_id FROM gate_decision WHERE id = ?", arguments: [decision.id])
                try note(db, "gate_superseded", job: job, ["alias": decision.alias, "version": "\(decision.version)"])
            }
        }
    }

    /// What the log of each artifact has from jobs and their gates: from it lines that are damaged are written again.
    func storeEvents() throws -> [KnownEvent] {
        try read { db in
            let published = try Row.fetchAll(
                db,
                sql: """
                    SELECT s.published, a.id, a.ended_ms FROM stage_run AS s
                    JOIN attempt AS a ON a.stage_id = s.id AND a.state = 'succeeded'
                    WHERE s.published IS NOT NULL ORDER BY a.ended_ms
                    """
            ).flatMap { row -> [KnownEvent] in
                let text: String = row["published"]
                let versions = try ProtocolJSON.decode([StageCache.PublishedVersion].self, from: Data(text.utf8))
                return versions.map { KnownEvent($0, attempt: row["id"], at: Self.date(row["ended_ms"])) }
            }
            return published + (try appliedDecisions(db).map(KnownEvent.init))
        }
    }

    /// What a job has published itself, as its finished stages say.
    func published(by job: String) throws -> [StageCache.PublishedVersion] {
        try read { db in
            try String.fetchAll(
                db,
                sql: """
                    SELECT published FROM stage_run WHERE job_id = ? AND state = 'succeeded' AND published IS NOT NULL
                    ORDER BY ord
                    """, arguments: [job])
        }.flatMap { try ProtocolJSON.decode([StageCache.PublishedVersion].self, from: Data($0.utf8)) }
    }

    private func decisions(_ db: Database, _ sql: String) throws -> [GateDecision] {
        try Row.fetchAll(db, sql: sql).compactMap { row in
            guard let collection = ArtifactCollection(rawValue: row["collection"]),
                let cause = GateDecision.Cause(rawValue: row["cause"])
            else { return nil }
            return GateDecision(
                id: row["id"], collection: collection, name: row["name"], alias: row["alias"], version: row["version"],
                digest: row["digest"], moves: row["moves"], from: row["from_version"], outcome: row["outcome"],
                cause: cause, reason: row["reason"], time: Self.date(row["at_ms"]))
        }
    }
}
