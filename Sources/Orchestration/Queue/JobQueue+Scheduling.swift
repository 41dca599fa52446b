package import Foundation
import GRDB
import PipelineSpec

extension JobQueue {
    /// Moves every job whose time has come, or whose jobs to wait for have ended, to where it belongs now.
    ///
    /// - Returns: When the next one is due by time alone.
    @discardableResult package func promote() throws -> Date? {
        // Looked up first: an idle daemon then writes nothing.
        let time = now()
        let isDue = try read { db in
            try Bool.fetchOne(
                db,
                sql: """
                    SELECT EXISTS (SELECT 1 FROM job WHERE state = 'waiting' AND not_before_ms <= :now
                                   OR state = 'retry_wait' AND not_before_ms <= :now)
                    """, arguments: ["now": time]) ?? false
        }
        if isDue { try write { try settleWaiting($0) } }
        let next = try read { db in
            try Int64.fetchOne(
                db,
                sql: """
                    SELECT min(not_before_ms) FROM job WHERE state IN ('waiting','retry_wait') AND not_before_ms > ?
                    """, arguments: [time])
        }
        return next.map { Date(timeIntervalSince1970: Double($0) / 1000) }
    }

    /// Starts the next job there is room for.
    ///
    /// - Returns: Its id, or `nil` when nothing may start.
    package func startNext(cores: Int, isDiskLow: Bool) throws -> String? {
        guard
            try read({ try Bool.fetchOne($0, sql: "SELECT EXISTS (SELECT 1 FROM job WHERE state = 'queued')") }) == true
        else { return nil }
        return try write { db in
            let (admission, queued) = try admission(db, cores: cores, isDiskLow: isDiskLow)
            guard let next = admission.decide(queued).first(where: { $0.reason == nil })?.job else { return nil }
            try start(db, next.id)
            return next.id
        }
    }

    /// Starts one job whatever else waits; for a run in the foreground.
    ///
    /// - Throws: `wrongState` when it cannot start: it is held, waits, or another job of its key has started.
    package func start(_ job: String) throws {
        try write { db in
            try settleWaiting(db)
            let state = try state(db, job)
            if state == .running { return }
            guard state == .queued else {
                throw OrchestrationError(.wrongState, "job \(job) cannot start now: it is \(state.rawValue)")
            }
            do {
                try start(db, job)
            } catch let error as DatabaseError where error.resultCode == .SQLITE_CONSTRAINT {
                throw OrchestrationError(
                    .wrongState, "job \(job) cannot start now: another job with its concurrency key has started")
            }
        }
    }

    /// The jobs that had started when the last daemon ended.
    package func runningJobs() throws -> [String] {
        try read { try String.fetchAll($0, sql: "SELECT id FROM job WHERE state = 'running' ORDER BY seq") }
    }

    private func start(_ db: Database, _ job: String) throws {
        try db.execute(
            sql: """
                UPDATE job SET state = 'running', reason = NULL, started_ms = coalesce(started_ms, ?)
                WHERE id = ? AND state = 'queued'
                """, arguments: [now(), job])
        try note(db, "started", job: job)
    }

    func admission(_ db: Database, cores: Int, isDiskLow: Bool) throws -> (Admission, queued: [Admission.Job]) {
        let queues = try Row.fetchAll(db, sql: "SELECT name, paused, max_jobs FROM queue").map {
            ($0["name"] as String, Admission.Queue(isPaused: $0["paused"], maximumJobs: $0["max_jobs"]))
        }
        func jobs(_ condition: String) throws -> [Admission.Job] {
            try Row.fetchAll(
                db,
                sql: """
                    SELECT id, tenant, queue, unique_key, threads FROM job WHERE \(condition)
                    ORDER BY priority DESC, started_ms IS NULL, seq
                    """
            ).map {
                Admission.Job(
                    id: $0["id"], tenant: $0["tenant"], queue: $0["queue"], key: $0["unique_key"],
                    threads: $0["threads"])
            }
        }
        let started = try jobs("started_ms IS NOT NULL AND finished_ms IS NULL")
        let admission = Admission(
            cores: cores, isDiskLow: isDiskLow, queues: Dictionary(queues, uniquingKeysWith: { $1 }),
            running: try jobs("state = 'running'"), activeKeys: Admission.activeKeys(started))
        return (admission, try jobs("state = 'queued'"))
    }

    /// Applies times and dependencies to every job that waits, until nothing changes: a job that is skipped may be
    /// what another one waits for.
    func settleWaiting(_ db: Database) throws {
        try db.execute(
            sql: """
                UPDATE stage_run SET state = 'ready' WHERE state = 'retry_wait'
                  AND job_id IN (SELECT id FROM job WHERE state = 'retry_wait' AND not_before_ms <= :now)
                """, arguments: ["now": now()])
        try db.execute(
            sql: "UPDATE job SET state = 'queued', reason = NULL WHERE state = 'retry_wait' AND not_before_ms <= ?",
            arguments: [now()])
        var hasChanged = true
        while hasChanged {
            hasChanged = false
            let waiting = try Row.fetchAll(
                db, sql: "SELECT id, not_before_ms FROM job WHERE state = 'waiting' ORDER BY seq")
            for row in waiting {
                let id: String = row["id"]
                let notBefore: Int64 = row["not_before_ms"]
                let needs = try Row.fetchAll(
                    db,
                    sql: """
                        SELECT d.needs, d.cond, j.state FROM job_dep AS d JOIN job AS j ON j.id = d.needs
                        WHERE d.job_id = ? ORDER BY d.needs
                        """, arguments: [id])
                var isOpen = false
                var unmet: String?
                for need in needs {
                    guard let state = JobState(rawValue: need["state"]) else { continue }
                    let condition: String = need["cond"]
                    if !state.isFinal {
                        isOpen = true
                    } else if condition == "ok" && state != .succeeded || condition == "notok" && state == .succeeded {
                        unmet =
                            "job \(need["needs"] as String) ended as \(state.rawValue), and this one waits for \(condition)"
                    }
                }
                if let unmet {
                    try db.execute(
                        sql:
                            "UPDATE stage_run SET state = 'cancelled' WHERE job_id = ? AND state IN ('blocked','ready')",
                        arguments: [id])
                    try setState(db, id, .skipped, reason: unmet)
                    try note(db, "skipped", job: id, ["reason": unmet, "was": JobState.waiting.rawValue])
                    hasChanged = true
                } else if !isOpen && notBefore <= now() {
                    try setState(db, id, .queued)
                    try note(db, "queued", job: id)
                }
            }
        }
    }
}
