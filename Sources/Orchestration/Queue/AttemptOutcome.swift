import Foundation
import PipelineSpec

/// What a stage made.
struct StageOutput: Sendable {
    var digest: String
    /// The folder, in the stage cache.
    var path: String
    /// Versions it published, as JSON for whoever reads them back; `nil` when none.
    var published: String?
    /// The version that people ask for, as `name:3`.
    var adapter: String?
}

/// Whose matter a failure is, which decides whether the stage is tried again.
package enum FailureClass: String, Sendable {
    /// It would happen again: wrong input, a loss that is not finite, the time limit. Not tried again.
    case permanent
    /// Of unknown cause: tried again as often as `retries` says.
    case user
    /// Not the job's: a restart, a full disk, a signal from outside. Tried again without a charge, but not for ever.
    case infrastructure
    /// Memory ran out: tried again once, with half the micro-batch.
    case oom
    /// The same crash again and again. Not tried again.
    case poison
}

/// How an attempt ended, and what follows for its stage and job.
enum AttemptOutcome: Sendable {
    /// The stage is done.
    case succeeded(StageResult, StageOutput)
    /// Another try would fail the same way.
    case failedForGood(AttemptState, StageFailure, StageResult?)
    /// Tried again after a pause, as often as the stage's retries say.
    case failedForNow(AttemptState, StageFailure, StageResult?)
    /// Memory ran out: tried again after a pause, once, with half the micro-batch.
    case outOfMemory(StageFailure, StageResult?)
    /// Not the job's fault: tried again without a charge, at once; `pause` gives the cores back first, and waits a while
    /// unless it was asked to stop.
    case interrupted(AttemptState, StageFailure, pause: Bool)
    /// Stopped at a checkpoint, as it was asked: not a failure, and not counted.
    case stopped(StopCause, StageFailure)
    /// Stopped because the job is cancelled.
    case cancelled

    var state: AttemptState {
        switch self {
        case .succeeded: .succeeded
        case .failedForGood(let state, _, _), .failedForNow(let state, _, _), .interrupted(let state, _, _): state
        case .outOfMemory: .oom
        case .stopped: .preempted
        case .cancelled: .cancelled
        }
    }

    /// `nil` when it did not fail.
    var failureClass: FailureClass? {
        switch self {
        case .succeeded, .stopped, .cancelled: nil
        case .failedForGood: .permanent
        case .failedForNow: .user
        case .outOfMemory: .oom
        case .interrupted: .infrastructure
        }
    }

    var failure: StageFailure? {
        switch self {
        case .succeeded, .cancelled: nil
        case .failedForGood(_, let failure, _), .failedForNow(_, let failure, _), .outOfMemory(let failure, _),
            .interrupted(_, let failure, _), .stopped(_, let failure):
            failure
        }
    }

    var result: StageResult? {
        switch self {
        case .succeeded(let result, _): result
        case .failedForGood(_, _, let result), .failedForNow(_, _, let result), .outOfMemory(_, let result): result
        case .interrupted, .stopped, .cancelled: nil
        }
    }
}

extension StageFailure {
    /// In one line, as `status` shows it: `crashed: ended by signal 11 [user]; see /path`.
    func text(_ failureClass: FailureClass?) -> String {
        let mark = failureClass.map { " [\($0.rawValue)]" } ?? ""
        // Before the place to read more, which some leave out.
        guard let place = message.range(of: "; see ") else { return "\(code): \(message)\(mark)" }
        return "\(code): \(message[..<place.lowerBound])\(mark)\(message[place.lowerBound...])"
    }
}

/// How often and how soon a failed stage is tried again.
package struct RetryPolicy: Sendable {
    /// The first pause in seconds; it doubles with each further one, ±20 %.
    package var firstPause: Double = 30
    /// The longest pause in seconds.
    package var longestPause: Double = 3600
    /// How often an attempt may be lost without being charged: restarts, signals from outside, a full disk.
    package var freeAttempts = 10
    /// How many crashes that look alike are taken for one that will not pass.
    package var equalCrashes = 3

    package init() {}

    func pause(afterFailure number: Int) -> Double {
        min(longestPause, firstPause * pow(2, Double(max(0, number - 1)))) * Double.random(in: 0.8...1.2)
    }
}
