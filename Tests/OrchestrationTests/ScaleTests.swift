import Artifacts
import Foundation
import GRDB
import Glibc
import PipelineSpec
import Synchronization
import TestSupport
import Testing

@testable import Orchestration

/// That the scheduler and `status` do not look at what does not concern them: counted in steps of SQLite's machine.
@Suite struct ScaleTests {
    /// A queue with so many jobs that wait, of each of some tenants, and so many that have ended.
    private func queue(queued: Int, finished: Int, key: String = "'k' || n") throws -> TestQueue {
        let test = try TestQueue()
        try test.forgetDurability()
        let jobs = """
            WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
            INSERT INTO job (id, seq, schedule_id, name, tenant, queue, priority, threads, spec, spec_sha256,
              manifest_sha256, origins, unique_key, on_conflict, state, created_ms, eligible_ms, started_ms,
              finished_ms)
            SELECT printf('%s%010d', ?, n), n + ?, 's', 'j', 't' || (n % 5), 'default', n % 7, 1, x'7b7d', 's' || n, 'm',
              x'7b7d', \(key), 'queue', ?, 999999000000 + n, 999999000000 + n, ?, ? FROM number
            """
        try test.queue.write { db in
            try db.execute(sql: "DROP TRIGGER job_begins")
            for (count, letter, before, state, time) in [
                (finished, "F", 0, "succeeded", 5 as Int?), (queued, "Q", finished, "queued", nil),
            ] where count > 0 {
                try db.execute(sql: jobs, arguments: [count, letter, before, state, time, time])
            }
            try db.execute(
                sql: """
                    INSERT INTO stage_run (id, job_id, name, ord, kind, needs, timeout_seconds, retries, state)
                    SELECT id || '/s', id, 's', 0, 's', '[]', 1, 0, 'blocked' FROM job
                    """)
        }
        _ = try test.queue.taken(by: 1, cores: 2, memoryBytes: 1 << 30)
        return test
    }

    /// Steps of SQLite's machine that a call takes, in tens.
    private func steps<T>(_ queue: JobQueue, _ body: () throws -> T) throws -> (count: Int, value: T) {
        typealias Handler = @convention(c) (UnsafeMutableRawPointer?) -> Int32
        typealias SetHandler = @convention(c) (OpaquePointer?, Int32, Handler?, UnsafeMutableRawPointer?) -> Void
        // The library is linked already; its module is not one that tests may import.
        let symbol = try #require(dlsym(dlopen(nil, RTLD_NOW), "sqlite3_progress_handler"))
        let setHandler = unsafeBitCast(symbol, to: SetHandler.self)
        let count = UnsafeMutablePointer<Int>.allocate(capacity: 1)
        count.initialize(to: 0)
        defer { count.deallocate() }
        queue.database.writeWithoutTransaction { db in
            setHandler(
                db.sqliteConnection, 10,
                { pointer in
                    pointer?.assumingMemoryBound(to: Int.self).pointee += 1
                    return 0
                }, count)
        }
        let value = try body()
        queue.database.writeWithoutTransaction { setHandler($0.sqliteConnection, 0, nil, nil) }
        return (count.pointee, value)
    }

    @Test func aTurnOfTheSchedulerCostsTheSameWhateverWaits() throws {
        func cost(_ test: TestQueue) throws -> (start: Int, idle: Int, promote: Int, header: Int) {
            let queue = test.queue
            let start = try steps(queue) { try queue.startNext(cores: 2, isDiskLow: false) }
            #expect(start.value != nil)
            #expect(try queue.startNext(cores: 2, isDiskLow: false) != nil)
            let idle = try steps(queue) { try queue.startNext(cores: 2, isDiskLow: false) }
            #expect(idle.value == nil)
            let promote = try steps(queue) { try queue.promote() }
            let header = try steps(queue) { try queue.read { try Row.fetchAll($0, sql: StatusSQL.counts).count } }
            return (start.count, idle.count, promote.count, header.count)
        }
        // Each of five tenants has more than is looked at, in both.
        let small = try cost(queue(queued: 400, finished: 100))
        let large = try cost(queue(queued: 10_000, finished: 10_000))
        #expect(small.start > 0)
        #expect(large.start <= small.start * 2, "\(small) \(large)")
        #expect(large.idle <= small.idle * 2, "\(small) \(large)")
        #expect(large.promote <= small.promote + 2 && large.header <= small.header + 2, "\(small) \(large)")
    }

