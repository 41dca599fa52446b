import Artifacts
import Foundation
import GRDB
import PipelineSpec
import Synchronization
import TestSupport
import Testing

@testable import Orchestration

/// A queue of its own in a temporary folder, and a clock that tests set.
final class TestQueue: Sendable {
    let folder: TemporaryFolder
    let queue: JobQueue

    init() throws {
        folder = try TemporaryFolder()
        let box = ClockBox()
        queue = try JobQueue.open(folder.url.appending(path: "q.sqlite"), now: { box.time.withLock { $0 } })
        self.box = box
    }
    private let box: ClockBox
    final class ClockBox: Sendable { let time = Mutex<Int64>(1_000_000_000_000) }

    /// Makes commits cheap, for tests of many of them that are not about loss of power.
    func forgetDurability() throws {
        try queue.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = OFF") }
    }

    func advance(seconds: Double) { box.time.withLock { $0 += Int64(seconds * 1000) } }

    func claimed(_ text: String = "x", tenant: String = "default", owner: UInt32 = 0) -> ClaimedFile {
        let bytes = Data(text.utf8)
        return ClaimedFile(
            claimID: ULID().description, tenant: tenant, originalName: "a.yaml", bytes: bytes,
            digest: Digest.sha256(bytes), size: Int64(bytes.count), ownerID: owner)
    }

    @discardableResult
    func add(
        _ name: String, tenant: String = "default", owner: UInt32 = 0, seed: UInt64 = 0, memory: Int64? = nil,
        _ run: (inout JobManifest.Run) -> Void = { _ in }
    ) throws -> IntakeVerdict {
        var manifest = JobManifest(name: name, base: .folder("/base"))
        manifest.train.seed = seed
        manifest.run.threads = 1
        run(&manifest.run)
        let plan = StagePlan(name: "only", kind: "only", timeoutSeconds: 10, retries: 1)
        return try queue.accept(
            claimed(tenant: tenant, owner: owner), Submission(manifest: manifest, stages: [plan], memoryBytes: memory))
    }

    func id(_ verdict: IntakeVerdict) throws -> String { try #require(verdict.job) }

    func status(_ id: String, isDiskLow: Bool = false) throws -> JobStatus {
        var filter = JobFilter()
        filter.ids = [id]
        return try #require(try queue.list(filter, isDiskLow: isDiskLow).first)
    }

    /// Starts what may start, with so many cores.
    func startAll(cores: Int = 1, memory: Int64? = nil) throws -> [String] {
        var started: [String] = []
        while let id = try queue.startNext(cores: cores, memoryBytes: memory, isDiskLow: false) { started.append(id) }
        return started
    }
}

@Suite struct QueueDatabaseTests {
    @Test func commitsSurvivePowerLoss() throws {
        let test = try TestQueue()
        #expect(try test.queue.synchronous() == 2)
        #expect(try test.queue.read { try String.fetchOne($0, sql: "PRAGMA journal_mode") } == "wal")
        #expect(try test.queue.read { try Int.fetchOne($0, sql: "PRAGMA foreign_keys") } == 1)
        try test.queue.close()
        let again = try JobQueue.open(test.folder.url.appending(path: "q.sqlite"))
        #expect(try again.synchronous() == 2)
        #expect(try again.integrityProblems() == [])
    }

    /// Two `submit`s and a daemon may be the first to come by, all at once.
    @Test func manyMakeItAtOnce() async throws {
        for _ in 0..<10 {
            let folder = try TemporaryFolder()
            let file = folder.url.appending(path: "q.sqlite")
            try await withThrowingTaskGroup { group in
                for pid in 1...6 {
                    group.addTask {
                        let queue = try JobQueue.open(file)
                        _ = try queue.taken(by: Int32(pid), cores: 1)
                        try queue.close()
                    }
                }
                try await group.waitForAll()
            }
            let queue = try JobQueue.openReadOnly(file)
            #expect(try queue.schemaVersion() == QueueSchema.version)
            #expect(try queue.read { try Int64.fetchOne($0, sql: "SELECT epoch FROM daemon") } == 6)
        }
    }

