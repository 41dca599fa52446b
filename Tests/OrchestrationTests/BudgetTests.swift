import Artifacts
import Foundation
import GRDB
import Synchronization
import Testing

@testable import Orchestration
@testable import PipelineSpec

/// A training that has ended early, as its result says.
private let cut = """
    echo 'three steps' > out/train.txt
    printf '{"schema":1,"attemptID":"%s","exitCode":0,"metrics":{"steps":3},"publications":[],"cut":{"step":3,"steps":9},"peakRSSBytes":1024,"cpuSeconds":0.5}' "$id" > result.tmp
    mv result.tmp result.json
    exit 0

    """

extension TestWorkspace {
    /// Like ``configuration()``, with a training that may end early.
    fileprivate func cuttable(_ change: (inout OrchestrationConfiguration) -> Void = { _ in })
        -> OrchestrationConfiguration
    {
        var configuration = configuration()
        configuration.descriptors = configuration.descriptors.map {
            var descriptor = $0
            descriptor.endsEarly = $0.kind == "train"
            return descriptor
        }
        change(&configuration)
        return configuration
    }

    /// Lets the training keep what each attempt was told, whose folder may be gone later.
    fileprivate func behaveKeepingRequests(_ shell: String) throws {
        try behave("train", "cp request.json \"$root/request.$attempt\"\n" + shell)
    }

    /// What each attempt at the training was told.
    fileprivate func keptLimits(_ attempts: Int) throws -> [StageLimit?] {
        try (1...attempts).map { number in
            try ProtocolJSON.decode(StageRequest.self, from: Data(contentsOf: root("request.\(number)"))).limit
        }
    }

    /// What the newest attempt at the training was told.
    fileprivate func limit(_ job: String) throws -> StageLimit? {
        let attempts = try queue().show(job).stages.first { $0.name == "train" }?.attempts ?? []
        return try #require(attempts.last).directory.readRequest().limit
    }
}

private final class Clock: Sendable {
    private let milliseconds: Mutex<Int64>

    init(_ text: String) { milliseconds = Mutex(Int64((Moment.parse(text, timeZone: .gmt) ?? 0) * 1000)) }

    var now: Int64 { milliseconds.withLock { $0 } }
    func set(_ text: String) { milliseconds.withLock { $0 = Int64((Moment.parse(text, timeZone: .gmt) ?? 0) * 1000) } }
}

@Suite struct BudgetTests {
    private func plan(
        _ wall: Double?, worked: Double = 0, deadline: Double? = nil, later: [String] = ["evaluate", "package"],
        _ longest: [String: Double] = [:]
    ) -> BudgetPlan {
        var budget = JobManifest.Budget()
        budget.wallSeconds = wall
        return BudgetPlan(
            budget, .init(worked: worked, deadline: deadline), later: later,
            RunHistory(mean: longest, longest: longest, runs: longest.isEmpty ? 0 : 1), now: 1000)
    }

    @Test func timeIsKeptForWhatComesAfterTheTraining() {
        // Nobody knows: a share.
        #expect(plan(1000).limit == StageLimit(seconds: 850, until: nil) && plan(1000).reserve == 150)
        // What they took, and a quarter more.
        let known = plan(1000, ["evaluate": 80, "package": 8])
        #expect(known.reserve == 1.25 * 88 + 4 && known.limit.seconds == 1000 - known.reserve)
        // One of them is unknown: the larger of the two.
        #expect(plan(1000, ["evaluate": 8]).reserve == 150 && plan(1000, ["evaluate": 400]).reserve == 502)
        // What was worked is gone, and whichever comes first counts.
        let both = plan(1000, worked: 600, deadline: 1200, ["evaluate": 8, "package": 8])
        #expect(both.limit.seconds == 400 - 24 && both.limit.until == 1200 - 24 && both.seconds == 200 - 24)
        // The reserve leaves something to train, and nothing follows nothing.
        #expect(plan(100, ["evaluate": 5000, "package": 1]).reserve == 90)
        #expect(plan(1000, later: []).reserve == 0)
        #expect(plan(10, worked: 50).seconds == 0 && plan(nil, deadline: 500, later: []).seconds == 0)
    }

