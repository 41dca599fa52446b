import Foundation
import GRDB
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// Who goes next, what it needs, and who may say so.
@Suite struct SchedulingTests {
    // MARK: Effective priority

    @Test func pointsAreWhatTheyAreSaidToBe() {
        let fresh = EffectivePriority(priority: 3, queuePriority: -1, waited: 0, share: 1)
        #expect(fresh.total == 3 - 1 + 200)
        #expect(EffectivePriority(priority: 0, queuePriority: 0, waited: 10 * 3600, share: 0).age == 10)
        #expect(EffectivePriority(priority: 0, queuePriority: 0, waited: 172 * 3600, share: 0).age == 82)
        #expect(EffectivePriority(priority: 0, queuePriority: 0, waited: -5, share: 0).age == 0)
        #expect(FairShare.decayed(8, seconds: 14 * 86_400) == 2)
        #expect(FairShare.decayed(8, seconds: -1) == 8)
    }

    @Test func theShareFollowsUsageAndWeight() {
        var share = FairShare()
        #expect(share.factor(of: "a") == 1)
        share.add("a", coreSeconds: 100)
        share.add("b", coreSeconds: 100)
        #expect(share.factor(of: "a") == 0.5)
        share.setWeight(3, of: "a")
        #expect(share.entitled("a") == 0.75)
        #expect(share.factor(of: "a") > 0.5)
        #expect(share.factor(of: "b") == 0.25)
        #expect(share.factor(of: "new") == 1)
    }

    @Test func anHourOfWaitingIsAPoint() throws {
        let test = try TestQueue()
        let old = try test.id(test.add("old"))
        test.advance(seconds: 5 * 3600)
        let young = try test.id(test.add("young") { $0.priority = 4 })
        let urgent = try test.id(test.add("urgent") { $0.priority = 6 })
        var order: [String] = []
        while let id = try test.queue.startNext(cores: 1, isDiskLow: false) {
            order.append(id)
            try test.queue.finishJob(id, .succeeded, reason: nil)
        }
        #expect(order == [urgent, old, young])
        // Time that a person takes does not count.
        let held = try test.id(test.add("held") { $0.hold = true })
        test.advance(seconds: 9 * 3600)
        let other = try test.id(test.add("other") { $0.priority = 1 })
        try test.queue.release(held)
        #expect(try test.startAll() == [other])
    }

    /// Runs the attempt of a started job for so many seconds.
    private func work(_ test: TestQueue, _ id: String, seconds: Double, peak: Int64 = 0) throws {
        let attempt = try test.queue.beginAttempt(
            test.queue.drivenJob(id).stages[0], of: id, key: "k\(id)", why: "", resumeFrom: nil,
            directory: { RunDirectory(test.folder.url.appending(path: "\(id).\($0)")) }, bootID: "b", bootSeconds: 0)
        test.advance(seconds: seconds)
        var result = StageResult(attemptID: attempt.id, exitCode: 0)
        result.peakRSSBytes = peak
        try test.queue.finishAttempt(
            attempt, of: id, .succeeded(result, StageOutput(digest: "d", path: "p")), exitCode: 0, signal: nil,
            policy: RetryPolicy())
        try test.queue.finishJob(id, .succeeded, reason: nil)
    }

    @Test func aTenantThatUsedMuchGoesBehindOneThatUsedLittle() throws {
        let test = try TestQueue()
        try test.queue.configure(queues: [:], tenants: ["busy": .init()])
        for number in 0..<3 { try test.add("b\(number)", tenant: "busy") }
        let rare = try test.id(test.add("rare", tenant: "rare"))
        // Nobody has used anything: the first one comes first.
        let first = try #require(try test.queue.startNext(cores: 1, isDiskLow: false))
        #expect(try test.status(first).name == "b0")
        try work(test, first, seconds: 3600)
        #expect(try test.startAll() == [rare])
        let used = try test.queue.read { try test.queue.fairShare($0) }
        #expect(used.usage["busy"] == 3600)
        // What runs counts while it runs.
        let stage = try test.queue.drivenJob(rare).stages[0]
        _ = try test.queue.beginAttempt(
            stage, of: rare, key: "r", why: "", resumeFrom: nil,
            directory: { RunDirectory(test.folder.url.appending(path: "r.\($0)")) }, bootID: "b", bootSeconds: 0)
        test.advance(seconds: 7 * 86_400)
        let later = try test.queue.read { try test.queue.fairShare($0) }
        #expect(abs((later.usage["busy"] ?? 0) - 1800) < 1e-6)
        #expect(abs((later.usage["rare"] ?? 0) - 7 * 86_400) < 1e-6)
        #expect(later.factor(of: "busy") > later.factor(of: "rare"))
    }