    @Test func foreignAndNewerDatabasesAreRefused() throws {
        let folder = try TemporaryFolder()
        let other = folder.url.appending(path: "other.sqlite")
        try DatabaseQueue(path: other.path).write { try $0.execute(sql: "CREATE TABLE t (x)") }
        #expect(throws: OrchestrationError.self) { try JobQueue.open(other) }
        let newer = folder.url.appending(path: "newer.sqlite")
        try JobQueue.open(newer).close()
        try DatabaseQueue(path: newer.path).write { try $0.execute(sql: "PRAGMA user_version = 99") }
        let error = #expect(throws: OrchestrationError.self) { try JobQueue.open(newer) }
        #expect(error?.code == .wrongDatabase)
        #expect(throws: OrchestrationError.self) { try JobQueue.openReadOnly(newer) }
    }

    @Test func readOnlyWorksBesideAndAfterAWriter() throws {
        let test = try TestQueue()
        let file = test.folder.url.appending(path: "q.sqlite")
        try test.add("a")
        #expect(try JobQueue.openReadOnly(file).list().count == 1)
        try test.queue.close()
        let reader = try JobQueue.openReadOnly(file)
        #expect(try reader.list().count == 1)
        #expect(throws: (any Error).self) { try reader.hold(reader.list()[0].id) }
        let missing = #expect(throws: OrchestrationError.self) {
            try JobQueue.openReadOnly(test.folder.url.appending(path: "none.sqlite"))
        }
        #expect(missing?.code == .notFound)
    }

    @Test(arguments: [
        ("UPDATE job SET state = 'succeeded', started_ms = 1, finished_ms = 1", "illegal job transition"),
        ("UPDATE job SET state = 'retry_wait', started_ms = 1", "illegal job transition"),
        ("UPDATE job SET state = 'cancelled'", "CHECK"),
        ("UPDATE job SET spec = x'00'", "keeps its specification"),
        ("UPDATE stage_run SET state = 'running'", "illegal stage transition"),
        ("UPDATE stage_run SET state = 'succeeded', output_digest = 'x'", "illegal stage transition"),
        ("UPDATE intake SET verdict = 'rejected'", "append-only"),
        ("DELETE FROM intake", "append-only"),
        ("UPDATE event SET kind = 'x'", "append-only"),
        ("UPDATE job SET priority = 101", "CHECK"),
        ("UPDATE job SET owner_uid = 7", "keeps its specification"),
        ("UPDATE job SET open_needs = 1; UPDATE job SET state = 'running', started_ms = 1", "has not ended as asked"),
        ("INSERT INTO job_dep SELECT id, id, 'ok' FROM job", "comes after earlier jobs"),
    ])
    func databaseRefuses(_ sql: String, _ reason: String) throws {
        let test = try TestQueue()
        try test.add("a")
        let error = #expect(throws: DatabaseError.self) { try test.queue.write { try $0.execute(sql: sql) } }
        #expect(error?.message?.contains(reason) == true, "\(error?.message ?? "")")
    }