    @Test func aBusyKeyWithALongTailCostsNothing() throws {
        func cost(_ queued: Int) throws -> Int {
            let test = try queue(queued: queued, finished: 0, key: "'one'")
            // One of each tenant, and then nothing more.
            for _ in 0..<5 { #expect(try test.queue.startNext(cores: 9, isDiskLow: false) != nil) }
            let blocked = try steps(test.queue) { try test.queue.startNext(cores: 9, isDiskLow: false) }
            #expect(blocked.value == nil)
            let running = try test.queue.runningJobs()
            let end = try steps(test.queue) { try test.queue.finishJob(running[0], .succeeded, reason: nil) }
            return blocked.count + end.count
        }
        #expect(try cost(5000) <= cost(50) * 2)
    }

    /// All that `status --watch` asks of the queue to draw itself again; with `LORAJOBS_SOAK=1` beside 100,000 jobs that
    /// have ended.
    @Test func aWatchCostsWhatItShows() throws {
        func cost(_ finished: Int) throws -> Int {
            let test = try queue(queued: 20, finished: finished)
            try test.queue.write { db in
                try db.execute(
                    sql: """
                        INSERT INTO gate_decision (id, job_id, collection, name, alias, version, digest, moves, outcome,
                          reason, at_ms, settled_ms, settlement)
                        SELECT 'D' || id, id, 'adapters', name, 'production', seq, 'd', 1, 'passed', 'better', 5, 6, 'applied'
                        FROM job WHERE state = 'succeeded'
                        """)
            }
            let workspace = Workspace(root: test.folder.url.appending(path: "ws"))
            try workspace.create()
            let store = ArtifactStore(workspace.artifacts)
            let drawn = try steps(test.queue) {
                _ = try test.queue.dataVersion()
                let header = try WorkspaceStatus(of: workspace, queue: test.queue)
                let held = try test.queue.versionsAwaitingApproval(in: store)
                return (header: header, held: held.count, jobs: try test.queue.list().count)
            }
            #expect(drawn.value.jobs == 20 && drawn.value.held == 0)
            #expect(drawn.value.header.jobCounts == [.succeeded: finished, .queued: 20])
            return drawn.count
        }
        let isSoak = ProcessInfo.processInfo.environment["LORAJOBS_SOAK"] == "1"
        let (small, large) = (try cost(20), try cost(isSoak ? 100_000 : 20_000))
        #expect(large <= small * 2, "\(small) \(large)")
    }

    /// The questions of every turn, with the index that each part of them walks down.
    static let hot: [(sql: String, indexes: [String])] = [
        (SchedulingSQL.isDue, ["job_retry_due", "job_doomed", "job_due"]),
        (SchedulingSQL.nextDue, ["job_retry_due", "job_due"]), (SchedulingSQL.retriesDue, ["job_retry_due"]),
        (SchedulingSQL.doomed, ["job_doomed"]), (SchedulingSQL.timesDue, ["job_due"]),
        (SchedulingSQL.running, ["job_running"]),
        (SchedulingSQL.live, ["attempt_one_live", "sqlite_autoindex_stage_run_1", "sqlite_autoindex_job_1"]),
        (SchedulingSQL.nextLine, ["job_pick"]), (SchedulingSQL.line, ["job_pick"]),
        (SchedulingSQL.isAnyQueued, ["job_leads"]),
        (StatusSQL.rejected, ["intake_rejected", "schedule_fire_rejected"]),
        (
            StatusSQL.list([StatusSQL.recent], limit: nil),
            [
                "sqlite_autoindex_job_1", "job_unfinished", "job_finished", "sqlite_autoindex_stage_run_3",
                "attempt_one_live",
            ]
        ),
    ]

    @Test(arguments: hot.indices) func hotStatementsUseTheirIndexes(index: Int) throws {
        let test = try TestQueue()
        let (sql, indexes) = Self.hot[index]
        let bound = sql.replacing(":now", with: "0").replacing(":since", with: "0").replacing("?", with: "0")
        let plan = try test.queue.read {
            try Row.fetchAll($0, sql: "EXPLAIN QUERY PLAN " + bound).map { $0["detail"] as String }
        }
        for name in indexes { #expect(plan.contains { $0.contains(" INDEX \(name)") }, "\(name): \(plan)") }
        let used = plan.compactMap { $0.firstMatch(of: /INDEX (\w+)/).map { String($0.1) } }
        #expect(Set(used).subtracting(indexes).isEmpty, "\(plan)")
        // A walk over all of a table, or over an index that is not about the question alone.
        let isWalk = plan.contains {
            $0.contains(/^SCAN (job|j|s|stage_run|attempt|intake)( |$)/) && !$0.contains("INDEX")
        }
        #expect(!isWalk && !plan.contains { $0.hasPrefix("SCAN") && $0.contains("autoindex") }, "\(plan)")
    }
}
