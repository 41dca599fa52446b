package import Foundation
import GRDB
package import PipelineSpec

extension JobQueue {
    /// How many jobs of each tenant and queue are looked at to find one that fits.
    package static let window = 32

    /// Moves every job whose time has come, or whose jobs to wait for have ended, to where it belongs now.
    ///
    /// - Returns: When the next one is due by time alone.
    @discardableResult package func promote() throws -> Date? {
        // Looked up first: an idle daemon then writes nothing.
        let time = now()
        let (isDue, next) = try read { db in
            (
                try Bool.fetchOne(db, sql: SchedulingSQL.isDue, arguments: ["now": time]) ?? false,
                try Int64.fetchOne(db, sql: SchedulingSQL.nextDue, arguments: ["now": time])
            )
        }
        if isDue { try write { try settleWaiting($0) } }
        return next.map { Date(timeIntervalSince1970: Double($0) / 1000) }
    }

    /// Starts the next job there is room for.
    ///
    /// - Parameter memoryBytes: What jobs may use in all; `nil` is without a limit.
    /// - Returns: Its id, or `nil` when nothing may start.
    package func startNext(cores: Int, memoryBytes: Int64? = nil, isDiskLow: Bool) throws -> String? {
        guard try read({ try Bool.fetchOne($0, sql: SchedulingSQL.isAnyQueued) }) == true else { return nil }
        return try write { db in
            let admission = try admission(
                db, Capacity(threads: cores, memoryBytes: memoryBytes), isDiskLow: isDiskLow)
            let ordered = Admission.order(try lines(db, admission, fairShare(db)))
            guard let next = admission.decide(ordered).first(where: { $0.reason == nil })?.job else { return nil }
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

    /// Takes over what the settings say of queues and tenants; what they do not name is as by default.
    package func configure(
        queues: [String: WorkspaceSettings.Queue], tenants: [String: WorkspaceSettings.Tenant]
    ) throws {
        try write { db in
            for (name, queue) in queues {
                try db.execute(
                    sql: """
                        INSERT INTO queue (name, max_jobs, priority, quiet) VALUES (?, ?, ?, ?)
                        ON CONFLICT (name) DO UPDATE SET max_jobs = excluded.max_jobs, priority = excluded.priority,
                          quiet = excluded.quiet
                        """,
                    arguments: [name, queue.maxJobs, queue.priority, try queue.quiet.map(Self.text)])
            }
            try db.execute(sql: "UPDATE usage SET weight = 1")
            for (name, tenant) in tenants {
                try db.execute(
                    sql: """
                        INSERT INTO usage (tenant, weight, at_ms) VALUES (?, ?, ?)
                        ON CONFLICT (tenant) DO UPDATE SET weight = excluded.weight
                        """, arguments: [name, tenant.weight, now()])
            }
        }
    }

    /// Counts what an attempt has used against its tenant: threads times the time from its start until now.
    func chargeUsage(_ db: Database, job: String, attempt: String) throws {
        guard
            let row = try Row.fetchOne(
                db,
                sql: """
                    SELECT j.tenant, j.threads, a.started_ms, u.decayed_core_ms, u.at_ms FROM job AS j
                    JOIN attempt AS a ON a.id = ? LEFT JOIN usage AS u ON u.tenant = j.tenant WHERE j.id = ?
                    """, arguments: [attempt, job])
        else { return }
        let time = now()
        let threads: Int64 = row["threads"]
        let started: Int64 = row["started_ms"]
        let last: Int64 = row["at_ms"] ?? time
        let left = FairShare.decayed(row["decayed_core_ms"] ?? 0, seconds: Double(time - last) / 1000)
        try db.execute(
            sql: """
                INSERT INTO usage (tenant, decayed_core_ms, at_ms) VALUES (?, ?, ?)
                ON CONFLICT (tenant) DO UPDATE SET decayed_core_ms = excluded.decayed_core_ms, at_ms = excluded.at_ms
                """,
            arguments: [row["tenant"] as String, left + Double(threads * max(0, time - started)), max(time, last)])
    }

    private func start(_ db: Database, _ job: String) throws {
        // The end on the clock is that of the first start, however often the job is interrupted.
        let deadline = try deadline(db, job)
        try db.execute(
            sql: """
                UPDATE job SET state = 'running', reason = NULL, deadline_ms = coalesce(deadline_ms, ?),
                  started_ms = coalesce(started_ms, ?), yield_requested_ms = NULL WHERE id = ? AND state = 'queued'
                """, arguments: [deadline, now(), job])
        try note(db, "started", job: job)
    }

    /// Applies times and dependencies to every job that waits, until nothing changes: a job that is skipped may be
    /// what another one waits for.
    func settleWaiting(_ db: Database) throws {
        let time = now()
        for id in try String.fetchAll(db, sql: SchedulingSQL.retriesDue, arguments: [time]) {
            try db.execute(
                sql: "UPDATE stage_run SET state = 'ready' WHERE job_id = ? AND state = 'retry_wait'", arguments: [id])
            try setState(db, id, .queued)
        }
        while true {
            let doomed = try String.fetchAll(db, sql: SchedulingSQL.doomed)
            if doomed.isEmpty { break }
            for id in doomed { try skip(db, id) }
        }
        for id in try String.fetchAll(db, sql: SchedulingSQL.timesDue, arguments: [time]) {
            try setState(db, id, .queued)
            try note(db, "queued", job: id)
        }
    }

    /// Ends a job that waits for what will not come.
    private func skip(_ db: Database, _ job: String) throws {
        let need = try Row.fetchOne(
            db,
            sql: """
                SELECT d.needs, d.cond, n.state FROM job_dep AS d JOIN job AS n ON n.id = d.needs
                WHERE d.job_id = ? AND n.finished_ms IS NOT NULL
                  AND (d.cond = 'ok' AND n.state <> 'succeeded' OR d.cond = 'notok' AND n.state = 'succeeded')
                ORDER BY d.needs
                """, arguments: [job])
        let reason = need.map {
            "job \($0["needs"] as String) ended as \($0["state"] as String), and this one waits for "
                + ($0["cond"] as String)
        }
        try db.execute(
            sql: "UPDATE stage_run SET state = 'cancelled' WHERE job_id = ? AND state IN ('blocked','ready')",
            arguments: [job])
        try setState(db, job, .skipped, reason: reason)
        try note(
            db, "skipped", job: job,
            ["was": JobState.waiting.rawValue].merging(reason.map { ["reason": $0] } ?? [:]) { $1 })
    }
}

// MARK: Candidates

extension JobQueue {
    func admission(_ db: Database, _ capacity: Capacity, isDiskLow: Bool) throws -> Admission {
        var admission = Admission(capacity: capacity, isDiskLow: isDiskLow, queues: [:])
        let quiet = try quietQueues(db)
        for row in try Row.fetchAll(
            db, sql: "SELECT name, paused, coalesce(set_max_jobs, max_jobs) AS most, priority FROM queue")
        {
            admission.queues[row["name"]] = Admission.Queue(
                isPaused: row["paused"], quietUntil: quiet.own[row["name"]] ?? quiet.all, maximumJobs: row["most"],
                priority: row["priority"])
        }
        for row in try Row.fetchAll(db, sql: SchedulingSQL.running) {
            let count: Int = row["jobs"]
            admission.queues[row["queue"], default: Admission.Queue()].running = count
            admission.runningJobs += count
            admission.usedThreads += row["threads"]
            admission.usedMemoryBytes += row["memory"]
        }
        return admission
    }

    /// What every tenant has used, running attempts included.
    func fairShare(_ db: Database) throws -> FairShare {
        let time = now()
        var share = FairShare()
        for row in try Row.fetchAll(db, sql: "SELECT tenant, decayed_core_ms, at_ms, weight FROM usage") {
            let tenant: String = row["tenant"]
            share.setWeight(row["weight"], of: tenant)
            let seconds = FairShare.decayed(
                row["decayed_core_ms"] / 1000, seconds: Double(time - (row["at_ms"] as Int64)) / 1000)
            // Who has not been here for months has no part in the present.
            if seconds >= 1 { share.add(tenant, coreSeconds: seconds) }
        }
        for row in try Row.fetchAll(db, sql: SchedulingSQL.live) {
            let threads: Double = row["threads"]
            let started: Int64 = row["started_ms"]
            share.add(row["tenant"], coreSeconds: threads * Double(max(0, time - started)) / 1000)
        }
        return share
    }

    /// The first jobs of every tenant in every queue that is open, in their order.
    func lines(_ db: Database, _ admission: Admission, _ share: FairShare) throws -> [[Admission.Candidate]] {
        let time = now()
        let next = try db.makeStatement(sql: SchedulingSQL.nextLine)
        let head = try db.makeStatement(sql: SchedulingSQL.line)
        var groups: [(queue: String, tenant: String)] = []
        var last = (queue: "", tenant: "")
        while let row = try Row.fetchOne(next, arguments: [last.queue, last.tenant]) {
            last = (row["queue"], row["tenant"])
            groups.append(last)
        }
        var share = share
        for group in groups { share.add(group.tenant) }
        return try groups.compactMap { queue, tenant in
            let settings = admission.queues[queue] ?? Admission.Queue()
            if admission.standstill(queue) != nil || settings.isFull { return nil }
            let factor = share.factor(of: tenant)
            return try Row.fetchAll(
                head, arguments: [queue, tenant, admission.capacity.memoryBytes ?? .max, Self.window]
            ).map {
                Admission.Candidate(
                    id: $0["id"], tenant: tenant, queue: queue, key: $0["unique_key"], threads: $0["threads"],
                    memoryBytes: $0["memory_bytes"],
                    priority: EffectivePriority(
                        priority: $0["priority"], queuePriority: settings.priority,
                        waited: Double(time - ($0["since"] as Int64)) / 1000, share: factor),
                    sequence: $0["seq"])
            }
        }
    }
}

/// The questions that are asked at every turn of the scheduler.
///
/// Each is a walk down an index; tests hold them to it.
enum SchedulingSQL {
    static let isDue = """
        SELECT EXISTS (SELECT 1 FROM job WHERE state = 'retry_wait' AND not_before_ms <= :now)
          OR EXISTS (SELECT 1 FROM job WHERE state = 'waiting' AND unmet_needs > 0)
          OR EXISTS (SELECT 1 FROM job WHERE state = 'waiting' AND open_needs = 0 AND unmet_needs = 0
                     AND not_before_ms <= :now)
        """
    static let nextDue = """
        SELECT min(due) FROM (
          SELECT min(not_before_ms) AS due FROM job WHERE state = 'retry_wait' AND not_before_ms > :now
          UNION ALL
          SELECT min(not_before_ms) FROM job
          WHERE state = 'waiting' AND open_needs = 0 AND unmet_needs = 0 AND not_before_ms > :now)
        """
    static let retriesDue =
        "SELECT id FROM job WHERE state = 'retry_wait' AND not_before_ms <= ? ORDER BY not_before_ms"
    static let doomed = "SELECT id FROM job WHERE state = 'waiting' AND unmet_needs > 0 ORDER BY seq"
    static let timesDue = """
        SELECT id FROM job WHERE state = 'waiting' AND open_needs = 0 AND unmet_needs = 0 AND not_before_ms <= ?
        ORDER BY not_before_ms
        """
    static let running = """
        SELECT queue, count(*) AS jobs, sum(threads) AS threads, coalesce(sum(memory_bytes), 0) AS memory
        FROM job WHERE state = 'running' GROUP BY queue
        """
    static let live = """
        SELECT j.tenant, j.threads, a.started_ms FROM attempt AS a
        JOIN stage_run AS s ON s.id = a.stage_id JOIN job AS j ON j.id = s.job_id
        WHERE a.state IN ('starting','running')
        """
    static let isAnyQueued = "SELECT EXISTS (SELECT 1 FROM job WHERE state = 'queued' AND leads = 1)"
    /// The tenant and queue after those given: a walk that skips the jobs of each.
    static let nextLine = """
        SELECT queue, tenant FROM (
          SELECT queue, tenant FROM job WHERE state = 'queued' AND leads = 1 AND queue = ?1 AND tenant > ?2
          ORDER BY tenant LIMIT 1)
        UNION ALL
        SELECT queue, tenant FROM (
          SELECT queue, tenant FROM job WHERE state = 'queued' AND leads = 1 AND queue > ?1
          ORDER BY queue, tenant LIMIT 1)
        LIMIT 1
        """
    static let line = """
        SELECT id, seq, unique_key, threads, memory_bytes, priority, coalesce(eligible_ms, created_ms) AS since
        FROM job
        WHERE state = 'queued' AND leads = 1 AND queue = ? AND tenant = ? AND coalesce(memory_bytes, 0) <= ?
        ORDER BY rank_ms, seq LIMIT ?
        """
}