    @Test func finalRowsStayAndStartIsSetOnce() throws {
        let test = try TestQueue()
        let id = try test.id(test.add("a"))
        #expect(try test.startAll() == [id])
        let restarted = #expect(throws: DatabaseError.self) {
            try test.queue.write { try $0.execute(sql: "UPDATE job SET started_ms = 5") }
        }
        #expect(restarted?.message?.contains("started_ms") == true)
        try test.queue.finishJob(id, .cancelled, reason: nil)
        #expect(throws: DatabaseError.self) {
            try test.queue.write { try $0.execute(sql: "UPDATE job SET state = 'queued', finished_ms = NULL") }
        }
    }

    @Test func anAttemptIsLiveOnceAndEndsOnce() throws {
        let test = try TestQueue()
        let id = try test.id(test.add("a"))
        _ = try test.startAll()
        let stage = try test.queue.drivenJob(id).stages[0]
        func begin() throws -> LiveAttempt {
            try test.queue.beginAttempt(
                stage, of: id, key: "k", why: "", resumeFrom: nil,
                directory: { RunDirectory(test.folder.url.appending(path: "run.\($0)")) }, bootID: "b", bootSeconds: 0)
        }
        let attempt = try begin()
        #expect(throws: DatabaseError.self) { try begin() }
        let lost = AttemptOutcome.interrupted(.lost, StageFailure(code: "lost", message: "gone"), pause: false)
        try test.queue.finishAttempt(attempt, of: id, lost, exitCode: nil, signal: nil, policy: RetryPolicy())
        // A late report of the first attempt, while the second one runs.
        let second = try begin()
        #expect(second.number == 2)
        #expect(throws: OrchestrationError.self) {
            try test.queue.finishAttempt(
                attempt, of: id,
                .succeeded(StageResult(attemptID: attempt.id, exitCode: 0), StageOutput(digest: "d", path: "p")),
                exitCode: 0, signal: nil, policy: RetryPolicy())
        }
        #expect(try test.queue.drivenJob(id).live?.id == second.id)
        #expect(throws: DatabaseError.self) {
            try test.queue.write {
                try $0.execute(
                    sql: "UPDATE attempt SET state = 'running', ended_ms = NULL WHERE id = ?", arguments: [attempt.id])
            }
        }
    }

    @Test func anOlderDaemonIsFencedOut() throws {
        let test = try TestQueue()
        let first = try test.queue.taken(by: 1, cores: 1)
        let id = try test.id(test.add("a"))
        let second = try test.queue.taken(by: 2, cores: 1)
        let error = #expect(throws: OrchestrationError.self) { try first.startNext(cores: 1, isDiskLow: false) }
        #expect(error?.code == .fenced)
        #expect(try second.startNext(cores: 1, isDiskLow: false) == id)
    }
}

@Suite struct QueueRuleTests {
    @Test func equalPendingManifestsCoalesceAndDifferentOnesQueue() throws {
        let test = try TestQueue()
        let first = try test.id(test.add("a", seed: 1))
        #expect(try test.add("a", seed: 1) == .coalesced(job: first))
        let other = try test.id(test.add("a", seed: 2))
        #expect(other != first)
        // Once the first has started, an equal one is new work.
        #expect(try test.startAll(cores: 8) == [first])
        let third = try test.id(test.add("a", seed: 1))
        #expect(third != first)
        #expect(try test.status(other).reason == "Concurrency(default/a by \(first))")
        // Of one key, one runs at a time, in order.
        try test.queue.finishJob(first, .succeeded, reason: nil)
        #expect(try test.startAll(cores: 8) == [other])
        // Another tenant's job of that name is another key.
        let foreign = try test.id(test.add("a", tenant: "acme", seed: 1))
        #expect(try test.startAll(cores: 8) == [foreign])
    }

    @Test func queueKeepsEveryEqualJob() throws {
        let test = try TestQueue()
        let ids = try (0..<3).map { _ in try test.id(test.add("a") { $0.onConflict = .queue }) }
        #expect(Set(ids).count == 3)
        for id in ids {
            #expect(try test.startAll(cores: 8) == [id])
            try test.queue.finishJob(id, .succeeded, reason: nil)
        }
    }

    @Test func replaceCancelsThePendingOneOnly() throws {
        let test = try TestQueue()
        let running = try test.id(test.add("a", seed: 1))
        _ = try test.startAll()
        let pending = try test.id(test.add("a", seed: 2))
        let newest = try test.id(test.add("a", seed: 3) { $0.onConflict = .replace })
        #expect(try test.status(running).state == .running)
        #expect(try test.status(pending).state == .cancelled)
        #expect(try test.status(pending).reason == "replaced by \(newest)")
        #expect(try test.status(newest).state == .queued)
    }