    @Test func aCutTrainingIsNeverTakenForAWholeOne() async throws {
        let test = try TestWorkspace()
        try test.behave("train", cut)
        let first = try test.submit("name: tone\nwall: 60\n")
        try await withDaemon(test.cuttable()) { _ async throws -> Void in
            let status = try await test.end(of: first)
            #expect(status.state == .succeeded && status.reason == "budget: ended at step 3 of 9", "\(status)")
            #expect(status.adapter == "tone:1")
            let limit = try #require(try test.limit(first))
            #expect(limit.until == nil && (limit.seconds ?? 0) > 0 && (limit.seconds ?? 60) < 60)
            // The next one, with time enough, trains all of it; that is what later ones find.
            try test.behave("train", "")
            let second = try await test.end(of: try test.submit("name: tone\n", name: "second.yaml"))
            #expect(second.reason == nil && second.adapter == "tone:2")
            #expect(try test.limit(second.id) == nil)
            let third = try await test.end(of: try test.submit("name: tone\nwall: 50\n", name: "third.yaml"))
            #expect(third.reason == "unchanged" && third.adapter == "tone:2")
            #expect(test.started().filter { $0 == "train" }.count == 2)
        }
        let stages = try test.queue().show(first).stages
        #expect(stages.map(\.state) == [.succeeded, .succeeded, .skipped, .succeeded])
        #expect(try test.queue().read { try test.queue().violations($0) }.isEmpty)
        // What is in the cache for the cut one has another key than the stage's.
        let key = try #require(stages[1].cacheKey)
        let output = try #require(try StageCache(test.workspace.artifacts).lookup(key))
        #expect(output.digest != stages[1].outputDigest)
        let own = CacheKey.cut(key, StageCut(step: 3, steps: 9))
        #expect(try StageCache(test.workspace.artifacts).lookup(own)?.digest == stages[1].outputDigest)
    }

    @Test func theEndOnTheClockIsThatOfTheFirstStart() async throws {
        let test = try TestWorkspace()
        let clock = Clock("2026-11-21T23:00Z")
        // The first try is stopped from outside; the second one is hours later.
        try test.behaveKeepingRequests(
            "[ \"$attempt\" = 1 ] && { mkdir -p checkpoint; touch checkpoint/x; fail 143 stopped stopped; }\n")
        let id = try test.submit("name: tone\nby: 06:00\n")
        let configuration = test.cuttable { $0.now = { clock.now } }
        try await withDaemon(configuration) { _ async throws -> Void in
            let status = try await test.end(of: id)
            #expect(status.state == .succeeded, "\(status)")
        }
        let limits = try test.keptLimits(test.queue().show(id).stages[1].attempts.count)
        let end = try #require(Moment.parse("2026-11-22T06:00Z", timeZone: .gmt))
        // 15 % of seven hours are kept, each time.
        #expect(limits.count == 2)
        for limit in limits {
            #expect(limit?.seconds == nil && abs((limit?.until ?? 0) - (end - 0.15 * 7 * 3600)) < 1e-3)
        }
    }

    @Test func theDeadlineOutlivesRestartsAndIsNotMovedByThem() throws {
        let test = try TestWorkspace()
        let clock = Clock("2026-11-21T05:00Z")
        let queue = try JobQueue.open(test.workspace.database, now: { clock.now })
        let bytes = Data("name: tone\nby: 06:00\n".utf8)
        let file = ClaimedFile(
            claimID: ULID().description, tenant: "default", originalName: "a.yaml", bytes: bytes,
            digest: Digest.sha256(bytes), size: Int64(bytes.count), ownerID: 0)
        _ = try queue.accept(file, test.resolve(bytes, "default").get())
        #expect(try queue.budgetState(file.claimID).deadline == nil)
        try queue.start(file.claimID)
        let deadline = Moment.parse("2026-11-21T06:00Z", timeZone: .gmt)
        #expect(try queue.budgetState(file.claimID).deadline == deadline)
        try queue.putBack(file.claimID, why: "test")
        clock.set("2026-11-21T08:00Z")
        try queue.start(file.claimID)
        #expect(try queue.budgetState(file.claimID).deadline == deadline)
    }

