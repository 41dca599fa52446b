import Artifacts
import Foundation
import GRDB
import PipelineSpec

/// A job that is about to enter the queue, whatever it comes from.
struct NewJob: Sendable {
    /// What made it; the database holds every job to exactly one.
    enum Origin: Sendable {
        /// A file that was dropped.
        case claim(String)
        /// A schedule.
        case schedule(String)
        /// An ended job that is done again.
        case retry(of: String)
    }

    var id: String
    var origin: Origin
    var tenant: String
    /// The user who may change it, beside the daemon's.
    var ownerID: UInt32
    /// Of the file's bytes.
    var manifestDigest: String
    var submission: Submission
    /// The manifest as it is stored, and its digest: equal manifests have equal ones.
    let specification: Data
    let digest: String
    let concurrencyKey: String
    /// As the manifest says; a retry goes behind whatever holds its key.
    var onConflict: JobManifest.OnConflict
    var idempotencyKey: String?
    /// The inputs of the job that is done again.
    var pins: Data?
    /// Whether the checkpoints of the job that is done again may be used.
    var resume = true
    /// The stage from which on everything is done anew.
    var rerunFrom: String?
    /// Which job of its claim it is.
    var claimIndex = 0
    /// Whose trial it is.
    var trial: Trial?

    struct Trial: Sendable, Equatable {
        var sweep: String
        /// Its place in the matrix, from 0.
        var index: Int
    }

    init(
        id: String, origin: Origin, tenant: String, ownerID: UInt32, manifestDigest: String, _ submission: Submission
    ) throws {
        self.id = id
        self.origin = origin
        self.tenant = tenant
        self.ownerID = ownerID
        self.manifestDigest = manifestDigest
        self.submission = submission
        let run = submission.manifest.run
        specification = try ProtocolJSON.encode(submission.manifest)
        digest = Digest.sha256(specification)
        concurrencyKey = run.concurrencyKey ?? "\(tenant)/\(submission.manifest.name)"
        if case .retry = origin {
            onConflict = .queue
            idempotencyKey = nil
        } else {
            onConflict = run.onConflict
            idempotencyKey = run.idempotencyKey
        }
    }
}

extension JobQueue {
    /// The job that already stands for a new one, as its concurrency and idempotency keys say; `nil` when there is none.
    ///
    /// Pending jobs of the same owner that the new one replaces are cancelled.
    ///
    /// - Throws: ``RefusedSubmission`` when the manifest wants no second job of its key.
    func precedent(_ db: Database, _ job: NewJob) throws -> IntakeVerdict? {
        if let idempotency = job.idempotencyKey,
            let first = try String.fetchOne(
                db, sql: "SELECT id FROM job WHERE tenant = ? AND idempotency_key = ?",
                arguments: [job.tenant, idempotency])
        {
            return .duplicate(job: first)
        }
        let slot = StatementArguments([job.tenant, job.concurrencyKey])
        switch job.onConflict {
        case .coalesce:
            // Another user's job may be changed by that user, and is therefore none of this one's.
            let equal = try String.fetchOne(
                db,
                sql: """
                    SELECT id FROM job WHERE tenant = ? AND unique_key = ? AND spec_sha256 = ? AND owner_uid = ?
                      AND on_conflict = 'coalesce' AND started_ms IS NULL AND finished_ms IS NULL
                    """, arguments: slot + [job.digest, job.ownerID])
            return equal.map { .coalesced(job: $0) }
        case .queue: return nil
        case .replace:
            let pending = try String.fetchAll(
                db,
                sql: """
                    SELECT id FROM job WHERE tenant = ? AND unique_key = ? AND finished_ms IS NULL
                      AND started_ms IS NULL AND owner_uid = ? ORDER BY seq
                    """, arguments: slot + [job.ownerID])
            for other in pending { try cancelPending(db, other, reason: "replaced by \(job.id)") }
            return nil
        case .reject:
            guard
                let id = try String.fetchOne(
                    db,
                    sql:
                        "SELECT id FROM job WHERE tenant = ? AND unique_key = ? AND finished_ms IS NULL ORDER BY seq LIMIT 1",
                    arguments: slot)
            else { return nil }
            throw RefusedSubmission(
                code: "concurrency_conflict", pointer: "/run/concurrency",
                description:
                    "job \(id) with the concurrency key \(job.concurrencyKey) is not finished; wait for it, cancel it, "
                    + "or set on_conflict to coalesce or queue")
        }
    }

