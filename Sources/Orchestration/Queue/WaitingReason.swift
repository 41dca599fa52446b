package import Foundation
import PipelineSpec

/// Why a job does not run now, after Slurm's REASON column.
package enum WaitingReason: Sendable, Equatable, CustomStringConvertible {
    /// What there is too little of.
    package enum Resource: String, Sendable {
        case cores
        case memory = "mem"
        /// Its queue runs as many jobs as it may.
        case queue
    }

    /// Others go first.
    case priority
    case resources(Resource)
    /// It wants more memory than jobs may ever use here.
    case doesNotFit(needs: Int64, limit: Int64)
    /// Jobs it comes after have not ended.
    case dependency([String])
    /// By a person, or for a reason that is known.
    case held(why: String? = nil)
    /// Stopped at a checkpoint by a person.
    case paused
    /// Its time has not come.
    case beginTime(Date)
    /// This job with the same concurrency key goes first.
    case concurrency(key: String, by: String)
    /// A stage failed, for this reason, and is tried again then.
    case retryAt(Date, why: String?)
    /// Too little free space to start anything.
    case diskLow
    case queuePaused
    /// It is one of the hours in which nothing runs.
    case quiet(until: Date)
    /// Nobody is there to start it.
    case daemonDown

    /// The word people know from elsewhere, such as `RetryAt(03:12:30 crashed: ended by signal 9)`; times are local.
    package var description: String {
        switch self {
        case .priority: "Priority"
        case .resources(let resource): "Resources(\(resource.rawValue))"
        case .doesNotFit(let needs, let limit):
            "Fit(memory \(Capacity.text(needs)) > \(Capacity.text(limit)))"
        case .dependency(let jobs):
            "Dependency(\(jobs.prefix(3).joined(separator: ","))\(jobs.count > 3 ? ",+\(jobs.count - 3)" : ""))"
        case .held(let why): "Held" + (why.map { "(\($0))" } ?? "")
        case .paused: "Paused"
        case .beginTime(let date): "BeginTime(\(Moment.near(date)))"
        case .concurrency(let key, let job): "Concurrency(\(key) by \(job))"
        case .retryAt(let date, let why): "RetryAt(\(Moment.near(date))\(why.map { " " + Self.short($0) } ?? ""))"
        case .diskLow: "DiskLow"
        case .queuePaused: "QueuePaused"
        case .quiet(let date): "Quiet(until \(Moment.near(date)))"
        case .daemonDown: "DaemonDown"
        }
    }

    /// A failure without the place to read more, which `logs` knows.
    private static func short(_ failure: String) -> String {
        PrintableText.line(String(failure.split(separator: "; see ", maxSplits: 1).first ?? ""), limit: 120)
    }
}
