import Foundation
import GRDB

/// How a queued job stands among the others, in numbers.
package struct JobStanding: Sendable, Equatable {
    package var priority: EffectivePriority
    /// What its tenant has used, halved every seven days, in core-seconds, and the part of all usage that makes.
    package var usedCoreSeconds: Double
    package var usedPart: Double
    /// The part that the tenant's weight entitles it to.
    package var entitledPart: Double
    package var threads: Int
    /// Bytes; `nil` when nobody knows.
    package var memoryBytes: Int64?
    package var capacity: Capacity
    /// What running jobs hold.
    package var usedThreads: Int
    package var usedMemoryBytes: Int64
    /// Jobs that are looked at before this one, the first one first; `nil` when this one is so far behind that it is
    /// not looked at yet.
    package var before: [String]?
}

extension JobQueue {
    /// The numbers behind the place of a queued job; `nil` for one that is not queued, or waits for its key.
    package func standing(of job: String) throws -> JobStanding? {
        try read { db in
            guard
                let row = try Row.fetchOne(
                    db,
                    sql: """
                        SELECT tenant, queue, priority, threads, memory_bytes,
                          coalesce(eligible_ms, created_ms) AS since
                        FROM job WHERE id = ? AND state = 'queued' AND leads = 1
                        """, arguments: [job])
            else { return nil }
            let admission = try admission(db, capacity(db), isDiskLow: false)
            var share = try fairShare(db)
            let tenant: String = row["tenant"]
            let lines = try lines(db, admission, share)
            for line in lines { if let first = line.first { share.add(first.tenant) } }
            share.add(tenant)
            let ordered = Admission.order(lines)
            return JobStanding(
                priority: EffectivePriority(
                    priority: row["priority"], queuePriority: admission.queues[row["queue"]]?.priority ?? 0,
                    waited: Double(now() - (row["since"] as Int64)) / 1000, share: share.factor(of: tenant)),
                usedCoreSeconds: share.usage[tenant] ?? 0, usedPart: share.used(by: tenant),
                entitledPart: share.entitled(tenant), threads: row["threads"], memoryBytes: row["memory_bytes"],
                capacity: admission.capacity, usedThreads: admission.usedThreads,
                usedMemoryBytes: admission.usedMemoryBytes,
                before: ordered.firstIndex { $0.id == job }.map { ordered[..<$0].map(\.id) })
        }
    }

    /// What the last daemon said that jobs may use.
    private func capacity(_ db: Database) throws -> Capacity {
        guard let row = try Row.fetchOne(db, sql: "SELECT cores, memory_bytes FROM daemon") else {
            return Capacity(threads: max(2, ProcessInfo.processInfo.activeProcessorCount), memoryBytes: nil)
        }
        return Capacity(threads: row["cores"], memoryBytes: row["memory_bytes"])
    }

    /// Why each job of a list that waits does so.
    func waitingReasons(
        _ db: Database, _ jobs: [Row], isDiskLow: Bool, isDaemonDown: Bool
    ) throws -> [String: WaitingReason] {
        var reasons: [String: WaitingReason] = [:]
        var queued: [Row] = []
        for job in jobs {
            let id: String = job["id"]
            let due = Self.date(job["not_before_ms"])
            switch job["state"] as String {
            case "held": reasons[id] = job["pause_requested_ms"] == nil ? .held(why: job["reason"]) : .paused
            case "retry_wait": reasons[id] = .retryAt(due, why: job["reason"])
            case "waiting":
                reasons[id] = job["open_needs"] > 0 ? .dependency(try openNeeds(db, id)) : .beginTime(due)
            case "queued": queued.append(job)
            default: break
            }
        }
        guard !queued.isEmpty else { return reasons }
        let admission = try admission(db, capacity(db), isDiskLow: isDiskLow)
        let ordered = Admission.order(try lines(db, admission, fairShare(db)))
        var decisions: [String: WaitingReason?] = [:]
        for decision in admission.decide(ordered) { decisions[decision.job.id] = .some(decision.reason) }
        for job in queued {
            let id: String = job["id"]
            if let reason = admission.standstill(job["queue"]) {
                reasons[id] = reason
            } else if !job["leads"], let holder = try keyHolder(db, job) {
                reasons[id] = .concurrency(key: job["unique_key"], by: holder)
            } else if let decision = decisions[id] {
                reasons[id] = decision ?? (isDaemonDown ? .daemonDown : nil)
            } else if admission.queues[job["queue"]]?.isFull == true {
                reasons[id] = .resources(.queue)
            } else {
                reasons[id] = admission.misfit(job["memory_bytes"]) ?? .priority
            }
        }
        return reasons
    }

    private func openNeeds(_ db: Database, _ job: String) throws -> [String] {
        try String.fetchAll(
            db,
            sql: """
                SELECT d.needs FROM job_dep AS d JOIN job AS n ON n.id = d.needs
                WHERE d.job_id = ? AND n.finished_ms IS NULL ORDER BY d.needs
                """, arguments: [job])
    }

    /// The job that has the key of another one, or will have it next.
    private func keyHolder(_ db: Database, _ job: Row) throws -> String? {
        let slot = StatementArguments([job["tenant"] as String, job["unique_key"] as String])
        return try String.fetchOne(
            db,
            sql: """
                SELECT id FROM job WHERE tenant = ? AND unique_key = ? AND unique_key IS NOT NULL
                  AND started_ms IS NOT NULL AND finished_ms IS NULL
                """, arguments: slot)
            ?? String.fetchOne(
                db, sql: "SELECT id FROM job WHERE tenant = ? AND unique_key = ? AND queue = ? AND leads = 1",
                arguments: slot + [job["queue"] as String])
    }
}
