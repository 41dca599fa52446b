import Artifacts
import Foundation
import GRDB
import PipelineSpec

/// How a running job gives its cores back: for good, for a while, or because somebody asked.
extension JobQueue {
    /// Ends stage and job before a process was started, because it cannot be.
    func failBeforeStart(_ stage: StageRow, of job: String, _ failure: StageFailure) throws {
        try write { db in
            try makeReady(db, stage)
            try failStage(db, stage.id, job, failure, .permanent)
        }
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
    ///
    /// - Parameter decision: What its gate has decided about its version; job and decision end up in the database
    ///   together or not at all.
    func finishJob(_ job: String, _ end: JobState, reason: String?, decision: GateDecision? = nil) throws {
        try write { db in
            if end == .cancelled { return try endCancelled(db, job) }
            try setState(db, job, end, reason: reason)
            try note(db, end.rawValue, job: job, reason.map { ["reason": $0] } ?? [:])
            if let decision { try record(db, decision, of: job) }
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

    /// Says of a running job why nobody can go on with it at the moment; an empty text takes that back.
    func noteTrouble(_ job: String, _ text: String) throws {
        let reason = text.isEmpty ? nil : PrintableText.line(text, limit: 600)
        try write { db in
            try db.execute(
                sql: "UPDATE job SET reason = ? WHERE id = ? AND state = 'running' AND reason IS NOT ?",
                arguments: [reason, job, reason])
        }
    }

    /// Keeps a running job back of which everything has been done but its end, until somebody has put right what is
    /// damaged and releases it.
    func holdBack(_ job: String, why: String) throws {
        try write { db in
            try setState(db, job, .held, reason: PrintableText.line(why, limit: 600))
            try note(db, "held", job: job, ["reason": why])
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

    /// Does what was asked of a job that holds no cores any more, and would otherwise wait to start again.
    func honourRequests(_ db: Database, _ job: String) throws {
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
    func giveBack(_ db: Database, _ job: String) throws {
        if try stopRequests(db, job).isPaused {
            try setState(db, job, .held, reason: Self.paused)
            try note(db, "paused", job: job)
        } else {
            try setState(db, job, .queued)
        }
        try honourRequests(db, job)
    }

    /// Forgets that the job was asked to give way, as it has.
    func clearYield(_ db: Database, _ job: String) throws {
        try db.execute(sql: "UPDATE job SET yield_requested_ms = NULL WHERE id = ?", arguments: [job])
    }

    /// Lets a stage begin that waited for another one or for a time.
    func makeReady(_ db: Database, _ stage: StageRow) throws {
        try db.execute(
            sql: "UPDATE stage_run SET state = 'ready' WHERE id = ? AND state IN ('blocked','retry_wait')",
            arguments: [stage.id])
    }

    /// Lets a job wait so many seconds before it is tried again.
    func wait(
        _ db: Database, _ job: String, _ failure: StageFailure, _ failureClass: FailureClass, seconds: Double
    ) throws {
        try db.execute(
            sql: "UPDATE job SET state = 'retry_wait', reason = ?, not_before_ms = ? WHERE id = ?",
            arguments: [failure.text(failureClass), now() + Int64(seconds * 1000), job])
        try note(db, "retry_wait", job: job, ["code": failure.code, "seconds": "\(Int(seconds.rounded()))"])
    }

    /// Ends a stage, its job and what else of it has not run.
    func failStage(
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

    /// Ends a job that somebody has cancelled.
    func endCancelled(_ db: Database, _ job: String) throws {
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
