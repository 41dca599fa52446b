package import Foundation
import PipelineSpec

/// Why a job does not run now, after Slurm's REASON column.
package enum WaitingReason: Sendable, Equatable, CustomStringConvertible {
    /// Another job of its queue is before it.
    case priority
    /// Too few free cores, or its queue runs as many jobs as it may.
    case resources
    /// A job it comes after has not ended.
    case dependency
    case held
    /// Held by `pause`, until `resume`.
    case paused
    /// Its time has not come.
    case beginTime(Date)
    /// A job with the same concurrency key runs.
    case concurrency(key: String)
    /// A stage failed, for this reason, and is tried again then.
    case retryAt(Date, why: String?)
    /// Too little free space to start anything.
    case diskLow
    case queuePaused

    /// The word people know from elsewhere, such as `RetryAt(03:12:30 crashed: ended by signal 9)`.
    package var description: String {
        switch self {
        case .priority: "Priority"
        case .resources: "Resources"
        case .dependency: "Dependency"
        case .held: "Held"
        case .paused: "Paused"
        case .beginTime(let date): "BeginTime(\(date.formatted(.iso8601)))"
        case .concurrency(let key): "Concurrency(\(key))"
        case .retryAt(let date, let why): "RetryAt(\(Moment.near(date))\(why.map { " " + Self.short($0) } ?? ""))"
        case .diskLow: "DiskLow"
        case .queuePaused: "QueuePaused"
        }
    }

    /// A failure without the place to read more, which `logs` knows.
    private static func short(_ failure: String) -> String {
        // The class of the failure stands before the place.
        PrintableText.line(String(failure.split(separator: "; see ", maxSplits: 1).first ?? ""), limit: 120)
    }
}

/// Which queued jobs may start: a pure function of what runs and what waits, used both to start jobs and to say
/// why one has not.
struct Admission {
    struct Job {
        var id: String
        var tenant: String
        var queue: String
        var key: String?
        var threads: Int
    }

    struct Queue {
        var isPaused: Bool
        var maximumJobs: Int?
    }

    var cores: Int
    var isDiskLow: Bool
    var queues: [String: Queue]
    /// Jobs that hold cores.
    var running: [Job]
    /// Tenant and concurrency key of every job that has started and not ended.
    var activeKeys: [String: String]

    private static func slot(_ tenant: String, _ key: String) -> String { "\(tenant)\u{0}\(key)" }

    static func activeKeys(_ jobs: [Job]) -> [String: String] {
        var keys: [String: String] = [:]
        for job in jobs { if let key = job.key { keys[slot(job.tenant, key)] = job.id } }
        return keys
    }

    /// For each queued job, highest priority first: `nil` when it may start now, otherwise why not.
    ///
    /// A job that does not fit stops those behind it, so that small jobs do not starve a large one. One whose queue
    /// is paused or full, or whose key is taken, stops nobody.
    func decide(_ queued: [Job]) -> [(job: Job, reason: WaitingReason?)] {
        var threads = running.reduce(0) { $0 + $1.threads }
        var perQueue = Dictionary(running.map { ($0.queue, 1) }, uniquingKeysWith: +)
        var count = running.count
        var keys = activeKeys
        var isBlocked = false
        return queued.map { job in
            let queue = queues[job.queue]
            if queue?.isPaused == true { return (job, .queuePaused) }
            if isDiskLow { return (job, .diskLow) }
            if let key = job.key, let holder = keys[Self.slot(job.tenant, key)], holder != job.id {
                return (job, .concurrency(key: key))
            }
            if isBlocked { return (job, .priority) }
            if let maximum = queue?.maximumJobs, perQueue[job.queue, default: 0] >= maximum { return (job, .resources) }
            guard count == 0 || threads + job.threads <= cores else {
                isBlocked = true
                return (job, .resources)
            }
            threads += job.threads
            count += 1
            perQueue[job.queue, default: 0] += 1
            if let key = job.key { keys[Self.slot(job.tenant, key)] = job.id }
            return (job, nil)
        }
    }
}