    @Test func rejectRefusesWhileOneIsUnfinished() throws {
        let test = try TestQueue()
        let first = try test.id(test.add("a"))
        let refusal = #expect(throws: RefusedSubmission.self) { try test.add("a") { $0.onConflict = .reject } }
        #expect(refusal?.code == "concurrency_conflict")
        #expect(refusal?.description.contains(first) == true)
        try test.queue.cancel(first)
        #expect(try test.add("a") { $0.onConflict = .reject }.job != nil)
    }

    @Test func aRetryingJobKeepsItsKeyAheadOfItsSuccessor() throws {
        let test = try TestQueue()
        let first = try test.id(test.add("a", seed: 1))
        _ = try test.startAll()
        _ = try test.add("a", seed: 2)
        try test.queue.putBack(first, why: "test")
        #expect(try test.startAll(cores: 8) == [first])
    }

    @Test func idempotencyKeyAnswersWithTheFirstJob() throws {
        let test = try TestQueue()
        let first = try test.id(test.add("a", seed: 1) { $0.idempotencyKey = "k" })
        #expect(try test.add("b", seed: 2) { $0.idempotencyKey = "k" } == .duplicate(job: first))
        try test.queue.cancel(first)
        #expect(try test.add("c") { $0.idempotencyKey = "k" } == .duplicate(job: first))
        #expect(try test.add("a", tenant: "acme") { $0.idempotencyKey = "k" }.job != first)
    }

    @Test func acceptingAClaimTwiceMakesOneJob() throws {
        let test = try TestQueue()
        let file = test.claimed()
        let submission = Submission(manifest: JobManifest(name: "a", base: .folder("/b")), stages: [])
        let verdict = try test.queue.accept(file, submission)
        #expect(try test.queue.accept(file, submission) == verdict)
        #expect(try test.queue.list().count == 1)
    }

    @Test func dependenciesFollowTheEndOfOthers() throws {
        let test = try TestQueue()
        let base = try test.id(test.add("base"))
        let ok = try test.id(test.add("ok") { $0.after = [base] })
        let notOK = try test.id(test.add("notok") { $0.after = ["\(base):notok"] })
        let any = try test.id(test.add("any") { $0.after = ["\(base.lowercased()):any"] })
        let chain = try test.id(test.add("chain") { $0.after = [ok] })
        #expect(try test.status(ok).state == .waiting)
        #expect(try test.status(ok).reason == "Dependency(\(base))")
        try test.queue.cancel(base)
        #expect(try test.status(ok).state == .skipped)
        #expect(try test.status(chain).state == .skipped)
        #expect(try test.status(chain).reason?.contains(ok) == true)
        #expect(try test.status(notOK).state == .queued)
        #expect(try test.status(any).state == .queued)
        let refusal = #expect(throws: RefusedSubmission.self) { try test.add("x") { $0.after = ["01ABC"] } }
        #expect(refusal?.pointer == "/run/after")
        #expect(throws: RefusedSubmission.self) { try test.add("x") { $0.after = ["\(base):maybe"] } }
    }

