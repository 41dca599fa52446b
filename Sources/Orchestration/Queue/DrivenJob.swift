import Foundation
import PipelineSpec

/// A stage of a job as the database has it.
struct StageRow: Sendable {
    var id: String
    var plan: StagePlan
    var state: StageState
    var cacheKey: String?
    var outputDigest: String?
    var outputPath: String?
    var why: String?
    var userAttempts: Int
    var infraAttempts: Int
    /// How often its micro-batch was halved because memory ran out.
    var memoryHalvings: Int
}

/// What is asked of a job while it runs.
struct StopRequests: Sendable, Equatable {
    var isCancelled = false
    /// Whether it is ended without being asked first.
    var isAtOnce = false
    var isPaused = false
    /// Whether its cores are wanted for something else.
    var isYielding = false

    /// The one that counts.
    var cause: StopCause? { isCancelled ? .cancel : isPaused ? .pause : isYielding ? .yield : nil }
}

/// An attempt whose process may still live.
struct LiveAttempt: Sendable {
    var id: String
    var stage: String
    var number: Int
    /// The launcher that started it.
    var launcher: String
    var identity: WorkerIdentity
    var bootID: String
    /// `CLOCK_BOOTTIME` at its start.
    var bootSeconds: Double
    var directory: RunDirectory
    var resumeFrom: String?

    var pid: Int32? { identity.pid }
}

/// A job as its driver needs it.
struct DrivenJob: Sendable {
    var id: String
    var name: String
    var tenant: String
    var state: JobState
    /// How it ended, or why it waits.
    var reason: String?
    /// When it may start again, after a failure.
    var notBefore: Date?
    var manifest: JobManifest
    var manifestDigest: String
    var threads: Int
    var pins: Data?
    /// Estimated, in bytes.
    var memoryBytes: Int64?
    /// The job this one does again, and the stage from which on everything is done anew.
    var retryOf: String?
    var rerunFrom: String?
    /// Whether it does another job again, and nothing that was made before may be used.
    var isFresh = false
    var requests: StopRequests
    var adapter: String?
    /// In topological order.
    var stages: [StageRow]
    var live: LiveAttempt?

    /// Whether a stage is to run whatever was made before: all are after `retry --fresh`; after `retry --from` it is that
    /// one, or needs it.
    func isRerun(_ stage: StageRow) -> Bool {
        if isFresh { return true }
        guard let rerunFrom else { return false }
        return stage.plan.name == rerunFrom || needs(of: stage).contains { $0.plan.name == rerunFrom }
    }

    /// Every stage that a stage needs, directly or not.
    func needs(of stage: StageRow) -> [StageRow] {
        var wanted = Set(stage.plan.needs)
        // Against the topological order, each stage is met after all that need it.
        for candidate in stages.reversed() where wanted.contains(candidate.plan.name) {
            wanted.formUnion(candidate.plan.needs)
        }
        return stages.filter { wanted.contains($0.plan.name) }
    }
}
