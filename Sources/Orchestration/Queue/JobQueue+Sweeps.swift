import Foundation
import GRDB
import Glibc
import PipelineSpec

/// Sweeps: several jobs of one claim, which are compared when they have ended.
extension JobQueue {
    /// Makes the trials of a sweep, in the transaction that records its claim.
    ///
    /// - Parameter ids: of the trials' jobs; the first one is the claim's.
    func insertSweep(
        _ db: Database, _ first: NewJob, _ sweep: SweepPlan, ids: [String]? = nil, each: (NewJob) throws -> Void
    ) throws {
        let manifest = first.submission.manifest
        func json(_ value: some Encodable) throws -> String {
            String(decoding: try ProtocolJSON.encode(value), as: UTF8.self)
        }
        try db.execute(
            sql: """
                INSERT INTO sweep (id, tenant, name, owner_uid, keys, stages, trains_winner, metric, created_ms)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                first.id, first.tenant, manifest.name, first.ownerID, try json(sweep.keys),
                try json(first.submission.stages), sweep.trainsWinner, sweep.metric.rawValue, now(),
            ])
        for (index, trial) in sweep.trials.enumerated() {
            var submission = Submission(
                manifest: trial.manifest, stages: sweep.stages, origins: trial.origins, memoryBytes: trial.memoryBytes)
            submission.work = trial.work
            // Trials do not wait for each other, nor does the nightly job of their name for them.
            if submission.manifest.run.concurrencyKey == nil {
                submission.manifest.run.concurrencyKey = "\(first.tenant)/\(manifest.name)/sweep/\(first.id)/\(index)"
            }
            // The claim is one, and so is its key.
            if index > 0 { submission.manifest.run.idempotencyKey = nil }
            let id = index == 0 ? first.id : ids.flatMap { index < $0.count ? $0[index] : nil } ?? ULID().description
            var job = try NewJob(
                id: id, origin: first.origin, tenant: first.tenant, ownerID: first.ownerID,
                manifestDigest: first.manifestDigest, submission)
            job.onConflict = .queue
            job.claimIndex = index
            job.trial = NewJob.Trial(sweep: first.id, index: index)
            try each(job)
        }
        try note(db, "sweep", job: first.id, ["trials": "\(sweep.trials.count)"])
    }

    /// The jobs of a claim's trials, in their order; only the claim's own job when it is no sweep's.
    package func jobs(ofClaim claim: String) throws -> [String] {
        try read { try jobs($0, ofClaim: claim) }
    }

    func jobs(_ db: Database, ofClaim claim: String) throws -> [String] {
        try String.fetchAll(
            db,
            sql:
                "SELECT id FROM job WHERE claim_id = ? AND (trial IS NOT NULL OR claim_index = 0) ORDER BY claim_index",
            arguments: [claim])
    }

    // MARK: Looking

    /// The sweeps there are, the newest first.
    package func sweeps(limit: Int = 100) throws -> [SweepStatus] {
        try read { db in
            guard try db.tableExists("sweep") else { return [] }
            return try String.fetchAll(db, sql: "SELECT id FROM sweep ORDER BY id DESC LIMIT ?", arguments: [limit])
                .compactMap { try sweep(db, $0) }
        }
    }

    /// The sweep that a person means: the newest of a name, or by its id, that of one of its jobs, or the beginning of one.
    ///
    /// - Throws: `notFound` or `ambiguous`.
    package func sweep(_ text: String) throws -> SweepStatus {
        try read { db in
            let named = try String.fetchOne(
                db, sql: "SELECT id FROM sweep WHERE name = ? ORDER BY id DESC LIMIT 1", arguments: [text])
            let isName = try Bool.fetchOne(
                db, sql: "SELECT EXISTS (SELECT 1 FROM job WHERE name = ?)", arguments: [text])
            guard named != nil || isName != true else {
                throw OrchestrationError(
                    .notFound, "no job named \"\(text)\" is of a sweep; matrix in a manifest makes one")
            }
            let found =
                try named
                ?? String.fetchOne(
                    db,
                    sql:
                        "SELECT coalesce(j.sweep_id, s.id) FROM job AS j LEFT JOIN sweep AS s ON s.follow_up = j.id WHERE j.id = ?",
                    arguments: [try resolve(db, text)])
            guard let id = found, let sweep = try sweep(db, id) else {
                throw OrchestrationError(.notFound, "\"\(text)\" is no sweep, nor a job of one")
            }
            return sweep
        }
    }

    private func sweep(_ db: Database, _ id: String) throws -> SweepStatus? {
        guard let row = try Row.fetchOne(db, sql: "SELECT * FROM sweep WHERE id = ?", arguments: [id]) else {
            return nil
        }
        let keyText: String = row["keys"]
        let keys = try ProtocolJSON.decode([String].self, from: Data(keyText.utf8))
        let metric = JobManifest.Metric(rawValue: row["metric"]) ?? .loss
        var newest: [Int: SweepStatus.Trial] = [:]
        for job in try Row.fetchAll(
            db, sql: "SELECT id, trial, state, reason, spec FROM job WHERE sweep_id = ? ORDER BY seq", arguments: [id])
        {
            let manifest = try ProtocolJSON.decode(JobManifest.self, from: job["spec"])
            let numbers = try metrics(db, job["id"], of: "train")
            let name = StageMetric.validation(metric.rawValue)
            let value =
                metric == .loss
                ? numbers[name] : try metrics(db, job["id"], of: ManifestSweep.scoringKind)[name]
            let index: Int = job["trial"]
            newest[index] = SweepStatus.Trial(
                index: index, job: job["id"], state: JobState(rawValue: job["state"]) ?? .queued, reason: job["reason"],
                parameters: keys.map { ManifestSchema.value(of: $0, in: manifest) ?? .null },
                value: value, validationLoss: numbers[StageMetric.validationLoss],
                trainingLoss: numbers["training_loss"], steps: numbers["steps"].map { Int($0) },
                seconds: try seconds(db, job["id"]))
        }
        let (ranked, others) = Self.ranked(Array(newest.values), by: metric)
        return SweepStatus(
            id: id, name: row["name"], tenant: row["tenant"], ownerID: row["owner_uid"], keys: keys,
            trainsWinner: row["trains_winner"], metric: metric, followUp: row["follow_up"], trials: ranked + others,
            createdAt: Self.date(row["created_ms"]))
    }

    /// Those that have succeeded by their value on the validation split, the best first, of equal ones the earlier in
    /// the matrix; and the others in the matrix's order.
    private static func ranked(_ trials: [SweepStatus.Trial], by metric: JobManifest.Metric) -> (
        ranked: [SweepStatus.Trial], others: [SweepStatus.Trial]
    ) {
        // Less is better.
        func cost(_ trial: SweepStatus.Trial) -> Double? {
            guard trial.state == .succeeded, let value = trial.value, value.isFinite else { return nil }
            return metric.isHigherBetter ? -value : value
        }
        let ranked = trials.filter { cost($0) != nil }.sorted {
            (cost($0) ?? 0, $0.index) < (cost($1) ?? 0, $1.index)
        }
        let places = ranked.enumerated().map { place, trial in
            var trial = trial
            trial.rank = place + 1
            return trial
        }
        return (places, trials.filter { cost($0) == nil }.sorted { $0.index < $1.index })
    }

    /// What a job's stages took.
    private func seconds(_ db: Database, _ job: String) throws -> Double {
        try Double.fetchOne(
            db,
            sql: """
                SELECT sum(a.ended_ms - a.started_ms) / 1000.0 FROM stage_run AS s JOIN attempt AS a ON a.stage_id = s.id
                WHERE s.job_id = ? AND a.ended_ms IS NOT NULL
                """, arguments: [job]) ?? 0
    }

    /// What a job's stage of a kind says. Of one from the cache, what the one says that made it.
    private func metrics(_ db: Database, _ job: String, of kind: String) throws -> [String: Double] {
        let text = try String.fetchOne(
            db,
            sql: """
                SELECT a.metrics_json FROM stage_run AS own
                JOIN stage_run AS s ON s.cache_key = own.cache_key AND s.output_digest = own.output_digest
                JOIN attempt AS a ON a.stage_id = s.id AND a.state = 'succeeded'
                WHERE own.job_id = ? AND own.kind = ? AND own.output_digest IS NOT NULL
                ORDER BY s.job_id = own.job_id DESC, a.ended_ms DESC LIMIT 1
                """, arguments: [job, kind])
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return try text.map { try decoder.decode([String: Double].self, from: Data($0.utf8)) } ?? [:]
    }

    // MARK: The winner

    /// Makes the jobs that follow sweeps of which every trial has ended.
    func settleSweeps() throws {
        let sql = """
            SELECT s.id FROM sweep AS s WHERE s.trains_winner = 1 AND s.settled_ms IS NULL
              AND NOT EXISTS (SELECT 1 FROM job AS j WHERE j.sweep_id = s.id AND j.finished_ms IS NULL)
            """
        guard try !read({ try String.fetchAll($0, sql: sql) }).isEmpty else { return }
        try write { db in
            for id in try String.fetchAll(db, sql: sql) {
                guard let sweep = try sweep(db, id) else { continue }
                guard let winner = sweep.winner else {
                    try db.execute(sql: "UPDATE sweep SET settled_ms = ? WHERE id = ?", arguments: [now(), id])
                    try note(db, "sweep_without_winner", job: id)
                    continue
                }
                _ = try follow(db, sweep, winner)
            }
        }
    }

    /// Makes a job with the winner's values, on all data and through the whole pipeline. A sweep has one such job.
    ///
    /// - Returns: Its id, or that of the one there is.
    /// - Throws: `notFound`; `wrongState` as long as a trial has not ended, and when none has succeeded; `permission`.
    package func takeWinner(of text: String, as user: UInt32 = geteuid()) throws -> String {
        let id = try sweep(text).id
        return try write { db in
            try authorize(db, id, as: user)
            guard let sweep = try sweep(db, id) else { throw OrchestrationError(.notFound, "there is no sweep \(id)") }
            if let job = sweep.followUp { return job }
            guard sweep.isDone else {
                let open = sweep.trials.count { !$0.state.isFinal }
                throw OrchestrationError(.wrongState, "\(open) of \(sweep.trials.count) trials of \(id) have not ended")
            }
            guard let winner = sweep.winner else {
                throw OrchestrationError(.wrongState, "no trial of \(id) has succeeded, so none has won")
            }
            return try follow(db, sweep, winner)
        }
    }

    private func follow(_ db: Database, _ sweep: SweepStatus, _ winner: SweepStatus.Trial) throws -> String {
        guard let row = try Row.fetchOne(db, sql: "SELECT * FROM job WHERE id = ?", arguments: [winner.job]),
            let stages = try String.fetchOne(db, sql: "SELECT stages FROM sweep WHERE id = ?", arguments: [sweep.id])
        else { throw OrchestrationError(.notFound, "there is no job \(winner.job)") }
        var manifest = try ProtocolJSON.decode(JobManifest.self, from: row["spec"])
        manifest.data.sample = nil
        // When and after what the trials were to begin is past.
        (manifest.run.hold, manifest.run.notBefore, manifest.run.after) = (false, nil, [])
        manifest.run.idempotencyKey = nil
        if manifest.run.concurrencyKey?.contains("/sweep/\(sweep.id)/") == true { manifest.run.concurrencyKey = nil }
        let submission = Submission(
            manifest: manifest, stages: try ProtocolJSON.decode([StagePlan].self, from: Data(stages.utf8)),
            origins: row["origins"], memoryBytes: row["memory_bytes"])
        var job = try NewJob(
            id: ULID().description, origin: .claim(sweep.id), tenant: sweep.tenant, ownerID: sweep.ownerID,
            manifestDigest: row["manifest_sha256"], submission)
        job.onConflict = .queue
        // The number after the last one: a claim has each once, so nobody makes a second.
        job.claimIndex = sweep.trials.count
        try insert(db, job)
        try db.execute(
            sql: "UPDATE sweep SET follow_up = ?, settled_ms = ? WHERE id = ?", arguments: [job.id, now(), sweep.id])
        try note(db, "winner_taken", job: job.id, ["sweep": sweep.id, "trial": winner.job])
        return job.id
    }
}
