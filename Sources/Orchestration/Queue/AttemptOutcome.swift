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

/// How an attempt ended, and what follows for its stage and job.
enum AttemptOutcome: Sendable {
    /// The stage is done.
    case succeeded(StageResult, StageOutput)
    /// Another try would fail the same way.
    case failedForGood(AttemptState, StageFailure, StageResult?)
    /// Tried again after a pause, as often as the stage's retries say.
    case failedForNow(AttemptState, StageFailure, StageResult?)
    /// Not the job's fault: tried again at once, without a charge; `pause` gives the cores back first.
    case interrupted(AttemptState, StageFailure, pause: Bool)
    /// Stopped because the job is cancelled.
    case cancelled

    var state: AttemptState {
        switch self {
        case .succeeded: .succeeded
        case .failedForGood(let state, _, _), .failedForNow(let state, _, _), .interrupted(let state, _, _): state
        case .cancelled: .cancelled
        }
    }

    var failure: StageFailure? {
        switch self {
        case .succeeded, .cancelled: nil
        case .failedForGood(_, let failure, _), .failedForNow(_, let failure, _), .interrupted(_, let failure, _):
            failure
        }
    }

    var result: StageResult? {
        switch self {
        case .succeeded(let result, _): result
        case .failedForGood(_, _, let result), .failedForNow(_, _, let result): result
        case .interrupted, .cancelled: nil
        }
    }
}

/// How often and how soon a failed stage is tried again.
package struct RetryPolicy: Sendable {
    /// The first pause in seconds; it doubles with each further one, ±20 %.
    package var firstPause: Double = 30
    /// The longest pause in seconds.
    package var longestPause: Double = 3600
    /// How often an attempt may be lost without being charged: restarts, stops.
    package var freeAttempts = 10

    package init() {}

    func pause(afterFailure number: Int) -> Double {
        min(longestPause, firstPause * pow(2, Double(max(0, number - 1)))) * Double.random(in: 0.8...1.2)
    }
}