    @Test func aTimeComesAndAHoldIsReleased() throws {
        let test = try TestQueue()
        let later = try test.id(test.add("later") { $0.notBefore = 1_000_000_060 })
        let held = try test.id(test.add("held") { $0.hold = true })
        #expect(
            try test.status(later).reason == "BeginTime(\(Moment.near(Date(timeIntervalSince1970: 1_000_000_060))))")
        #expect(try test.status(held).reason == "Held")
        #expect(try test.queue.promote() == Date(timeIntervalSince1970: 1_000_000_060))
        #expect(try test.startAll() == [])
        test.advance(seconds: 61)
        #expect(try test.queue.promote() == nil)
        #expect(try test.startAll() == [later])
        try test.queue.release(held)
        #expect(try test.status(held).state == .queued)
        #expect(throws: OrchestrationError.self) { try test.queue.release(held) }
        try test.queue.hold(held)
        #expect(try test.status(held).state == .held)
        #expect(throws: OrchestrationError.self) { try test.queue.hold(later) }
    }

    @Test func admissionGoesByPriorityThreadsAndQueues() throws {
        let test = try TestQueue()
        let small = try test.id(test.add("small"))
        let large = try test.id(test.add("large") { $0.threads = 4 })
        let high = try test.id(test.add("high") { $0.priority = 5 })
        let behind = try test.id(test.add("behind"))
        let elsewhere = try test.id(test.add("elsewhere") { $0.queue = "night" })
        try test.queue.setPaused(true, queue: "night")
        _ = try test.queue.taken(by: 1, cores: 2)
        #expect(try test.startAll(cores: 2) == [high, small])
        #expect(try test.status(large).reason == "Resources(cores)")
        #expect(try test.status(behind).reason == "Priority")
        #expect(try test.status(elsewhere).reason == "QueuePaused")
        #expect(try test.status(behind, isDiskLow: true).reason == "DiskLow")
        try test.queue.finishJob(high, .succeeded, reason: nil)
        // What does not fit is not overtaken, and runs alone when nothing else does.
        #expect(try test.startAll(cores: 2) == [])
        try test.queue.finishJob(small, .succeeded, reason: nil)
        #expect(try test.startAll(cores: 2) == [large])
        try test.queue.finishJob(large, .succeeded, reason: nil)
        try test.queue.setMaximumJobs(1, queue: "default")
        let last = try test.id(test.add("last"))
        try test.queue.prioritize(last, to: 50)
        #expect(try test.startAll(cores: 2) == [last])
        #expect(try test.status(behind).reason == "Resources(queue)")
        try test.queue.setPaused(false, queue: "night")
        #expect(try test.startAll(cores: 2) == [elsewhere])
    }

    @Test func idsMayBeShortened() throws {
        let test = try TestQueue()
        let id = try test.id(test.add("a"))
        #expect(try test.queue.resolve(String(id.prefix(26))) == id)
        #expect(try test.queue.resolve(id.lowercased()) == id)
        try test.add("b")
        let error = #expect(throws: OrchestrationError.self) { try test.queue.resolve("0") }
        #expect(error?.code == .ambiguous)
        #expect(throws: OrchestrationError.self) { try test.queue.resolve("' OR 1") }
        #expect(throws: OrchestrationError.self) { try test.queue.resolve("7ZZZ") }
    }

    @Test func aJobHeldBetweenTriesGoesOnAfterRelease() throws {
        let test = try TestQueue()
        let id = try test.id(test.add("a"))
        func begin() throws -> LiveAttempt {
            try test.queue.beginAttempt(
                test.queue.drivenJob(id).stages[0], of: id, key: "k", why: "", resumeFrom: nil,
                directory: { RunDirectory(test.folder.url.appending(path: "\($0)")) }, bootID: "b", bootSeconds: 0)
        }
        _ = try test.startAll()
        let crash = StageFailure(code: "crashed", message: "it crashed")
        try test.queue.finishAttempt(
            begin(), of: id, .failedForNow(.crashed, crash, nil), exitCode: 1, signal: nil, policy: RetryPolicy())
        try test.queue.hold(id)
        test.advance(seconds: 3600)
        try test.queue.promote()
        #expect(try test.status(id).reason == "Held")
        try test.queue.release(id)
        #expect(try test.startAll() == [id])
        // A stage that is only next makes no progress.
        #expect(try !test.status(id).isStageLive)
        #expect(try begin().number == 2)
        #expect(try test.status(id).isStageLive)
    }

    @Test func chargedRetriesEndAndFreeOnesAreCounted() throws {
        let test = try TestQueue()
        let id = try test.id(test.add("a"))
        var policy = RetryPolicy()
        policy.firstPause = 10
        policy.freeAttempts = 2
        let crash = StageFailure(code: "crashed", message: "it crashed; see the log")
        func attempt(_ outcome: AttemptOutcome) throws {
            let stage = try test.queue.drivenJob(id).stages[0]
            let attempt = try test.queue.beginAttempt(
                stage, of: id, key: "k", why: "", resumeFrom: nil,
                directory: { RunDirectory(test.folder.url.appending(path: "\($0)")) },
                bootID: "b", bootSeconds: 0)
            try test.queue.finishAttempt(attempt, of: id, outcome, exitCode: 1, signal: nil, policy: policy)
        }
        _ = try test.startAll()
        try attempt(.interrupted(.lost, crash, pause: false))
        try attempt(.interrupted(.preempted, crash, pause: true))
        #expect(try test.status(id).state == .queued)
        #expect(try test.startAll() == [id])
        try attempt(.failedForNow(.crashed, crash, nil))
        #expect(try test.status(id).state == .retryWait)
        // The local time, with its day when that is another one than today, and the failure.
        let reason = try #require(try test.status(id).reason)
        #expect(
            reason.wholeMatch(of: /RetryAt\(2001-09-\d\d \d\d:\d\d:\d\d crashed: it crashed \[user\]\)/) != nil,
            "\(reason)")
        #expect(try test.startAll() == [])
        test.advance(seconds: 13)
        try test.queue.promote()
        #expect(try test.startAll() == [id])
        try attempt(.failedForNow(.crashed, crash, nil))
        #expect(try test.status(id).state == .failed)
        #expect(try test.status(id).reason == "only: crashed: it crashed [user]; see the log")
        #expect(try test.queue.integrityProblems() == [])

        let again = try test.queue.retry(id)
        #expect(try test.status(again).retryOf == id)
        #expect(try test.status(again).state == .queued)
        #expect(throws: OrchestrationError.self) { try test.queue.retry(again) }
        #expect(throws: OrchestrationError.self) { try test.queue.cancel(id) }
    }
}