    @Test func aTenantMayNotBeStarvedByABacklog() throws {
        let test = try TestQueue()
        for number in 0..<200 { try test.add("b\(number)", tenant: "backlog") }
        test.advance(seconds: 30 * 86_400)
        let first = try #require(try test.queue.startNext(cores: 1, isDiskLow: false))
        try work(test, first, seconds: 3600)
        let guest = try test.id(test.add("guest", tenant: "guest"))
        #expect(try test.startAll() == [guest])
    }

    // MARK: Admission

    private func candidate(
        _ id: String, threads: Int = 1, memory: Int64? = nil, queue: String = "default", priority: Int = 0,
        sequence: Int64 = 0
    ) -> Admission.Candidate {
        Admission.Candidate(
            id: id, tenant: "t", queue: queue, key: id, threads: threads, memoryBytes: memory,
            priority: EffectivePriority(priority: priority, queuePriority: 0, waited: 0, share: 1), sequence: sequence)
    }

    @Test func whatDoesNotFitIsKeptAPlace() {
        var admission = Admission(
            capacity: Capacity(threads: 4, memoryBytes: 100), isDiskLow: false,
            queues: ["full": .init(maximumJobs: 1, running: 1), "paused": .init(isPaused: true)])
        admission.usedThreads = 1
        admission.usedMemoryBytes = 60
        func reasons(_ jobs: Admission.Candidate...) -> [String] {
            admission.decide(jobs).map { $0.reason?.description ?? "starts" }
        }
        #expect(
            reasons(candidate("a", queue: "full"), candidate("b", queue: "paused"), candidate("c", memory: 101))
                == ["Resources(queue)", "QueuePaused", "Fit(memory 101B > 100B)"])
        // Who waits for memory stops those who need memory, and keeps its threads.
        #expect(
            reasons(
                candidate("large", threads: 2, memory: 80), candidate("small", memory: 1), candidate("unknown"),
                candidate("third"))
                == ["Resources(mem)", "Priority", "starts", "Priority"])
        // Who waits for cores stops everybody.
        #expect(
            reasons(candidate("wide", threads: 4), candidate("narrow"), candidate("paused", queue: "paused"))
                == ["Resources(cores)", "Priority", "QueuePaused"])
        admission.usedThreads = 0
        #expect(
            reasons(candidate("wider than the machine", threads: 9), candidate("b")) == ["starts", "Resources(cores)"])
    }

    @Test func memoryIsCountedWhileItIsUsed() throws {
        let test = try TestQueue()
        _ = try test.queue.taken(by: 1, cores: 8, memoryBytes: 100)
        let first = try test.id(test.add("first", memory: 60))
        let second = try test.id(test.add("second", memory: 60))
        let third = try test.id(test.add("third", memory: 30) { $0.memoryBytes = 500 })
        #expect(try test.startAll(cores: 8, memory: 100) == [first])
        #expect(try test.status(second).reason == "Resources(mem)")
        #expect(try test.status(third).reason == "Fit(memory 500B > 100B)")
        #expect(try test.status(second).memoryBytes == 60)
        let standing = try #require(try test.queue.standing(of: second))
        #expect(standing.usedMemoryBytes == 60 && standing.capacity.memoryBytes == 100 && standing.before == [])
        try work(test, first, seconds: 1, peak: 20)
        #expect(try test.startAll(cores: 8, memory: 100) == [second])
        // An equal job is counted with what this one used, and a tenth more.
        let again = try test.id(test.add("first", memory: 60))
        #expect(try test.status(again).memoryBytes == 22)
        // What was measured never keeps a job out for good.
        try work(test, second, seconds: 1, peak: 100)
        #expect(try test.status(test.id(test.add("second", memory: 60))).memoryBytes == 100)
    }

    @Test func whatCanNeverRunIsRefusedWithFigures() {
        let capacity = Capacity(threads: 2, memoryBytes: 3 << 30)
        var manifest = JobManifest(name: "a", base: .folder("/b"))
        #expect(capacity.findings(for: manifest, memoryBytes: 3 << 30) == [])
        let estimated = capacity.findings(for: manifest, memoryBytes: 7 << 29)
        #expect(estimated.map(\.code.rawValue) == ["does_not_fit"])
        #expect(estimated[0].message.contains("3.5GiB") && estimated[0].message.contains("3GiB"))
        #expect(estimated[0].hint?.contains("train.micro_batch") == true)
        manifest.run.memoryBytes = 1 << 30
        #expect(capacity.findings(for: manifest, memoryBytes: 7 << 29) == [], "what is written wins")
        manifest.run.memoryBytes = 4 << 30
        manifest.run.threads = 3
        #expect(capacity.findings(for: manifest, memoryBytes: nil).map(\.pointer) == ["/run/threads", "/run/memory"])
        #expect(Capacity(threads: 3, memoryBytes: nil).findings(for: manifest, memoryBytes: .max) == [])
    }

    @Test func theLimitOfTheControlGroupCounts() throws {
        let folder = try TemporaryFolder()
        func write(_ text: String, _ path: String) throws -> String {
            let url = folder.url.appending(path: path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: url)
            return url.path
        }
        let meminfo = try write("MemTotal:        8000 kB\nMemFree: 1 kB\n", "meminfo")
        let group = try write("0::/a/b\n", "cgroup")
        let groups = folder.url.appending(path: "fs").path
        func limit() -> Int64? { Capacity.memoryLimit(meminfo: meminfo, group: group, groups: groups) }
        #expect(limit() == 8_192_000)
        _ = try write("max\n", "fs/a/b/memory.max")
        #expect(limit() == 8_192_000)
        _ = try write("4096\n", "fs/a/memory.max")
        #expect(limit() == 4096)
        _ = try write("4:memory:/c\n", "cgroup")
        _ = try write("2048\n", "fs/memory/c/memory.limit_in_bytes")
        #expect(limit() == 2048)
        #expect(try #require(Capacity.memoryLimit()) > 1 << 20)
    }

    // MARK: Reasons

    @Test func everyJobThatWaitsSaysWhy() throws {
        let test = try TestQueue()
        _ = try test.queue.taken(by: 1, cores: 1)
        let ready = try test.id(test.add("ready"))
        let behind = try test.id(test.add("behind"))
        var filter = JobFilter()
        filter.ids = [ready]
        #expect(try test.status(ready).reason == nil)
        #expect(try test.queue.list(filter, isDaemonDown: true).first?.reason == "DaemonDown")
        #expect(try test.status(behind).reason == "Resources(cores)")
        let standing = try #require(try test.queue.standing(of: behind))
        #expect(standing.before == [ready] && standing.priority.total == 200 && standing.entitledPart == 1)
        #expect(try test.startAll() == [ready])
        #expect(try test.queue.standing(of: ready) == nil)
        let many = try (0..<5).map { try test.id(test.add("n\($0)")) }
        let after = try test.id(test.add("after") { $0.after = many })
        let reason = try #require(try test.status(after).reason)
        #expect(reason == "Dependency(\(many.sorted().prefix(3).joined(separator: ",")),+2)")
    }

    // MARK: Ownership

    @Test func onlyTheOwnerAndTheDaemonsUserChangeAJob() throws {
        let test = try TestQueue()
        let keeper = try test.queue.daemonUser()
        let mine: UInt32 = 4001
        let stranger: UInt32 = 4002
        let id = try test.id(test.add("a", owner: mine))
        let verbs: [(String, (UInt32) throws -> Void)] = [
            ("hold", { try test.queue.hold(id, as: $0) }),
            ("release", { try test.queue.release(id, as: $0) }),
            ("prioritize", { try test.queue.prioritize(id, to: 7, as: $0) }),
            ("cancel", { try test.queue.cancel(id, as: $0) }),
            ("retry", { _ = try test.queue.retry(id, as: $0) }),
        ]
        for (name, verb) in verbs {
            let error = #expect(throws: OrchestrationError.self, "\(name)") { try verb(stranger) }
            #expect(error?.code == .permission)
            #expect(error?.description.contains("user \(mine)") == true)
            try verb(mine)
        }
        // A retry belongs to the owner of the job, whoever asks for it.
        let again = try test.queue.list().filter { $0.retryOf == id }
        #expect(again.map(\.ownerID) == [mine])
        try test.queue.cancel(again[0].id, as: keeper)
        #expect(throws: OrchestrationError.self) { try test.queue.setPaused(true, queue: "default", as: mine) }
        #expect(throws: OrchestrationError.self) { try test.queue.setMaximumJobs(2, queue: "default", as: mine) }
        try test.queue.setPaused(true, queue: "default", as: 0)
        try test.queue.setPaused(false, queue: "default", as: keeper)
    }

    @Test func othersJobsAreNeitherMergedNorReplaced() throws {
        let test = try TestQueue()
        let mine = try test.id(test.add("a", owner: 4001, seed: 1))
        let theirs = try test.id(test.add("a", owner: 4002, seed: 1))
        #expect(mine != theirs)
        #expect(try test.add("a", owner: 4002, seed: 1) == .coalesced(job: theirs))
        let newest = try test.id(test.add("a", owner: 4002, seed: 2) { $0.onConflict = .replace })
        #expect(try test.status(mine).state == .queued)
        #expect(try test.status(theirs).reason == "replaced by \(newest)")
        let foreign = try test.id(test.add("f", tenant: "acme"))
        let refusal = #expect(throws: RefusedSubmission.self) { try test.add("x") { $0.after = [foreign] } }
        #expect(refusal?.code == "foreign_job")
    }

    // MARK: Dependencies

    @Test func aRetryOfTheParentDoesNotReviveAnybody() throws {
        let test = try TestQueue()
        let parent = try test.id(test.add("parent"))
        let other = try test.id(test.add("other"))
        let child = try test.id(test.add("child") { $0.after = [parent, other] })
        _ = try test.startAll()
        try test.queue.finishJob(parent, .failed, reason: "bad")
        #expect(try test.status(child).state == .skipped, "at once, though the other has not ended")
        let retried = try test.queue.retry(parent)
        #expect(try test.status(child).state == .skipped)
        // The child can be done again itself; what it came after is history.
        #expect(try test.status(test.queue.retry(child)).state == .queued)
        #expect(try test.status(retried).state == .queued)
    }

    @Test func aHeldJobIsEvaluatedWhenItIsReleased() throws {
        let test = try TestQueue()
        let parent = try test.id(test.add("parent"))
        let held = try test.id(
            test.add("held") {
                $0.after = ["\(parent):any"]
                $0.hold = true
            })
        try test.queue.cancel(parent)
        #expect(try test.status(held).state == .held)
        try test.queue.release(held)
        #expect(try test.status(held).state == .queued)
        let doomed = try test.id(
            test.add("doomed") {
                $0.after = [parent]
                $0.notBefore = 2_000_000_000
            })
        #expect(try test.status(doomed).state == .skipped, "what can never run does not wait for its time")
    }

    // MARK: The database of an earlier version

    @Test func anOlderDatabaseIsCopiedBeforeItIsChanged() throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "lorajobs.sqlite")
        var old = DatabaseMigrator()
        old.registerMigration("1") { try $0.execute(sql: QueueSchema.first) }
        var configuration = GRDB.Configuration()
        configuration.journalMode = .wal
        let database = try DatabaseQueue(path: file.path, configuration: configuration)
        try old.migrate(database)
        let spec = try ProtocolJSON.encode(JobManifest(name: "a", base: .folder("/b")))
        try database.writeWithoutTransaction { db in
            try db.execute(sql: "PRAGMA application_id = \(QueueSchema.applicationID); PRAGMA user_version = 1;")
            for (number, state) in ["queued", "queued", "waiting", "cancelled"].enumerated() {
                try db.execute(
                    sql: """
                        INSERT INTO job (id, seq, name, tenant, queue, priority, threads, spec, spec_sha256,
                          manifest_sha256, origins, unique_key, on_conflict, state, created_ms, finished_ms)
                        VALUES (?, ?, 'a', 't', 'default', 0, 1, ?, 's', 'm', x'', 'k', 'queue', ?, 5, ?)
                        """, arguments: ["J\(number)", number, spec, state, state == "cancelled" ? 6 : nil])
            }
            try db.execute(sql: "INSERT INTO job_dep VALUES ('J2', 'J0', 'ok'), ('J2', 'J3', 'any')")
        }
        try database.close()

        let queue = try JobQueue.open(file)
        let copy = folder.url.appending(path: "lorajobs.v1.sqlite")
        let kept = try DatabaseQueue(path: copy.path).read { db in
            try ["PRAGMA user_version", "PRAGMA application_id", "SELECT count(*) FROM job"].map {
                try Int.fetchOne(db, sql: $0)
            }
        }
        #expect(kept == [1, Int(QueueSchema.applicationID), 4])
        let columns = try queue.read { try Row.fetchAll($0, sql: "SELECT id, leads, open_needs FROM job ORDER BY id") }
        #expect(columns.map { $0["leads"] as Int } == [1, 0, 0, 0])
        #expect(columns.map { $0["open_needs"] as Int } == [0, 0, 1, 0])
        #expect(try QueueInvariants.violations(queue) == [])
        #expect(try queue.startNext(cores: 1, isDiskLow: false) == "J0")
        try queue.close()
        // Another opening makes no other copy.
        try JobQueue.open(file).close()
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: folder.url.path).filter { $0.contains(".v") }.count == 1
        )
    }
}
