import Foundation
import GRDB
import PipelineSpec

/// What a job's driver reads and records.
extension JobQueue {
    func drivenJob(_ id: String) throws -> DrivenJob {
        try read { db in
            guard let row = try Row.fetchOne(db, sql: "SELECT * FROM job WHERE id = ?", arguments: [id]) else {
                throw OrchestrationError(.notFound, "there is no job \(id)")
            }
            let spec: Data = row["spec"]
            let due: Int64? = row["not_before_ms"]
            return DrivenJob(
                id: id, name: row["name"], tenant: row["tenant"], state: try state(db, id), reason: row["reason"],
                notBefore: due.map { Date(timeIntervalSince1970: Double($0) / 1000) },
                manifest: try JSONDecoder().decode(JobManifest.self, from: spec),
                manifestDigest: row["manifest_sha256"], threads: row["threads"], pins: row["pins"],
                memoryBytes: row["memory_bytes"], retryOf: row["retry_of"], rerunFrom: row["rerun_from"],
                requests: Self.requests(row), adapter: row["adapter"],
                stages: try stageRows(db, id), live: try liveAttempt(db, id))
        }
    }

    /// What is asked of a running job now.
    func stopRequests(_ job: String) throws -> StopRequests {
        try read { try stopRequests($0, job) }
    }

    private func stopRequests(_ db: Database, _ job: String) throws -> StopRequests {
        try Row.fetchOne(db, sql: "SELECT * FROM job WHERE id = ?", arguments: [job]).map(Self.requests)
            ?? StopRequests()
    }

    private static func requests(_ row: Row) -> StopRequests {
        StopRequests(
            isCancelled: row["cancel_requested_ms"] != nil, isAtOnce: row["cancel_now"],
            isPaused: row["pause_requested_ms"] != nil, isYielding: row["yield_requested_ms"] != nil)
    }

    func stageRows(_ db: Database, _ job: String) throws -> [StageRow] {
        try Row.fetchAll(db, sql: "SELECT * FROM stage_run WHERE job_id = ? ORDER BY ord", arguments: [job]).map {
            row in
            let needs: String = row["needs"]
            return StageRow(
                id: row["id"],
                plan: StagePlan(
                    name: row["name"], kind: row["kind"],
                    needs: try JSONDecoder().decode([String].self, from: Data(needs.utf8)),
                    condition: row["condition"], timeoutSeconds: row["timeout_seconds"], retries: row["retries"]),
                state: StageState(rawValue: row["state"]) ?? .blocked, cacheKey: row["cache_key"],
                outputDigest: row["output_digest"], outputPath: row["output_path"], why: row["why"],
                userAttempts: row["user_attempts"], infraAttempts: row["infra_attempts"],
                memoryHalvings: row["memory_halvings"])
        }
    }

    private func liveAttempt(_ db: Database, _ job: String) throws -> LiveAttempt? {
        let row = try Row.fetchOne(
            db,
            sql: """
                SELECT a.* FROM attempt AS a JOIN stage_run AS s ON s.id = a.stage_id
                WHERE s.job_id = ? AND a.state IN ('starting','running')
                """, arguments: [job])
        return row.map { row in
            LiveAttempt(
                id: row["id"], stage: row["stage_id"], number: row["n"], launcher: row["executor"],
                identity: WorkerIdentity(
                    externalID: row["external_id"], pid: row["pid"], startTime: row["pid_start"]),
                bootID: row["boot_id"], bootSeconds: row["boot_seconds"],
                directory: RunDirectory(URL(filePath: row["workdir"] as String, directoryHint: .isDirectory)),
                resumeFrom: row["resume_from"])
        }
    }

    /// Fixes which bytes of which files the job reads.
    ///
    /// What is pinned once stays.
    func setPins(_ job: String, _ pins: Data) throws {
        try write { try $0.execute(sql: "UPDATE job SET pins = ? WHERE id = ?", arguments: [pins, job]) }
    }

    func skipStage(_ stage: StageRow, of job: String, why: String) throws {
        try write { db in
            try db.execute(
                sql: "UPDATE stage_run SET state = 'skipped', why = ? WHERE id = ? AND state IN ('blocked','ready')",
                arguments: [why, stage.id])
            try note(db, "stage_skipped", job: job, stage: stage.id, ["why": why])
        }
    }