    /// Makes the rows of a job, its stages and the jobs it comes after.
    ///
    /// - Throws: ``RefusedSubmission`` when it comes after a job that is not known, or is another tenant's.
    func insert(_ db: Database, _ job: NewJob) throws {
        let run = job.submission.manifest.run
        let notBefore = Int64(((run.notBefore ?? 0) * 1000).rounded())
        var claim: String?
        var schedule: String?
        var retryOf: String?
        switch job.origin {
        case .claim(let id): claim = id
        case .schedule(let id): schedule = id
        case .retry(let id): retryOf = id
        }
        let isRetry = retryOf != nil
        let needs = isRetry ? [] : try dependencies(db, run.after, tenant: job.tenant)
        let state: JobState =
            run.hold && !isRetry ? .held : notBefore > now() || !needs.isEmpty ? .waiting : .queued
        try db.execute(sql: "INSERT INTO queue (name) VALUES (?) ON CONFLICT DO NOTHING", arguments: [run.queue])
        let sequence = (try Int64.fetchOne(db, sql: "SELECT max(seq) FROM job") ?? 0) + 1
        try db.execute(
            sql: """
                INSERT INTO job (id, seq, claim_id, claim_index, sweep_id, trial, schedule_id, retry_of, owner_uid, name, tenant, queue, priority,
                  threads, memory_bytes, spec, spec_sha256, manifest_sha256, origins, idempotency_key, unique_key,
                  on_conflict, pins, resume, rerun_from, state, not_before_ms, created_ms, eligible_ms, operations,
                  operations_per_token, precision_bits)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                job.id, sequence, claim, job.claimIndex, job.trial?.sweep, job.trial?.index, schedule, retryOf,
                job.ownerID, job.submission.manifest.name, job.tenant,
                run.queue, run.priority, max(1, run.threads), try memoryBytes(db, job), job.specification, job.digest,
                job.manifestDigest,
                job.submission.origins, job.idempotencyKey, job.concurrencyKey, job.onConflict.rawValue, job.pins,
                job.resume, job.rerunFrom, state.rawValue, notBefore, now(), state == .queued ? now() : nil,
                job.submission.work?.operations, job.submission.work?.operationsPerToken,
                job.submission.work?.precisionBits,
            ])
        for (order, stage) in job.submission.stages.enumerated() {
            try db.execute(
                sql: """
                    INSERT INTO stage_run (id, job_id, name, ord, kind, needs, condition, timeout_seconds, retries, state)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'blocked')
                    """,
                arguments: [
                    "\(job.id)/\(stage.name)", job.id, stage.name, order, stage.kind,
                    String(decoding: try ProtocolJSON.encode(stage.needs), as: UTF8.self), stage.condition,
                    stage.timeoutSeconds, stage.retries,
                ])
        }
        for (id, condition) in needs {
            try db.execute(
                sql: "INSERT INTO job_dep (job_id, needs, cond) VALUES (?, ?, ?)", arguments: [job.id, id, condition])
        }
        try note(db, "created", job: job.id, ["state": state.rawValue])
    }

    /// Bytes of memory the job is counted with: what its manifest says; else a tenth more than the most that the last
    /// five equal jobs that succeeded were seen to use; else the estimate.
    ///
    /// What was measured never keeps a job from this machine, on which it may have run: it is cut to the capacity.
    private func memoryBytes(_ db: Database, _ job: NewJob) throws -> Int64? {
        if let written = job.submission.manifest.run.memoryBytes { return Int64(max(1, written)) }
        let estimate = job.submission.memoryBytes.map { max(1, $0) }
        let measured = try Int64.fetchOne(
            db,
            sql: """
                SELECT max(a.peak_rss) FROM (
                  SELECT id FROM job WHERE state = 'succeeded' AND tenant = ? AND spec_sha256 = ?
                  ORDER BY finished_ms DESC LIMIT 5) AS j
                JOIN stage_run AS s ON s.job_id = j.id
                JOIN attempt AS a ON a.stage_id = s.id AND a.state = 'succeeded' AND a.peak_rss > 0
                """, arguments: [job.tenant, job.digest])
        guard let measured else { return estimate }
        let limit = try Int64.fetchOne(db, sql: "SELECT memory_bytes FROM daemon WHERE memory_bytes IS NOT NULL")
        return min(measured / 10 * 11, max(limit ?? .max, estimate ?? 0))
    }

    /// `ID`, `ID:ok`, `ID:any`, `ID:notok`; the id may be a unique prefix.
    private func dependencies(
        _ db: Database, _ after: [String], tenant: String
    ) throws -> [(id: String, condition: String)] {
        var seen = Set<String>()
        return try after.compactMap { text in
            let parts = text.split(separator: ":", maxSplits: 1).map(String.init)
            let condition = parts.count == 2 ? parts[1] : "ok"
            func refuse(_ why: String, code: String = "unknown_job") -> RefusedSubmission {
                RefusedSubmission(code: code, pointer: "/run/after", description: "after \"\(text)\": \(why)")
            }
            guard let wanted = parts.first, ["ok", "any", "notok"].contains(condition) else {
                throw refuse("expected a job id, and after a colon ok, any or notok")
            }
            do {
                let id = try resolve(db, wanted)
                guard
                    try String.fetchOne(db, sql: "SELECT tenant FROM job WHERE id = ?", arguments: [id]) == tenant
                else { throw refuse("that job is another tenant's", code: "foreign_job") }
                return seen.insert(id).inserted ? (id, condition) : nil
            } catch let error as OrchestrationError {
                throw refuse(error.description)
            }
        }
    }
}
