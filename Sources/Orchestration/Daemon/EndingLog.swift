import Logging
import PipelineSpec

/// Tells the daemon's log of jobs that have ended while no driver was with them: cancelled or replaced while they
/// waited, or skipped because of another.
struct EndingLog {
    private let queue: JobQueue
    private let logger: Logger
    /// The last entry of the history that was looked at.
    private var last: Int64

    /// Begins with what happens from now on.
    init(_ queue: JobQueue, _ logger: Logger) throws {
        self.queue = queue
        self.logger = logger
        last = try queue.lastEvent()
    }

    mutating func tell() throws {
        let newest = try queue.lastEvent()
        guard newest > last else { return }
        for ending in try queue.endings(after: last, upTo: newest) {
            JobLog(job: ending.job, logger: logger).ended(ending.state, while: ending.was, reason: ending.reason)
        }
        last = newest
    }
}