    /// The output of a stage of the job that is done again, as it is on record there.
    func output(of stage: String, ofJob job: String) throws -> (key: String, output: StageOutput)? {
        try read { db in
            let row = try Row.fetchOne(
                db,
                sql: """
                    SELECT s.cache_key, s.output_digest, s.output_path, j.adapter FROM stage_run AS s
                    JOIN job AS j ON j.id = s.job_id
                    WHERE s.job_id = ? AND s.name = ? AND s.state IN ('succeeded','cached') AND s.cache_key IS NOT NULL
                    """, arguments: [job, stage])
            return row.map {
                ($0["cache_key"], StageOutput(digest: $0["output_digest"], path: $0["output_path"], adapter: nil))
            }
        }
    }

    /// The folder of what the same kind of stage made in the newest other job of the same name, if there was one.
    func previousOutput(of kind: String, job: DrivenJob) throws -> String? {
        try read { db in
            try String.fetchOne(
                db,
                sql: """
                    SELECT s.output_path FROM stage_run AS s JOIN job AS j ON j.id = s.job_id
                    WHERE j.tenant = ? AND j.name = ? AND j.id <> ? AND s.kind = ?
                      AND s.state IN ('succeeded', 'cached') AND s.output_path IS NOT NULL
                    ORDER BY j.seq DESC LIMIT 1
                    """, arguments: [job.tenant, job.name, job.id, kind])
        }
    }

    /// The stage's output was made before, by an earlier attempt: under this key, unless `why` says otherwise.
    func markCached(
        _ stage: StageRow, of job: String, key: String, _ output: StageOutput,
        why: String = "its inputs and parameters are those of an earlier run"
    ) throws {
        try write { db in
            try makeReady(db, stage)
            try db.execute(
                sql: """
                    UPDATE stage_run SET state = 'cached', cache_key = ?, output_digest = ?, output_path = ?,
                      why = ? WHERE id = ?
                    """, arguments: [key, output.digest, output.path, why, stage.id])
            if let adapter = output.adapter {
                try db.execute(sql: "UPDATE job SET adapter = ? WHERE id = ?", arguments: [adapter, job])
            }
            try note(db, "stage_cached", job: job, stage: stage.id, ["key": key])
        }
    }

    /// What later runs of a stage with this key have published, newest first: the cache remembers the first one only.
    func published(underKey key: String) throws -> [String] {
        try read {
            try String.fetchAll(
                $0,
                sql:
                    "SELECT published FROM stage_run WHERE cache_key = ? AND published IS NOT NULL ORDER BY rowid DESC",
                arguments: [key])
        }
    }

    /// Ends stage and job before a process was started, because it cannot be.
    func failBeforeStart(_ stage: StageRow, of job: String, _ failure: StageFailure) throws {
        try write { db in
            try makeReady(db, stage)
            try failStage(db, stage.id, job, failure, .permanent)
        }
    }

    /// Records an attempt before its process exists, so that no process is ever unknown.
    func beginAttempt(
        _ stage: StageRow, of job: String, key: String, why: String, resumeFrom: String?, launcher: String = "local",
        directory: (Int) -> RunDirectory, bootID: String, bootSeconds: Double
    ) throws -> LiveAttempt {
        try write { db in
            try makeReady(db, stage)
            let number =
                (try Int.fetchOne(
                    db, sql: "SELECT max(n) FROM attempt WHERE stage_id = ?", arguments: [stage.id]) ?? 0) + 1
            let attempt = LiveAttempt(
                id: ULID().description, stage: stage.id, number: number, launcher: launcher,
                identity: WorkerIdentity(), bootID: bootID, bootSeconds: bootSeconds, directory: directory(number),
                resumeFrom: resumeFrom)
            try db.execute(
                sql: "UPDATE stage_run SET state = 'running', cache_key = ?, why = ? WHERE id = ?",
                arguments: [key, why, stage.id])
            try db.execute(
                sql: """
                    INSERT INTO attempt (id, stage_id, n, epoch, executor, boot_id, boot_seconds, workdir, state,
                      resume_from, started_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'starting', ?, ?)
                    """,
                arguments: [
                    attempt.id, stage.id, number, epoch ?? 0, launcher, bootID, bootSeconds, attempt.directory.url.path,
                    resumeFrom, now(),
                ])
            try note(
                db, "attempt_started", job: job, stage: stage.id, attempt: attempt.id,
                resumeFrom.map { ["resume_from": $0] } ?? [:])
            return attempt
        }
    }

    /// Notes the process that works on an attempt.
    func attemptRuns(_ attempt: LiveAttempt, _ identity: WorkerIdentity) throws {
        try write { db in
            try db.execute(
                sql: "UPDATE attempt SET state = 'running', external_id = ?, pid = ?, pid_start = ? WHERE id = ?",
                arguments: [identity.externalID, identity.pid, identity.startTime, attempt.id])
        }
    }

