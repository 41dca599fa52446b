import Foundation
import GRDB
import PipelineSpec

/// The life of an attempt: it begins, has a process, and ends once, which decides what becomes of its stage and job.
extension JobQueue {
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
    ///   - worked: how long it ran, in seconds on a clock that no setting moves; 0 when nobody knows.
    func finishAttempt(
        _ attempt: LiveAttempt, of job: String, _ outcome: AttemptOutcome, exitCode: Int32?, signal: Int32?,
        signature: String? = nil, usage: WorkerEnd? = nil, worked: Double = 0, policy: RetryPolicy
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
            if worked > 0 {
                try db.execute(
                    sql: "UPDATE job SET worked_ms = worked_ms + ? WHERE id = ?",
                    arguments: [Int64(min(worked, 1e9) * 1000), job])
            }
            try note(
                db, "attempt_ended", job: job, stage: attempt.stage, attempt: attempt.id,
                ["state": outcome.state.rawValue].merging(
                    outcome.failure.map { ["code": $0.code, "message": $0.message] } ?? [:]
                ) { $1 }.merging(failureClass.map { ["class": $0.rawValue] } ?? [:]) { $1 })
            if let poison { return try failStage(db, attempt.stage, job, poison, .poison) }
            switch outcome {
            case .succeeded(let result, let output):
                if attempt.launcher == "local" { try recordSpeed(db, of: result, job: job) }
                if let cut = result.cut {
                    try note(
                        db, "stage_cut", job: job, stage: attempt.stage, attempt: attempt.id,
                        ["step": "\(cut.step)", "steps": "\(cut.steps)"])
                }
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

    /// Counts one more of what a stage may have only so many of; how many there are now.
    func count(_ db: Database, _ column: String, _ stage: String) throws -> Int {
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
}
