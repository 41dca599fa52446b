import Foundation
import Logging
import PipelineSpec

/// What the daemon's log says of one job: a line for whatever a person would want to know the time of.
struct JobLog: Sendable {
    let job: String
    let logger: Logger

    /// `isNew` is false for a job that ran already when this process came.
    func started(_ name: String, isNew: Bool) { say(isNew ? "job started" : "job goes on", ["name": "\(name)"]) }

    func adopted(_ stage: String, attempt: Int, pid: Int32?) {
        say("adopted a worker", ["stage": "\(stage)", "attempt": "\(attempt)", "pid": "\(pid ?? 0)"])
    }

    func stageStarted(_ stage: String, attempt: Int, pid: Int32, resumed: Bool) {
        var facts: Logger.Metadata = ["stage": "\(stage)", "attempt": "\(attempt)", "pid": "\(pid)"]
        if resumed { facts["from"] = "checkpoint" }
        say("stage started", facts)
    }

    /// How long a stage may take at most, and how much is kept for what follows, in seconds.
    func budgeted(_ stage: String, seconds: Double, reserve: Double) {
        say(
            "stage has a budget",
            ["stage": "\(stage)", "seconds": "\(Int(max(0, seconds)))", "reserve": "\(Int(reserve))"])
    }

    /// A stage that needed no process.
    func stagePassed(_ stage: String, _ state: StageState) {
        say("stage finished", ["stage": "\(stage)", "state": "\(state.rawValue)"])
    }

    /// An attempt has ended; `signal` is the one that ended its process.
    func attemptEnded(_ stage: String, attempt: Int, _ outcome: AttemptOutcome, seconds: Double, signal: Int32?) {
        var facts: Logger.Metadata = [
            "stage": "\(stage)", "attempt": "\(attempt)", "state": "\(outcome.state.rawValue)",
            "seconds": "\(String(format: "%.1f", max(0, seconds)))",
        ]
        if let signal { facts["signal"] = "\(signal)" }
        if let failure = outcome.failure {
            facts["code"] = "\(failure.code)"
            facts["message"] = "\(failure.message)"
        }
        say(outcome.state == .crashed ? "stage crashed" : "stage finished", facts)
    }

    /// A stage whose process could not be started, or was not worth starting.
    func stageFailed(_ stage: String, _ failure: StageFailure) {
        say("stage failed", ["stage": "\(stage)", "code": "\(failure.code)", "message": "\(failure.message)"])
    }

    /// Everything is done but the end of the job, which cannot be decided.
    func heldBack(_ why: String) { say("job is held back", ["reason": "\(why)"]) }

    /// The job holds no cores any more: it has ended, or waits.
    func left(_ job: DrivenJob) {
        var facts: Logger.Metadata = ["state": "\(job.state.rawValue)"]
        if let reason = job.reason { facts["reason"] = "\(reason)" }
        if job.state.isFinal {
            if let adapter = job.adapter { facts["adapter"] = "\(adapter)" }
            say("job ended", facts)
        } else if job.state == .retryWait, let due = job.notBefore {
            say("retry at \(Moment.local(due))", facts)
        } else {
            say("job waits again", facts)
        }
    }

    /// The job has ended without a process: while it waited, by a person or by what it waited for.
    func ended(_ state: JobState, while was: String, reason: String?) {
        var facts: Logger.Metadata = ["state": "\(state.rawValue)", "while": "\(was)"]
        if let reason { facts["reason"] = "\(reason)" }
        say("job ended", facts)
    }

    private func say(_ what: Logger.Message, _ facts: Logger.Metadata) {
        logger.info(what, metadata: facts.merging(["job": "\(job)"]) { $1 })
    }
}
