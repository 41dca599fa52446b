import GRDB
import Glibc

/// A queue as `queue ls` shows it.
package struct QueueStatus: Sendable, Equatable {
    package var name: String
    package var isPaused: Bool
    /// Jobs that may run at once; `nil` is as many as there is room for.
    package var maximumJobs: Int?
    /// Whether a person has set that, in place of `lorajobs.yaml`.
    package var isMaximumSet: Bool
    package var priority: Int
    package var running: Int
    /// Jobs that have not ended and do not run.
    package var waiting: Int

    package init(
        name: String, isPaused: Bool = false, maximumJobs: Int?, isMaximumSet: Bool = false, priority: Int,
        running: Int = 0, waiting: Int = 0
    ) {
        self.name = name
        self.isPaused = isPaused
        self.maximumJobs = maximumJobs
        self.isMaximumSet = isMaximumSet
        self.priority = priority
        self.running = running
        self.waiting = waiting
    }
}

extension JobQueue {
    /// Every queue that has been named, by name.
    package func queues() throws -> [QueueStatus] {
        try read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT q.name, q.paused, q.max_jobs, q.set_max_jobs, q.priority,
                      coalesce(sum(j.state = 'running'), 0) AS running,
                      coalesce(sum(j.state <> 'running'), 0) AS waiting
                    FROM queue AS q LEFT JOIN (SELECT queue, state FROM job WHERE finished_ms IS NULL) AS j
                      ON j.queue = q.name
                    GROUP BY q.name ORDER BY q.name
                    """
            ).map { row in
                let set: Int? = row["set_max_jobs"]
                return QueueStatus(
                    name: row["name"], isPaused: row["paused"], maximumJobs: set ?? row["max_jobs"],
                    isMaximumSet: set != nil, priority: row["priority"], running: row["running"],
                    waiting: row["waiting"])
            }
        }
    }

    /// Begins to empty queues: nothing more of them starts until they are resumed.
    ///
    /// - Parameter now: Whether what runs is asked to stop at a checkpoint and to wait again, without a charge.
    /// - Returns: The jobs that run; they have been drained when none is left.
    /// - Throws: `permission` for others than the daemon's user and root.
    package func drain(_ names: [String], now isAtOnce: Bool, as user: UInt32 = geteuid()) throws -> [String] {
        try authorizeQueues(as: user)
        for name in names { try setPaused(true, queue: name, as: user) }
        return try write { db in
            let running = try draining(db, names)
            for job in isAtOnce ? running : [] {
                try db.execute(
                    sql: "UPDATE job SET yield_requested_ms = coalesce(yield_requested_ms, ?) WHERE id = ?",
                    arguments: [now(), job])
                try note(db, "yield_requested", job: job)
            }
            return running
        }
    }

    /// The jobs of queues that still run.
    package func draining(_ names: [String]) throws -> [String] { try read { try draining($0, names) } }

    private func draining(_ db: Database, _ names: [String]) throws -> [String] {
        try names.flatMap { name in
            try String.fetchAll(
                db, sql: "SELECT id FROM job WHERE state = 'running' AND queue = ? ORDER BY seq", arguments: [name])
        }
    }

    /// A number that changes when anybody else has committed something.
    package func dataVersion() throws -> Int { try read { try Int.fetchOne($0, sql: "PRAGMA data_version") ?? 0 } }
}
