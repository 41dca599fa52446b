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
}

/// An attempt whose process may still live.
struct LiveAttempt: Sendable {
    var id: String
    var stage: String
    var number: Int
    var pid: Int32?
    var pidStart: Int64?
    var bootID: String
    /// `CLOCK_BOOTTIME` at its start.
    var bootSeconds: Double
    var directory: RunDirectory
    var resumeFrom: String?
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
    var isCancelRequested: Bool
    var adapter: String?
    /// In topological order.
    var stages: [StageRow]
    var live: LiveAttempt?
}
