import Foundation
import GRDB
import Glibc
import PipelineSpec

/// What the command line asks of the queue. All of it works with the daemon down; a running daemon notices within a
/// second, or at once when it is poked.
extension JobQueue {
    /// The id that `text`, an id or the unique beginning of one, stands for.
    ///
    /// - Throws: `notFound` or `ambiguous`.
    package func resolve(_ text: String) throws -> String { try read { try resolve($0, text) } }

    /// Ends a job.
    ///
    /// One that does not run is cancelled at once; one that runs is asked to stop, and killed when it does not within
    /// the grace time of the daemon.
    ///
    /// - Parameter atOnce: Whether a worker is killed without being asked to stop, so that it writes no checkpoint.
    /// - Returns: Whether it is cancelled already; otherwise a daemon will do it.
    /// - Throws: `wrongState` when the job has ended.
    @discardableResult package func cancel(
        _ job: String, atOnce: Bool = false, as user: UInt32 = geteuid()
    ) throws -> Bool {
        try write { db in
            try authorize(db, job, as: user)
            let state = try state(db, job)
            switch state {
            case .held, .waiting, .queued, .retryWait:
                try cancelPending(db, job, reason: nil)
                try settleWaiting(db)
                return true
            case .running:
                try db.execute(
                    sql: """
                        UPDATE job SET cancel_requested_ms = coalesce(cancel_requested_ms, ?),
                          cancel_now = max(cancel_now, ?) WHERE id = ?
                        """,
                    arguments: [now(), atOnce, job])
                try note(db, "cancel_requested", job: job, atOnce ? ["now": "true"] : [:])
                return false
            case .cancelled: return true
            case .succeeded, .failed, .skipped:
                throw OrchestrationError(.wrongState, "job \(job) has ended already (\(state.rawValue))")
            }
        }
    }

    /// Stops a job, at a checkpoint where it runs, until ``resume(_:)``. It gives its cores back and keeps its
    /// concurrency key.
    ///
    /// A stage that is finished in that moment stays finished; the job is then held before the next one.
    ///
    /// - Returns: Whether it is paused already; otherwise a daemon will do it.
    /// - Throws: `wrongState` when the job has ended, or is being cancelled.
    @discardableResult package func pause(_ job: String, as user: UInt32 = geteuid()) throws -> Bool {
        try write { db in
            try authorize(db, job, as: user)
            let state = try state(db, job)
            switch state {
            case .held: return true
            case .waiting, .queued, .retryWait:
                try requestPause(db, job)
                try setState(db, job, .held, reason: Self.paused)
                try note(db, "paused", job: job)
                return true
            case .running:
                let isCancelled = try Bool.fetchOne(
                    db, sql: "SELECT cancel_requested_ms IS NOT NULL FROM job WHERE id = ?", arguments: [job])
                guard isCancelled != true else {
                    throw OrchestrationError(.wrongState, "job \(job) is being cancelled")
                }
                try requestPause(db, job)
                try note(db, "pause_requested", job: job)
                return false
            case .succeeded, .failed, .cancelled, .skipped:
                throw OrchestrationError(.wrongState, "job \(job) has ended already (\(state.rawValue))")
            }
        }
    }

    /// Lets a paused job go on from its checkpoint, or withdraws a pause that has not come about.
    ///
    /// - Throws: `wrongState` when it is not paused.
    package func resume(_ job: String, as user: UInt32 = geteuid()) throws {
        try write { db in
            try authorize(db, job, as: user)
            let state = try state(db, job)
            let isAsked = try Bool.fetchOne(
                db, sql: "SELECT pause_requested_ms IS NOT NULL FROM job WHERE id = ?", arguments: [job])
            guard isAsked == true, state == .held || state == .running else {
                let advice = state == .held ? "held; let it go with: lorajobs release \(job)" : state.rawValue
                throw OrchestrationError(.wrongState, "job \(job) is not paused but \(advice)")
            }
            try letGo(db, job, state)
            try note(db, "resumed", job: job)
        }
    }

    /// What stands for the reason of a job that is held by ``pause(_:)``.
    static let paused = "Paused"

    private func requestPause(_ db: Database, _ job: String) throws {
        try db.execute(
            sql: "UPDATE job SET pause_requested_ms = coalesce(pause_requested_ms, ?) WHERE id = ?",
            arguments: [now(), job])
    }

    private func letGo(_ db: Database, _ job: String, _ state: JobState) throws {
        try db.execute(sql: "UPDATE job SET pause_requested_ms = NULL WHERE id = ?", arguments: [job])
        guard state == .held else { return }
        try setState(db, job, .waiting)
        try settleWaiting(db)
    }

