import Artifacts
import Foundation
import GRDB
import PipelineSpec

/// Rows made from files: what `doctor --rebuild` writes.
extension JobQueue {
    /// How a recovered job stands.
    enum RecoveredState {
        case succeeded(RecoveredSuccess)
        /// Whether it ran, failed or never began is not known: it runs again when somebody says so.
        case held
        /// Its manifest is not valid any more, so it cannot run again.
        case failed(reason: String)
    }

    /// A job that has published a version, or whose report says that it has succeeded.
    struct RecoveredSuccess {
        var adapter: String?
        var reason: String?
        var gate: String?
        var startedAt: Date
        var finishedAt: Date
        /// What its gate has decided, which the store has followed.
        var decisions: [GateDecision] = []
    }

    static let recoveredReason = "recovered; release to run again"

    /// Writes a claimed file's row as it was after it was filed; a file that still lies in `claimed` is filed by the
    /// next daemon.
    ///
    /// - Returns: Whether it was not known.
    func recover(
        _ db: Database, _ claim: RecoveredFiles.Claim, verdict: IntakeVerdict, filedPath: String?
    ) throws -> Bool {
        let known = try Bool.fetchOne(
            db, sql: "SELECT EXISTS (SELECT 1 FROM intake WHERE claim_id = ?)", arguments: [claim.id])
        if known == true { return false }
        var report: String?
        if case .rejected(let data) = verdict { report = String(decoding: data, as: UTF8.self) }
        let received = Self.milliseconds(claim.receivedAt)
        try db.execute(
            sql: """
                INSERT INTO intake (claim_id, tenant, orig_name, sha256, bytes, size, owner_uid, received_ms, verdict,
                  job_id, error_json, filed_path, filed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                claim.id, claim.tenant, claim.originalName, Digest.sha256(claim.bytes), claim.bytes, claim.bytes.count,
                claim.ownerID, received, verdict.word, verdict.job, report, filedPath,
                filedPath == nil ? nil : received,
            ])
        return true
    }

    /// Suspends the triggers that hold a job to its way through the states, while rows are put where they were.
    ///
    /// Only in a file that no other program has open.
    func withoutGuards<T>(_ db: Database, _ body: () throws -> T) throws -> T {
        let guards = try Row.fetchAll(
            db,
            sql: """
                SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name IN ('job_transitions',
                  'job_ends_once', 'job_needs_first', 'job_specification_once', 'job_started_once', 'stage_transitions')
                """)
        for trigger in guards { try db.execute(sql: "DROP TRIGGER \(trigger["name"] as String)") }
        let value = try body()
        for trigger in guards { try db.execute(sql: trigger["sql"]) }
        return value
    }

    /// Whether the queue has a job of this id.
    func hasJob(_ db: Database, _ id: String) throws -> Bool {
        try Bool.fetchOne(db, sql: "SELECT EXISTS (SELECT 1 FROM job WHERE id = ?)", arguments: [id]) ?? false
    }

    /// Makes a job that was there before, in the state that the files speak of.
    func recover(_ db: Database, _ job: NewJob, createdAt: Date, as state: RecoveredState) throws {
        var job = job
        // Any number of equal ones may be held, as they have been pending at different times.
        job.onConflict = .queue
        if let key = job.idempotencyKey,
            try Bool.fetchOne(
                db, sql: "SELECT EXISTS (SELECT 1 FROM job WHERE tenant = ? AND idempotency_key = ?)",
                arguments: [job.tenant, key]) == true
        {
            job.idempotencyKey = nil
        }
        // It is held or has ended: when it goes on is for whoever releases it to say.
        job.submission.manifest.run.after = []
        job.submission.manifest.run.notBefore = nil
        try insert(db, job)
        try db.execute(
            sql: "UPDATE job SET created_ms = ? WHERE id = ?", arguments: [Self.milliseconds(createdAt), job.id])
        try settle(db, job.id, as: state)
    }

    /// Brings an unfinished job into the state that the files speak of.
    func settle(_ db: Database, _ job: String, as recovered: RecoveredState) throws {
        try db.execute(
            sql: """
                UPDATE attempt SET state = 'lost', ended_ms = max(started_ms, ?) WHERE state IN ('starting','running')
                  AND stage_id IN (SELECT id FROM stage_run WHERE job_id = ?)
                """, arguments: [now(), job])
        try db.execute(
            sql: "UPDATE stage_run SET state = 'ready' WHERE job_id = ? AND state IN ('running','retry_wait')",
            arguments: [job])
        switch recovered {
        case .held:
            if try state(db, job) != .held { try setState(db, job, .held) }
            try db.execute(
                sql: "UPDATE job SET reason = ?, cancel_requested_ms = NULL, pause_requested_ms = NULL WHERE id = ?",
                arguments: [Self.recoveredReason, job])
        case .failed(let reason):
            try endStages(db, job, "cancelled", why: nil)
            try db.execute(
                sql: """
                    UPDATE job SET state = 'failed', reason = ?, eligible_ms = NULL,
                      finished_ms = max(created_ms, coalesce(started_ms, 0)) WHERE id = ?
                    """, arguments: [reason, job])
        case .succeeded(let success):
            try endStages(db, job, "skipped", why: Self.forgotten)
            let reason = success.reason ?? success.decisions.last?.words
            try db.execute(
                sql: """
                    UPDATE job SET state = 'succeeded', reason = :reason, adapter = :adapter, gate = :gate,
                      eligible_ms = NULL, started_ms = coalesce(started_ms, :start),
                      finished_ms = max(:end, coalesce(started_ms, :end)) WHERE id = :job
                    """,
                arguments: [
                    "reason": reason, "adapter": success.adapter, "gate": success.gate,
                    "start": Self.milliseconds(success.startedAt), "end": Self.milliseconds(success.finishedAt),
                    "job": job,
                ])
            for decision in success.decisions { try recover(db, decision, of: job) }
        }
        try note(db, "recovered", job: job)
    }

    private static let forgotten = "recovered; what it did is not known any more"

    /// Writes down what a gate has decided, and the store has followed.
    private func recover(_ db: Database, _ decision: GateDecision, of job: String) throws {
        let isKnown = try Bool.fetchOne(
            db, sql: "SELECT EXISTS (SELECT 1 FROM gate_decision WHERE id = ?)", arguments: [decision.id])
        if isKnown == true { return }
        try record(db, decision, of: job)
        try db.execute(
            sql: "UPDATE gate_decision SET settled_ms = at_ms, settlement = 'applied' WHERE id = ?",
            arguments: [decision.id])
    }

    /// Keeps a sweep whose trials have all ended from being followed by a job of its own accord; whether it was such a one.
    func settleRecovered(_ db: Database, sweep: String, at date: Date) throws -> Bool {
        try db.execute(
            sql: """
                UPDATE sweep SET settled_ms = ? WHERE id = ? AND trains_winner = 1 AND settled_ms IS NULL
                  AND NOT EXISTS (SELECT 1 FROM job WHERE sweep_id = sweep.id AND finished_ms IS NULL)
                """, arguments: [Self.milliseconds(date), sweep])
        return db.changesCount > 0
    }

    /// Notes a folder of a try, so that its number is not given again and its checkpoint can be found.
    ///
    /// - Parameters:
    ///   - published: Versions that say that they are of this try.
    ///   - output: What the store has kept of what it made.
    func recover(
        _ db: Database, _ run: RecoveredFiles.Run, published: [Version], output: StageCache.CachedOutput?
    ) throws {
        let stage = "\(run.job)/\(run.stage)"
        guard
            try Bool.fetchOne(db, sql: "SELECT EXISTS (SELECT 1 FROM stage_run WHERE id = ?)", arguments: [stage])
                == true
        else { return }
        let isDone = !published.isEmpty || run.result?.exitCode == WorkerExit.done.rawValue
        let began = Self.milliseconds(run.beganAt)
        let encoder = JSONEncoder()
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        encoder.outputFormatting = .sortedKeys
        let metrics = try run.result.map { String(decoding: try encoder.encode($0.metrics), as: UTF8.self) }
        try db.execute(
            sql: """
                INSERT INTO attempt (id, stage_id, n, epoch, executor, boot_id, boot_seconds, workdir, state, exit_code,
                  metrics_json, peak_rss, cpu_ms, started_ms, ended_ms)
                VALUES (?, ?, ?, 0, 'local', '', 0, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
                """,
            arguments: [
                run.attemptID, stage, run.number, run.directory.url.path,
                isDone ? "succeeded" : run.result == nil ? "lost" : "failed", run.result?.exitCode, metrics,
                run.result?.peakRSSBytes, run.result.map { Int64($0.cpuSeconds * 1000) }, began,
                max(began, Self.milliseconds(run.endedAt)),
            ])
        guard db.changesCount == 1, isDone, let output, let key = run.request?.cacheKey else { return }
        let versions = try ProtocolJSON.encode(published.map { StageCache.PublishedVersion($0) })
        try db.execute(
            sql: """
                UPDATE stage_run SET state = 'succeeded', why = NULL, cache_key = ?, output_digest = ?, output_path = ?,
                  published = ? WHERE id = ? AND state = 'skipped' AND why = ?
                """,
            arguments: [
                key, output.digest, output.folder.path,
                published.isEmpty ? nil : String(decoding: versions, as: UTF8.self), stage, Self.forgotten,
            ])
    }

    /// Lets a schedule count from now; what was due before never fires.
    func recoverSchedule(_ db: Database, _ id: String, _ definition: String, isPaused: Bool) throws {
        try db.execute(
            sql: """
                INSERT INTO schedule (id, paused, definition, defined_ms, evaluated_ms) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (id) DO UPDATE SET definition = excluded.definition, evaluated_ms = excluded.evaluated_ms
                """, arguments: [id, isPaused, definition, now(), now()])
    }

    /// The jobs that have not ended, in their order.
    func unfinishedJobs(_ db: Database) throws -> [String] {
        try String.fetchAll(db, sql: "SELECT id FROM job WHERE finished_ms IS NULL ORDER BY seq")
    }

    private func endStages(_ db: Database, _ job: String, _ end: String, why: String?) throws {
        try db.execute(
            sql: """
                UPDATE stage_run SET state = ?, why = coalesce(?, why) WHERE job_id = ? AND state IN ('blocked','ready')
                """, arguments: [end, why, job])
    }

    private static func milliseconds(_ date: Date) -> Int64 { Int64((date.timeIntervalSince1970 * 1000).rounded()) }
}
