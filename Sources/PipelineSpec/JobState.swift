/// Where a job stands in its life. The queue's schema refuses every transition not drawn in `StateMachine.md`.
package enum JobState: String, Codable, Sendable, CaseIterable {
    /// Kept back by a person until `release`.
    case held
    /// Waits for a time or for other jobs.
    case waiting
    /// Ready to run as soon as there is room.
    case queued
    /// Has started; a stage runs or is about to.
    case running
    /// A stage failed and will be tried again at a set time.
    case retryWait = "retry_wait"
    /// Every stage is done, cached or skipped.
    case succeeded
    /// A stage failed for good.
    case failed
    /// Ended by a person.
    case cancelled
    /// Never ran, because what it waited for did not end as asked.
    case skipped

    /// Whether the job has ended. A final state never changes; `retry` makes a new job.
    package var isFinal: Bool {
        switch self {
        case .succeeded, .failed, .cancelled, .skipped: true
        case .held, .waiting, .queued, .running, .retryWait: false
        }
    }
}

/// Where a stage of a job stands.
package enum StageState: String, Codable, Sendable, CaseIterable {
    case blocked, ready, running
    case retryWait = "retry_wait"
    case succeeded, cached, skipped, failed, cancelled

    /// Whether the stages that need this one may run.
    package var satisfiesDependants: Bool { self == .succeeded || self == .cached || self == .skipped }

    /// Whether the stage has ended.
    package var isFinal: Bool { satisfiesDependants || self == .failed || self == .cancelled }
}

/// Where one attempt at a stage stands. One attempt is one child process.
package enum AttemptState: String, Codable, Sendable, CaseIterable {
    case starting, running
    case succeeded, failed, crashed, oom, timeout, cancelled, preempted, lost

    /// Whether the process may still be alive.
    package var isLive: Bool { self == .starting || self == .running }
}