    @Test func onlyWorkUsesUpTheWall() async throws {
        let test = try TestWorkspace()
        try test.behaveKeepingRequests(
            "sleep 0.3\n[ \"$attempt\" = 1 ] && { mkdir -p checkpoint; touch checkpoint/x; fail 143 stopped x; }\n")
        let id = try test.submit("name: tone\nwall: 1000\n")
        try await withDaemon(test.cuttable()) { _ async throws -> Void in _ = try await test.end(of: id) }
        let limits = try test.keptLimits(test.queue().show(id).stages[1].attempts.count).map { $0?.seconds ?? 0 }
        // The first one slept; how long the job waited in between is not in it.
        #expect(limits.count == 2 && limits[1] <= limits[0] - 0.85 * 0.3 + 1e-6, "\(limits)")
        let worked = try test.queue().budgetState(id).worked
        #expect(worked >= 0.6)
    }
}

@Suite struct QuietTests {
    private let stoppable = """
        trap 'mkdir -p checkpoint; touch checkpoint/x; fail 143 stopped stopped' TERM
        while [ ! -f "$root/go" ]; do sleep 0.05; done

        """

    @Test func whatRunsStopsAtACheckpointAndGoesOnByItself() async throws {
        let test = try TestWorkspace()
        try test.behave("train", stoppable)
        let clock = Clock("2026-11-20T06:00Z")
        var configuration = test.configuration()
        configuration.now = { clock.now }
        configuration.quiet = try QuietHours(["mon-fri 08:00-18:00"], timeZone: "UTC")
        configuration.queues = ["default": .init(), "urgent": .init(), "other": .init()]
        configuration.queues["urgent"]?.quiet = try QuietHours([])
        let id = try test.submit("name: tone\nretries: 0\n")
        let paused = try test.submit("name: kept\nseed: 2\n", name: "kept.yaml")
        func reason(_ job: String) throws -> String? {
            var filter = JobFilter()
            filter.ids = [job]
            return try JobQueue.openReadOnly(test.workspace.database, now: { clock.now }).list(filter).first?.reason
        }
        var pid: Int32 = 0
        try await withDaemon(configuration) { _ async throws -> Void in
            pid = try await test.runningPID(id, stage: "train")
            try test.queue().pause(paused)
            clock.set("2026-11-20T08:00Z")
            try await eventually("it is quiet") { try test.status(id).state == .queued }
            #expect(WorkerProcess.startTime(pid) == nil)
            let why = try reason(id) ?? ""
            #expect(why.hasPrefix("Quiet(until "), "\(why)")
            #expect(try reason(paused) == "Paused")
            // Nothing starts, except where a queue has hours of its own.
            let late = try test.submit("name: late\nseed: 3\n", name: "late.yaml")
            let urgent = try test.submit("name: now\nseed: 4\nqueue: urgent\n", name: "urgent.yaml")
            try Data().write(to: test.root("go"))
            #expect(try await test.end(of: urgent).state == .succeeded)
            #expect(try test.status(late).state == .queued && test.status(id).state == .queued)
            // A person lets it go on: it still waits for the end.
            try test.queue().resume(paused)
            try test.queue().pause(paused)
            try FileManager.default.removeItem(at: test.root("go"))
        }
        // A daemon that starts in the middle, and one after the clock was set back into them.
        for time in ["2026-11-20T12:00Z", "2026-11-19T09:00Z"] {
            clock.set(time)
            let started = test.started().count
            try await withDaemon(configuration) { _ async throws -> Void in
                try await Task.sleep(for: .milliseconds(300))
                #expect(try test.status(id).state == .queued && test.started().count == started)
                #expect(try reason(id)?.hasPrefix("Quiet(") == true, "the hours are known without a daemon too")
            }
        }
        #expect(try reason(id)?.hasPrefix("Quiet(") == true)
        try Data().write(to: test.root("go"))
        try await withDaemon(configuration) { daemon async throws -> Void in
            clock.set("2026-11-20T18:00Z")
            daemon.poke()
            #expect(try await test.end(of: id).state == .succeeded)
            #expect(try test.status(paused).state == .held)
        }
        let attempts = try test.queue().show(id).stages[1].attempts
        #expect(attempts.map(\.state) == [.preempted, .succeeded])
        #expect(attempts[1].resumedFrom == attempts[0].directory.checkpoint.path)
        #expect(attempts[0].failureClass == nil)
        #expect(try test.queue().read { try test.queue().violations($0) }.isEmpty)
    }
}