/// Times are wall-clock times, and the wall clock may be set: nothing is lost by it, and nothing comes twice.
@Suite struct ClockJumpTests {
    @Test(arguments: [3_600_000, -3_600_000, 165_000_000_000_000] as [Int64])
    func whatWaitsForATimeComesThroughAJump(_ jump: Int64) throws {
        let test = try TestWorkspace()
        let clock = Mutex(JobQueue.wallClock())
        let queue = try JobQueue.open(test.workspace.database, now: { clock.withLock { $0 } })
        let begin = Double(clock.withLock { $0 }) / 1000 + 60
        let file = { (text: String) in
            ClaimedFile(
                claimID: ULID().description, tenant: "default", originalName: "a.yaml", bytes: Data(text.utf8),
                digest: Digest.sha256(Data(text.utf8)), size: Int64(text.utf8.count), ownerID: 0)
        }
        let later = file("name: later\nat: \(begin)\n")
        _ = try queue.accept(later, test.resolve(later.bytes, "default").get())
        let again = file("name: again\n")
        _ = try queue.accept(again, test.resolve(again.bytes, "default").get())
        #expect(try queue.startNext(cores: 2, isDiskLow: false) == again.claimID)
        try queue.putBack(again.claimID, why: "test", seconds: 30)

        clock.withLock { $0 += jump }
        let due = try queue.promote()
        let states = try queue.list().map(\.state)
        if jump > 0 {
            #expect(due == nil && states == [.queued, .queued])
        } else {
            // Later by the jump, and on its time by the clock.
            #expect(due != nil && Set(states) == [.waiting, .retryWait])
            clock.withLock { $0 -= jump }
            clock.withLock { $0 += 61_000 }
            #expect(try queue.promote() == nil)
            #expect(try queue.list().map(\.state) == [.queued, .queued])
        }
        #expect(try queue.startNext(cores: 1, isDiskLow: false) != nil)
        #expect(try queue.integrityProblems() == [])
    }
}
