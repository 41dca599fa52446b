package import Foundation
package import PipelineSpec

/// A line of `status`.
package struct JobStatus: Sendable, Equatable {
    package var id: String
    package var name: String
    package var tenant: String
    package var queue: String
    package var priority: Int
    package var state: JobState
    /// The stage that runs, or is next; `nil` when the job has ended.
    package var stage: String?
    /// Whether a process of that stage runs, so that it is not one that may yet be skipped or found in the cache.
    package var isStageLive: Bool
    /// Of that stage, 0…1; 1 when the job has succeeded.
    package var progress: Double
    /// What the worker said last.
    package var event: ProgressEvent?
    /// Seconds since the first start, up to the end; `nil` before it.
    package var elapsed: Double?
    /// Seconds until the job ends; of one that waits, how long it will take once it runs. See ``Expectation``.
    package var eta: Double?
    /// How anybody knows that; `nil` when nobody does.
    package var etaSource: Expectation.Source?
    /// Why it does not run, or how it ended: `Priority`, `RetryAt(…)` with the local time and the failure,
    /// `unchanged`, a failure.
    ///
    /// `nil` when it runs, or may start at any moment.
    package var reason: String?
    /// What it published, as `name:3`.
    package var adapter: String?
    /// What its gate decided about that: `passed`, `failed` or `held`; `nil` for a job without a gate or a new version.
    package var gate: String?
    package var createdAt: Date
    package var startedAt: Date?
    package var finishedAt: Date?
    /// The job this one does again.
    package var retryOf: String?
    /// The sweep whose trial it is.
    package var sweep: String?
    /// The values in which it differs from the other trials, such as `adapter.rank=8`; `nil` for a job that is none.
    package var trialValues: String?
    /// The user who may change it, beside the daemon's.
    package var ownerID: UInt32 = 0
    /// Bytes of memory it is counted with; `nil` when nobody knows.
    package var memoryBytes: Int64?
    /// Where the worker that runs says how far it is.
    package var progressFile: URL?
}

/// All that is known of a job.
package struct JobDetail: Sendable {
    package struct Stage: Sendable, Equatable {
        package var name: String
        package var kind: String
        package var needs: [String]
        package var state: StageState
        package var cacheKey: String?
        package var outputDigest: String?
        package var outputPath: String?
        /// Why it ran, was skipped, came from the cache, or failed.
        package var why: String?
        package var attempts: [Attempt]
    }

    package struct Attempt: Sendable, Equatable {
        package var id: String
        /// From 1.
        package var number: Int
        package var state: AttemptState
        package var directory: RunDirectory
        package var pid: Int32?
        package var exitCode: Int32?
        package var signal: Int32?
        package var failure: StageFailure?
        /// Whose matter it was; `nil` when it did not fail.
        package var failureClass: FailureClass?
        package var metrics: [String: Double]
        /// The checkpoint it went on from.
        package var resumedFrom: String?
        package var peakRSSBytes: Int64?
        package var cpuSeconds: Double?
        package var startedAt: Date
        package var endedAt: Date?
    }

    package struct Event: Sendable, Equatable {
        package var at: Date
        package var kind: String
        package var stage: String?
        package var attempt: String?
        package var data: [String: String]
    }

    package var status: JobStatus
    package var manifest: JobManifest
    package var manifestDigest: String
    /// Where each value came from, as the resolver gave it.
    package var origins: Data
    /// Jobs it comes after, with `ok`, `any` or `notok`.
    package var after: [String: String]
    package var stages: [Stage]
    /// From the first to the last.
    package var events: [Event]
}

/// What `status` prints above the jobs.
package struct WorkspaceStatus: Sendable {
    /// Of the daemon; `nil` when none runs.
    package var daemon: DaemonLock.Note?
    /// Manifests in the inbox that have not been taken.
    package var inboxBacklog: Int
    package var rejectedSinceYesterday = 0
    package var pausedQueues: [String] = []
    package var jobCounts: [JobState: Int] = [:]
    /// Why nothing is taken or started, such as a full disk.
    package var diskLow: String?
    /// What recurs first; `nil` when nothing does.
    package var nextSchedule: NextFire?
}

/// Which jobs to list.
package struct JobFilter: Sendable {
    /// Ids, or unique beginnings; empty is every job.
    package var ids: [String] = []
    package var states: Set<JobState> = []
    package var name: String?
    package var tenant: String?
    package var queue: String?
    /// Whether jobs that ended more than a day ago are listed too.
    package var includesOld = false
    /// Only jobs that ended then or later.
    package var endedSince: Date?
    /// The newest so many.
    package var limit: Int?

    package init() {}
}