@Suite struct ForecastTests {
    private func accept(_ test: TestWorkspace, _ queue: JobQueue, _ text: String, _ work: CountedWork? = nil) throws
        -> String
    {
        let bytes = Data(text.utf8)
        let file = ClaimedFile(
            claimID: ULID().description, tenant: "default", originalName: "a.yaml", bytes: bytes,
            digest: Digest.sha256(bytes), size: Int64(bytes.count), ownerID: 0)
        var submission = try test.resolve(bytes, "default").get()
        submission.work = work
        _ = try queue.accept(file, submission)
        return file.claimID
    }

    private func status(_ queue: JobQueue, _ id: String) throws -> JobStatus {
        var filter = JobFilter()
        filter.ids = [id]
        return try #require(try queue.list(filter).first)
    }

    @Test func equalJobsSayHowLongItTakes() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "sleep 0.2\n")
        let first = try test.submit("name: tone\n")
        try await withDaemon(test.configuration()) { _ async throws -> Void in _ = try await test.end(of: first) }
        let queue = try test.queue()
        let again = try accept(test, queue, "name: tone\n")
        let other = try accept(test, queue, "name: tone\nseed: 7\n")
        let expected = try status(queue, again)
        #expect(expected.etaSource == .history(runs: 1) && (expected.eta ?? 0) >= 0.2, "\(expected)")
        #expect(expected.etaSource?.description == "from 1 earlier run")
        #expect(try status(queue, other).eta == nil && status(queue, first).eta == nil)
        let history = try queue.history(of: test.resolve(Data("name: tone\n".utf8), "default").get().manifest)
        #expect(history.runs == 1 && Set(history.mean.keys) == ["tokenize", "train", "package"], "\(history)")
    }

    @Test func aMeasuredSpeedTurnsCountedOperationsIntoTime() async throws {
        let test = try TestWorkspace()
        try test.behave(
            "train", #"metrics='{"training_gflops":100,"operations_per_token":5e8,"precision_bits":32}'"# + "\n")
        let first = try test.submit("name: tone\n")
        try await withDaemon(test.configuration()) { _ async throws -> Void in _ = try await test.end(of: first) }
        let queue = try test.queue()
        let speed = try queue.trainingSpeed(operationsPerToken: 4e8, threads: 1, bits: 32)
        #expect(speed == MeasuredSpeed(gigaflops: 100, runs: 1))
        for (operations, threads, bits) in [(4e10, 1, 32), (4e8, 2, 32), (4e8, 1, 16)] {
            #expect(try queue.trainingSpeed(operationsPerToken: operations, threads: threads, bits: bits) == nil)
        }
        let work = CountedWork(operations: 3e13, operationsPerToken: 4e8, precisionBits: 32)
        let id = try accept(test, queue, "name: new\nseed: 5\n", work)
        let expected = try status(queue, id)
        #expect(expected.eta == 300 && expected.etaSource == .operations(gigaflops: 100), "\(expected)")
        #expect(expected.etaSource?.description == "from counted operations at 100 GFLOP/s")
        // Of the time of the training nothing is left once that is over, and nobody has counted what comes after it.
        try test.behave("train", "while [ ! -f \"$root/trained\" ]; do sleep 0.02; done\n")
        try test.behave("package", "while [ ! -f \"$root/packed\" ]; do sleep 0.02; done\n")
        let timed = try accept(test, queue, "name: timed\nseed: 6\n", work)
        try queue.cancel(id)
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            _ = try await test.runningPID(timed, stage: "train")
            let training = try status(queue, timed)
            #expect((training.eta ?? 301) <= 300 && (training.eta ?? 0) > 200, "\(training)")
            try Data().write(to: test.root("trained"))
            _ = try await test.runningPID(timed, stage: "package")
            #expect(try status(queue, timed).eta == nil)
            try Data().write(to: test.root("packed"))
            _ = try await test.end(of: timed)
        }
        // What was measured last weighs as much as the others.
        try test.behave(
            "train", #"metrics='{"training_gflops":200,"operations_per_token":5e8,"precision_bits":32}'"# + "\n")
        let second = try test.submit("name: tone\nseed: 9\n", name: "b.yaml")
        try await withDaemon(test.configuration()) { _ async throws -> Void in _ = try await test.end(of: second) }
        #expect(
            try queue.trainingSpeed(operationsPerToken: 4e8, threads: 1, bits: 32)
                == MeasuredSpeed(gigaflops: 150, runs: 2))
    }
}