    /// Keeps a job back until ``release(_:)``.
    ///
    /// - Throws: `wrongState` when it runs or has ended.
    package func hold(_ job: String, as user: UInt32 = geteuid()) throws {
        try write { db in
            try authorize(db, job, as: user)
            let state = try state(db, job)
            switch state {
            case .held: return
            case .waiting, .queued, .retryWait:
                try setState(db, job, .held)
                try note(db, "held", job: job)
            case .running:
                throw OrchestrationError(
                    .wrongState, "job \(job) runs; stop it at a checkpoint with: lorajobs pause \(job)")
            case .succeeded, .failed, .cancelled, .skipped:
                throw OrchestrationError(.wrongState, "job \(job) has ended already (\(state.rawValue))")
            }
        }
    }

    /// Lets a held job go.
    ///
    /// - Throws: `wrongState` when it is not held.
    package func release(_ job: String, as user: UInt32 = geteuid()) throws {
        try write { db in
            try authorize(db, job, as: user)
            let state = try state(db, job)
            guard state == .held else {
                throw OrchestrationError(.wrongState, "job \(job) is not held but \(state.rawValue)")
            }
            try letGo(db, job, state)
            try note(db, "released", job: job)
        }
    }

    /// Changes the place of an unfinished job in its queue; -100…100, higher first.
    package func prioritize(_ job: String, to priority: Int, as user: UInt32 = geteuid()) throws {
        guard (-100...100).contains(priority) else {
            throw OrchestrationError(.invalidInput, "a priority is between -100 and 100, not \(priority)")
        }
        try write { db in
            try authorize(db, job, as: user)
            let state = try state(db, job)
            guard !state.isFinal else {
                throw OrchestrationError(.wrongState, "job \(job) has ended already (\(state.rawValue))")
            }
            try db.execute(sql: "UPDATE job SET priority = ? WHERE id = ?", arguments: [priority, job])
            try note(db, "prioritized", job: job, ["priority": "\(priority)"])
        }
    }

    /// Makes a new job that does an ended one again.
    ///
    /// It reads the inputs as they were pinned and goes on from the checkpoints of the old one, unless `fresh`: then
    /// it reads them as they are now and runs every stage, with neither cache nor checkpoint. Inputs that were refused are
    /// read as they are now.
    ///
    /// - Parameter stage: Where to begin: the stages that do not need it are taken as they are; it and all that need it
    ///   run again, with neither cache nor checkpoint.
    /// - Returns: The new job's id.
    /// - Throws: `wrongState` when the job has not ended, or a stage before `stage` was never finished; `notFound` for a
    ///   stage that the job does not have.
    package func retry(
        _ job: String, fresh: Bool = false, from stage: String? = nil, as user: UInt32 = geteuid()
    ) throws -> String {
        try write { db in
            try authorize(db, job, as: user)
            let state = try state(db, job)
            guard state.isFinal else {
                throw OrchestrationError(.wrongState, "job \(job) has not ended (\(state.rawValue)); cancel it first")
            }
            guard let row = try Row.fetchOne(db, sql: "SELECT * FROM job WHERE id = ?", arguments: [job]) else {
                throw OrchestrationError(.notFound, "there is no job \(job)")
            }
            let spec: Data = row["spec"]
            let rows = try stageRows(db, job)
            let stages = rows.map(\.plan)
            if let stage { try checkBegin(stage, rows, job) }
            let id = ULID().description
            // What failed because its inputs had changed, or were wrong, can only go on from what is there now.
            let wasRefused =
                try Bool.fetchOne(
                    db,
                    sql: """
                        SELECT EXISTS (SELECT 1 FROM attempt AS a JOIN stage_run AS s ON s.id = a.stage_id
                                       WHERE s.job_id = ? AND s.state = 'failed' AND a.exit_code = ?)
                        """, arguments: [job, WorkerExit.invalidInput.rawValue]) ?? false
            let pinsAreGone = wasRefused || (row["reason"] as String?)?.contains("inputs_changed") ?? false
            let submission = Submission(
                manifest: try JSONDecoder().decode(JobManifest.self, from: spec), stages: stages,
                origins: row["origins"])
            var again = try NewJob(
                id: id, origin: .retry(of: job), tenant: row["tenant"], ownerID: row["owner_uid"],
                manifestDigest: row["manifest_sha256"], submission)
            again.pins = fresh || pinsAreGone ? nil : row["pins"]
            again.resume = !fresh && stage == nil
            again.rerunFrom = stage
            if let sweep: String = row["sweep_id"] { again.trial = NewJob.Trial(sweep: sweep, index: row["trial"]) }
            try insert(db, again)
            try note(db, "retried", job: job, ["as": id])
            return id
        }
    }