    /// Makes sure that an attempt may have effects: that it is not final, and that no other daemon has taken over.
    ///
    /// Who asks has read its result. As that stays where it is, whoever comes later reads the same one and finalises the
    /// same attempt, which happens once however often it is done.
    func confirmLive(_ attempt: LiveAttempt) throws {
        try write { db in
            let isLive = try Bool.fetchOne(
                db, sql: "SELECT state IN ('starting','running') FROM attempt WHERE id = ?", arguments: [attempt.id])
            guard isLive == true else {
                throw OrchestrationError(.wrongState, "attempt \(attempt.id) is final already")
            }
        }
    }

    /// Ends an attempt, and settles its stage and job with it: once.
    ///
    /// A second call, or one of a daemon that has been replaced, changes nothing and throws.
    ///
    /// - Parameters:
    ///   - signature: what crashes that look alike have in common.
    ///   - usage: what was seen of the process, for what it did not say itself.
    func finishAttempt(
        _ attempt: LiveAttempt, of job: String, _ outcome: AttemptOutcome, exitCode: Int32?, signal: Int32?,
        signature: String? = nil, usage: WorkerEnd? = nil, policy: RetryPolicy
    ) throws {
        try write { db in
            let result = outcome.result
            let encoder = JSONEncoder()
            encoder.nonConformingFloatEncodingStrategy = .convertToString(
                positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
            func json(_ value: (some Encodable)?) throws -> String? {
                try value.map { String(decoding: try encoder.encode($0), as: UTF8.self) }
            }
            let poison = try poison(db, attempt, signature, outcome, policy)
            let failureClass = poison == nil ? outcome.failureClass : .poison
            let cpuSeconds = result?.cpuSeconds ?? usage?.cpuSeconds
            try db.execute(
                sql: """
                    UPDATE attempt SET state = ?, exit_code = ?, term_signal = ?, error_json = ?, metrics_json = ?,
                      peak_rss = ?, cpu_ms = ?, failure_class = ?, signature = ?, ended_ms = ?
                    WHERE id = ? AND state IN ('starting','running')
                    """,
                arguments: [
                    outcome.state.rawValue, exitCode, signal, try json(outcome.failure), try json(result?.metrics),
                    result?.peakRSSBytes ?? usage?.peakRSSBytes, cpuSeconds.map { Int64($0 * 1000) },
                    failureClass?.rawValue, signature, now(), attempt.id,
                ])
            guard db.changesCount == 1 else {
                throw OrchestrationError(.wrongState, "attempt \(attempt.id) is final already")
            }
            try chargeUsage(db, job: job, attempt: attempt.id)
            try note(
                db, "attempt_ended", job: job, stage: attempt.stage, attempt: attempt.id,
                ["state": outcome.state.rawValue].merging(
                    outcome.failure.map { ["code": $0.code, "message": $0.message] } ?? [:]
                ) { $1 }.merging(failureClass.map { ["class": $0.rawValue] } ?? [:]) { $1 })
            if let poison { return try failStage(db, attempt.stage, job, poison, .poison) }
            switch outcome {
            case .succeeded(_, let output):
                try db.execute(
                    sql: """
                        UPDATE stage_run SET state = 'succeeded', output_digest = ?, output_path = ?, published = ?
                        WHERE id = ?
                        """,
                    arguments: [output.digest, output.path, output.published, attempt.stage])
                if let adapter = output.adapter {
                    try db.execute(sql: "UPDATE job SET adapter = ? WHERE id = ?", arguments: [adapter, job])
                }
            case .failedForGood(_, let failure, _):
                try failStage(db, attempt.stage, job, failure, .permanent)
            case .failedForNow(_, let failure, _):
                try tryAgain(db, attempt, job, failure, policy)
            case .outOfMemory(let failure, _):
                try tryWithLess(db, attempt, job, failure, policy)
            case .interrupted(_, let failure, let pause):
                let free = try count(db, "infra_attempts", attempt.stage)
                guard free <= policy.freeAttempts else {
                    return try failStage(
                        db, attempt.stage, job,
                        StageFailure(
                            code: "interrupted_too_often",
                            message: "interrupted \(free) times, the last time: \(failure.message)"), .infrastructure)
                }
                let isStopped = outcome.state == .preempted
                try db.execute(
                    sql: "UPDATE stage_run SET state = ? WHERE id = ?",
                    arguments: [pause && !isStopped ? "retry_wait" : "ready", attempt.stage])
                if pause && isStopped { try setState(db, job, .queued) }
                if pause && !isStopped {
                    try wait(db, job, failure, .infrastructure, seconds: policy.pause(afterFailure: free))
                }
            case .stopped(let cause, _):
                try db.execute(sql: "UPDATE stage_run SET state = 'ready' WHERE id = ?", arguments: [attempt.stage])
                try giveBack(db, job)
                if cause == .yield { try clearYield(db, job) }
            case .cancelled:
                try db.execute(sql: "UPDATE stage_run SET state = 'cancelled' WHERE id = ?", arguments: [attempt.stage])
                try endCancelled(db, job)
            }
            try honourRequests(db, job)
        }
    }

    /// Does what was asked of a job that holds no cores any more, and would otherwise wait to start again.
    private func honourRequests(_ db: Database, _ job: String) throws {
        guard [.queued, .retryWait].contains(try state(db, job)) else { return }
        let requests = try stopRequests(db, job)
        if requests.isCancelled {
            try endCancelled(db, job)
        } else if requests.isPaused {
            try setState(db, job, .held, reason: Self.paused)
            try note(db, "paused", job: job)
        }
    }

    /// Takes the cores of a running job back: it is queued again, unless something else was asked of it.
    private func giveBack(_ db: Database, _ job: String) throws {
        if try stopRequests(db, job).isPaused {
            try setState(db, job, .held, reason: Self.paused)
            try note(db, "paused", job: job)
        } else {
            try setState(db, job, .queued)
        }
        try honourRequests(db, job)
    }

    private func clearYield(_ db: Database, _ job: String) throws {
        try db.execute(sql: "UPDATE job SET yield_requested_ms = NULL WHERE id = ?", arguments: [job])
    }

    /// Gives the cores of a running job back before its next stage, as it was asked, or because the daemon drains.
    func suspend(_ job: String, _ cause: StopCause) throws {
        try write { db in
            try note(db, "put_back", job: job, ["why": cause.rawValue])
            try giveBack(db, job)
            if cause == .yield { try clearYield(db, job) }
        }
    }

    /// Ends a running job of which nothing is left to run, or nothing may.
    func finishJob(_ job: String, _ end: JobState, reason: String?) throws {
        try write { db in
            if end == .cancelled { return try endCancelled(db, job) }
            try setState(db, job, end, reason: reason)
            try note(db, end.rawValue, job: job, reason.map { ["reason": $0] } ?? [:])
            try settleWaiting(db)
        }
    }

    /// Gives the cores of a running job back, without a charge; it is queued again, at once or after so many seconds.
    func putBack(_ job: String, why: String, seconds: Double? = nil) throws {
        try write { db in
            if let seconds {
                try wait(db, job, StageFailure(code: "put_back", message: why), .infrastructure, seconds: seconds)
            } else {
                try setState(db, job, .queued)
                try note(db, "put_back", job: job, ["why": why])
            }
            try honourRequests(db, job)
        }
    }

    /// Ends the stage's job for now, after an error outside the job that may pass.
    func postpone(_ stage: StageRow, of job: String, _ failure: StageFailure, policy: RetryPolicy) throws {
        try write { db in
            let failures = try count(db, "user_attempts", stage.id)
            try makeReady(db, stage)
            guard failures <= stage.plan.retries else { return try failStage(db, stage.id, job, failure, .user) }
            try wait(db, job, failure, .user, seconds: policy.pause(afterFailure: failures))
            try honourRequests(db, job)
        }
    }

    /// Earlier attempts whose checkpoint the stage could go on from, newest first: its own, and those of the same
    /// stage of the jobs this one retries, as long as the cache key is the same.
    func resumableFolders(_ stage: StageRow, of job: String, key: String) throws -> [RunDirectory] {
        try read { db in
            try String.fetchAll(
                db,
                sql: """
                    WITH RECURSIVE line (id, depth) AS (
                      SELECT :job, 0
                      UNION ALL
                      SELECT j.retry_of, line.depth + 1 FROM line JOIN job AS j ON j.id = line.id
                      WHERE j.retry_of IS NOT NULL AND j.resume = 1 AND line.depth < 100)
                    SELECT a.workdir FROM line JOIN stage_run AS s ON s.job_id = line.id
                    JOIN attempt AS a ON a.stage_id = s.id
                    WHERE s.name = :stage AND (s.cache_key = :key OR s.id = :id) AND a.ended_ms IS NOT NULL
                    ORDER BY line.depth, a.n DESC
                    """,
                arguments: ["job": job, "stage": stage.plan.name, "key": key, "id": stage.id]
            ).map { RunDirectory(URL(filePath: $0, directoryHint: .isDirectory)) }
        }
    }

    private func makeReady(_ db: Database, _ stage: StageRow) throws {
        try db.execute(
            sql: "UPDATE stage_run SET state = 'ready' WHERE id = ? AND state IN ('blocked','retry_wait')",
            arguments: [stage.id])
    }

    private func count(_ db: Database, _ column: String, _ stage: String) throws -> Int {
        try Int.fetchOne(
            db, sql: "UPDATE stage_run SET \(column) = \(column) + 1 WHERE id = ? RETURNING \(column)",
            arguments: [stage]) ?? 0
    }

    private func tryAgain(
        _ db: Database, _ attempt: LiveAttempt, _ job: String, _ failure: StageFailure, _ policy: RetryPolicy
    ) throws {
        let failures = try count(db, "user_attempts", attempt.stage)
        let retries =
            try Int.fetchOne(
                db, sql: "SELECT retries FROM stage_run WHERE id = ?", arguments: [attempt.stage]) ?? 0
        guard failures <= retries else { return try failStage(db, attempt.stage, job, failure, .user) }
        try db.execute(sql: "UPDATE stage_run SET state = 'retry_wait' WHERE id = ?", arguments: [attempt.stage])
        try wait(db, job, failure, .user, seconds: policy.pause(afterFailure: failures))
    }

    /// Once more with half the micro-batch; what does not fit then needs a person.
    private func tryWithLess(
        _ db: Database, _ attempt: LiveAttempt, _ job: String, _ failure: StageFailure, _ policy: RetryPolicy
    ) throws {
        let halvings = try count(db, "memory_halvings", attempt.stage)
        guard halvings == 1 else {
            let advice =
                "it was tried with half the micro-batch too: lower data.max_length, train.micro_batch or "
                + "train.batch_tokens, or give it more memory"
            return try failStage(
                db, attempt.stage, job, StageFailure(code: failure.code, message: "\(failure.message); \(advice)"),
                .oom)
        }
        try db.execute(sql: "UPDATE stage_run SET state = 'retry_wait' WHERE id = ?", arguments: [attempt.stage])
        try wait(db, job, failure, .oom, seconds: policy.pause(afterFailure: 1))
    }

    /// What to say of a crash that has come too often in the same way; `nil` as long as it has not.
    private func poison(
        _ db: Database, _ attempt: LiveAttempt, _ signature: String?, _ outcome: AttemptOutcome, _ policy: RetryPolicy
    ) throws -> StageFailure? {
        guard let signature, case .failedForNow(_, let failure, _) = outcome else { return nil }
        let before = try Int.fetchOne(
            db, sql: "SELECT count(*) FROM attempt WHERE stage_id = ? AND signature = ?",
            arguments: [attempt.stage, signature])
        let crashes = (before ?? 0) + 1
        guard crashes >= policy.equalCrashes else { return nil }
        return StageFailure(
            code: "poison",
            message: "crashed \(crashes) times in the same way, so it is not tried again: \(failure.message)")
    }

    private func wait(
        _ db: Database, _ job: String, _ failure: StageFailure, _ failureClass: FailureClass, seconds: Double
    ) throws {
        try db.execute(
            sql: "UPDATE job SET state = 'retry_wait', reason = ?, not_before_ms = ? WHERE id = ?",
            arguments: [failure.text(failureClass), now() + Int64(seconds * 1000), job])
        try note(db, "retry_wait", job: job, ["code": failure.code, "seconds": "\(Int(seconds.rounded()))"])
    }

    private func failStage(
        _ db: Database, _ stage: String, _ job: String, _ failure: StageFailure, _ failureClass: FailureClass
    ) throws {
        try db.execute(
            sql: "UPDATE stage_run SET state = 'failed', why = ? WHERE id = ?", arguments: [failure.message, stage])
        try endOtherStages(db, job)
        let name = try String.fetchOne(db, sql: "SELECT name FROM stage_run WHERE id = ?", arguments: [stage]) ?? stage
        try setState(db, job, .failed, reason: "\(name): \(failure.text(failureClass))")
        try note(
            db, "failed", job: job, stage: stage,
            ["code": failure.code, "message": failure.message, "class": failureClass.rawValue])
        try settleWaiting(db)
    }

    private func endCancelled(_ db: Database, _ job: String) throws {
        try endOtherStages(db, job)
        try setState(db, job, .cancelled)
        try note(db, "cancelled", job: job)
        try settleWaiting(db)
    }

    private func endOtherStages(_ db: Database, _ job: String) throws {
        try db.execute(
            sql:
                "UPDATE stage_run SET state = 'cancelled' WHERE job_id = ? AND state IN ('blocked','ready','retry_wait')",
            arguments: [job])
    }
}