    /// Whether a job may be done again from a stage on.
    private func checkBegin(_ stage: String, _ rows: [StageRow], _ job: String) throws {
        guard let first = rows.first(where: { $0.plan.name == stage }) else {
            let names = rows.map(\.plan.name).joined(separator: ", ")
            throw OrchestrationError(.notFound, "job \(job) has no stage \"\(stage)\"; it has \(names)")
        }
        var needed = Set(first.plan.needs)
        for row in rows.reversed() where needed.contains(row.plan.name) {
            needed.formUnion(row.plan.needs)
            guard row.state.satisfiesDependants else {
                throw OrchestrationError(
                    .wrongState,
                    "stage \(row.plan.name) comes before \(stage) and is \(row.state.rawValue); begin there, or with "
                        + "lorajobs retry \(job) alone")
            }
        }
    }

    /// Stops, or lets go again, a whole queue.
    ///
    /// What runs goes on.
    ///
    /// - Throws: `permission` for others than the daemon's user and root.
    package func setPaused(_ paused: Bool, queue: String, as user: UInt32 = geteuid()) throws {
        try authorizeQueues(as: user)
        try write { db in
            try db.execute(
                sql:
                    "INSERT INTO queue (name, paused) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET paused = excluded.paused",
                arguments: [queue, paused])
            try note(db, paused ? "queue_paused" : "queue_resumed", ["queue": queue])
        }
    }

    /// How many jobs of a queue run at once at most, in place of what `lorajobs.yaml` says; `nil` is what it says.
    ///
    /// - Throws: `permission` for others than the daemon's user and root.
    package func setMaximumJobs(_ maximum: Int?, queue: String, as user: UInt32 = geteuid()) throws {
        try authorizeQueues(as: user)
        try write { db in
            try db.execute(
                sql: """
                    INSERT INTO queue (name, set_max_jobs) VALUES (?, ?)
                    ON CONFLICT (name) DO UPDATE SET set_max_jobs = excluded.set_max_jobs
                    """,
                arguments: [queue, maximum.map { max(1, $0) }])
            try note(db, "queue_set", ["queue": queue, "max_jobs": maximum.map { "\($0)" } ?? "default"])
        }
    }

    func resolve(_ db: Database, _ text: String) throws -> String {
        let wanted = text.uppercased()
        guard !wanted.isEmpty, wanted.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber) }) else {
            throw OrchestrationError(.notFound, "\"\(text)\" is no job id")
        }
        let found = try String.fetchAll(
            db, sql: "SELECT id FROM job WHERE id >= ? AND id < ? ORDER BY id LIMIT 2",
            arguments: [wanted, wanted + "~"])
        guard let first = found.first else { throw OrchestrationError(.notFound, "there is no job \(text)") }
        if found.count > 1 {
            throw OrchestrationError(.ambiguous, "several jobs begin with \(text); write more of the id")
        }
        return first
    }

    func state(_ db: Database, _ job: String) throws -> JobState {
        guard
            let text = try String.fetchOne(db, sql: "SELECT state FROM job WHERE id = ?", arguments: [job]),
            let state = JobState(rawValue: text)
        else { throw OrchestrationError(.notFound, "there is no job \(job)") }
        return state
    }

    func setState(_ db: Database, _ job: String, _ state: JobState, reason: String? = nil) throws {
        try db.execute(
            sql: """
                UPDATE job SET state = :state, reason = :reason, finished_ms = :finished,
                  eligible_ms = CASE :state WHEN 'queued' THEN coalesce(eligible_ms, :now) WHEN 'held' THEN NULL
                                ELSE eligible_ms END
                WHERE id = :job
                """,
            arguments: [
                "state": state.rawValue, "reason": reason, "finished": state.isFinal ? now() : nil, "now": now(),
                "job": job,
            ])
    }

    /// Ends a job of which nothing runs.
    func cancelPending(_ db: Database, _ job: String, reason: String?) throws {
        try db.execute(
            sql: """
                UPDATE stage_run SET state = 'cancelled' WHERE job_id = ? AND state IN ('blocked','ready','retry_wait')
                """, arguments: [job])
        let was = try state(db, job)
        try setState(db, job, .cancelled, reason: reason)
        try note(
            db, "cancelled", job: job, ["was": was.rawValue].merging(reason.map { ["reason": $0] } ?? [:]) { $1 })
    }
}
