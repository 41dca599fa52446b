import Foundation
import GRDB
import Logging
import PipelineSpec
import Synchronization
import TestSupport
import Testing

@testable import Orchestration

/// A workspace with schedules, a clock that tests set, and the part of the daemon that fires.
private final class ScheduleBench {
    let test: TestWorkspace
    let queue: JobQueue
    var configuration: OrchestrationConfiguration
    private let clock: Clock
    private var scheduler: Scheduler

    private final class Clock: Sendable { let time = Mutex<Int64>(0) }

    /// - Parameter time: As `2026-06-10T00:00Z`.
    init(at time: String) throws {
        let clock = Clock()
        let test = try TestWorkspace()
        try Data("version: 1\nname: only\nstages:\n  tokenize: {uses: tokenize}\n".utf8).write(
            to: test.root("Pipelines/only.yaml"))
        var resolver = ManifestResolver(
            workspace: test.workspace, settings: WorkspaceSettings(),
            kinds: Dictionary(uniqueKeysWithValues: TestWorkspace.descriptors.map { ($0.kind, $0) }))
        resolver.cache = HuggingFaceCache(environment: ["HF_HOME": test.root("none").path])
        configuration = OrchestrationConfiguration(
            resolver, stageCommand: [test.root("stage.sh").path, "stage"], numericsVersion: 1,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        configuration.settle = 0
        configuration.watcher = nil
        configuration.pollInterval = 0.05
        self.test = test
        self.clock = clock
        queue = try JobQueue.open(test.workspace.database, now: { clock.time.withLock { $0 } })
        scheduler = Scheduler(configuration, queue)
        set(time)
    }

    func set(_ time: String) {
        let date = try? Date(time.replacing("Z", with: ":00Z"), strategy: .iso8601)
        clock.time.withLock { $0 = Int64((date?.timeIntervalSince1970 ?? 0) * 1000) }
    }

    func advance(minutes: Double) { clock.time.withLock { $0 += Int64(minutes * 60_000) } }

    /// Another process on the same database and clock.
    func other() throws -> JobQueue {
        let clock = clock
        return try JobQueue.open(test.workspace.database, now: { clock.time.withLock { $0 } })
    }

    static func manifest(_ schedule: String, _ more: String = "") -> String {
        "name: tone\npipeline: only\nbase: base\ndata: data/*.jsonl\nschedule: \(schedule)\n\(more)"
    }

    func write(_ name: String, _ text: String) throws {
        try AtomicFile.write(Data(text.utf8), to: test.root("Jobs/schedules/\(name)"))
    }

    func remove(_ name: String) throws {
        try FileManager.default.removeItem(at: test.root("Jobs/schedules/\(name)"))
    }

    func names() -> [String] { test.files(test.root("Jobs/schedules")) }

    @discardableResult
    func look(_ time: String? = nil) throws -> Double? {
        if let time { set(time) }
        return try scheduler.run(rescan: true)
    }

    func restart() { scheduler = Scheduler(configuration, queue) }

    /// `occurrence outcome` of everything recorded, by time on the wall.
    func fires(_ id: String = "nightly") throws -> [String] {
        try queue.read { db in
            try Row.fetchAll(
                db, sql: "SELECT occurrence, outcome FROM schedule_fire WHERE schedule_id = ? ORDER BY occurrence",
                arguments: [id]
            ).map { "\(($0["occurrence"] as String).prefix(16)) \($0["outcome"] as String)" }
        }
    }

    func jobs() throws -> Int { try queue.list().count }
}

@Suite struct ScheduleTests {
    private let berlin = "{cron: \"30 2 * * *\", time_zone: Europe/Berlin}"

    @Test func anOccurrenceMakesOneJob() throws {
        let bench = try ScheduleBench(at: "2026-06-10T00:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin))
        #expect(try bench.look() == 1800)
        #expect(try bench.jobs() == 0)
        try bench.look("2026-06-10T00:29Z")
        #expect(try bench.jobs() == 0)
        #expect(try bench.look("2026-06-10T00:30Z") == 86_400)
        try bench.look()
        #expect(try bench.fires() == ["2026-06-10T02:30 accepted"])
        let job = try #require(try bench.queue.list().first)
        #expect(job.state == .queued && job.name == "tone" && job.tenant == "default")
        let row = try bench.queue.read { try Row.fetchOne($0, sql: "SELECT * FROM job") }
        #expect(row?["schedule_id"] == "nightly" && row?["claim_id"] == nil)
        #expect(try bench.queue.show(job.id).events.contains { $0.kind == "schedule" })
        try bench.look("2026-06-11T00:31Z")
        #expect(try bench.fires() == ["2026-06-10T02:30 accepted", "2026-06-11T02:30 coalesced"])
    }

    @Test func stepsOfTheClockNeitherRepeatNorLose() throws {
        let bench = try ScheduleBench(at: "2026-06-10T00:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin, "run: {concurrency: {on_conflict: queue}}\n"))
        try bench.look()
        // An hour ahead over the time, back before it, and over it again.
        for time in ["01:00", "00:05", "00:30", "00:29", "00:30", "01:31", "00:31"] {
            try bench.look("2026-06-10T\(time)Z")
            if time == "00:29" { bench.restart() }
        }
        #expect(try bench.fires() == ["2026-06-10T02:30 accepted"])
        #expect(try bench.jobs() == 1)
        try bench.look("2026-06-11T00:30Z")
        #expect(try bench.fires().count == 2)
    }

    @Test func aYearAheadAndBackNeitherFloodsNorSilences() throws {
        let bench = try ScheduleBench(at: "2026-06-10T12:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin, "run: {concurrency: {on_conflict: queue}}\n"))
        try bench.write(
            "often.yaml",
            ScheduleBench.manifest(
                "{cron: \"* * * * *\", time_zone: UTC, catch_up: all, max_lateness: 8760h}",
                "run: {concurrency: {key: often}}\n"))
        try bench.look()
        try bench.look("2027-06-10T12:00Z")
        #expect(try bench.fires().filter { $0.hasSuffix("accepted") } == ["2027-06-10T02:30 accepted"])
        #expect(try bench.fires().count == 365)
        #expect(try bench.fires("often").count == CatchUpPlan.limit)
        try bench.look("2026-06-10T12:00Z")
        #expect(try bench.fires() == ["2027-06-10T02:30 accepted"])
        try bench.look("2026-06-10T12:01Z")
        #expect(try bench.fires("often").contains { $0.hasPrefix("2026-06-10T12:01") })
        try bench.remove("often.yaml")
        for day in 11...13 { try bench.look("2026-06-\(day)T00:30Z") }
        #expect(try bench.fires().filter { $0.hasPrefix("2026") }.count == 3)
        // The same with a daemon that was not there when the clock came back.
        try bench.look("2028-06-10T12:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin, "run: {priority: 1}\n"))
        bench.restart()
        try bench.look("2026-06-13T12:00Z")
        try bench.look("2026-06-14T00:30Z")
        #expect(try bench.fires().contains("2026-06-14T02:30 accepted"))
    }

    /// The night before, and the lines that the minutes of two days leave.
    @Test(arguments: [
        ("30 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T03:00", "2026-03-30T02:30"]),
        ("30 2 * * *", "2026-10-24T12:00Z", ["2026-10-25T02:30", "2026-10-26T02:30"]),
        ("*/30 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T03:00", "2026-03-30T02:00", "2026-03-30T02:30"]),
        (
            "*/30 2 * * *", "2026-10-24T12:00Z",
            ["2026-10-25T02:00", "2026-10-25T02:30", "2026-10-26T02:00", "2026-10-26T02:30"]
        ),
    ])
    func eachTimeOnTheWallFiresOnceOverBothChanges(cron: String, from: String, times: [String]) throws {
        let bench = try ScheduleBench(at: from)
        try bench.write(
            "nightly.yaml",
            ScheduleBench.manifest("{cron: \"\(cron)\", time_zone: Europe/Berlin, catch_up: all}"))
        for step in 0..<(40 * 60 / 7) {
            if step % 10 == 0 { bench.restart() }
            // Back by an hour every now and then.
            if step % 50 == 49 {
                bench.advance(minutes: -60)
                try bench.look()
                bench.advance(minutes: 60)
            }
            try bench.look()
            bench.advance(minutes: 7)
        }
        #expect(try bench.fires().map { String($0.prefix(16)) } == times)
        #expect(try bench.fires().allSatisfy { $0.hasSuffix("accepted") || $0.hasSuffix("coalesced") })
    }

    /// Three nights are missed; a policy, and what came of them.
    @Test(arguments: [
        ("catch_up: none", ["missed", "missed", "missed"]), ("catch_up: latest", ["missed", "missed", "accepted"]),
        ("catch_up: latest, max_lateness: 1h", ["missed", "missed", "missed"]),
        ("catch_up: all, max_lateness: 7d", ["accepted", "accepted", "accepted"]),
        ("catch_up: all, max_lateness: 30h", ["missed", "accepted", "accepted"]),
    ])
    func whatIsMissedIsCaughtUpAsTheFileSays(policy: String, outcomes: [String]) throws {
        let bench = try ScheduleBench(at: "2026-06-09T12:00Z")
        let queueing = "run: {concurrency: {on_conflict: queue}}\n"
        try bench.write(
            "nightly.yaml",
            ScheduleBench.manifest("{cron: \"30 2 * * *\", time_zone: Europe/Berlin, \(policy)}", queueing))
        try bench.look()
        bench.restart()
        try bench.look("2026-06-12T02:00Z")
        #expect(try bench.fires().map { String($0.dropFirst(17)) } == outcomes)
        try bench.look()
        bench.restart()
        try bench.look("2026-06-12T02:01Z")
        #expect(try bench.jobs() == outcomes.count { $0 == "accepted" })
        // From the oldest to the newest.
        let occurrences = try bench.queue.read {
            try String.fetchAll(
                $0, sql: "SELECT occurrence FROM schedule_fire JOIN job ON job.id = job_id ORDER BY job.seq")
        }
        #expect(occurrences == occurrences.sorted())
        // On time is on time, whatever the policy.
        try bench.look("2026-06-13T00:31Z")
        #expect(try bench.fires().last == "2026-06-13T02:30 accepted")
    }

    @Test func leapDays() throws {
        let bench = try ScheduleBench(at: "2027-12-01T00:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest("{cron: \"0 0 29 2 *\", time_zone: UTC}"))
        for day in ["2028-02-28T00:00Z", "2028-02-29T00:00Z", "2028-03-01T00:00Z", "2029-03-01T00:00Z"] {
            try bench.look(day)
        }
        #expect(try bench.fires() == ["2028-02-29T00:00 accepted"])
    }

    @Test func twoDaemonsAtOnceMakeOneJob() async throws {
        let bench = try ScheduleBench(at: "2026-06-10T00:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin, "run: {concurrency: {on_conflict: queue}}\n"))
        try bench.look()
        let queues = try (0..<4).map { _ in try bench.other() }
        for day in 10...14 {
            bench.set("2026-06-\(day)T00:30Z")
            let configuration = bench.configuration
            try await withThrowingTaskGroup(of: Void.self) { group in
                for queue in queues {
                    group.addTask {
                        var scheduler = Scheduler(configuration, queue)
                        for _ in 0..<3 { _ = try scheduler.run(rescan: true) }
                    }
                }
                try await group.waitForAll()
            }
        }
        #expect(try bench.fires().count == 5)
        #expect(try bench.jobs() == 5)
        // One that has lost its lock cannot fire at all.
        let first = try queues[0].taken(by: 1, cores: 1)
        _ = try queues[1].taken(by: 2, cores: 1)
        bench.set("2026-06-15T00:30Z")
        var scheduler = Scheduler(bench.configuration, first)
        let error = #expect(throws: OrchestrationError.self) { try scheduler.run(rescan: true) }
        #expect(error?.code == .fenced)
        #expect(try bench.jobs() == 5)
    }

    @Test func whatFallsIntoAPauseNeverFires() throws {
        let bench = try ScheduleBench(at: "2026-06-09T12:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin))
        // Before any daemon has seen it.
        try bench.queue.setPaused(true, schedule: "nightly")
        try bench.look()
        try bench.look("2026-06-10T00:31Z")
        #expect(try bench.fires() == ["2026-06-10T02:30 skipped"])
        bench.set("2026-06-11T12:00Z")
        // The daemon is down when it is resumed.
        try bench.queue.setPaused(false, schedule: "nightly")
        bench.restart()
        try bench.look()
        #expect(try bench.fires().count == 1)
        try bench.look("2026-06-12T00:30Z")
        #expect(try bench.fires().last == "2026-06-12T02:30 accepted")
        try bench.write(
            "nightly.yaml", ScheduleBench.manifest("{cron: \"30 2 * * *\", time_zone: UTC, enabled: false}"))
        try bench.look("2026-06-13T12:00Z")
        try bench.look("2026-06-14T12:00Z")
        #expect(try bench.fires().count == 2)
    }

    @Test func aNewOrChangedFileNeverFiresForThePast() throws {
        let bench = try ScheduleBench(at: "2026-06-10T12:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest("{cron: \"30 2 * * *\", time_zone: UTC}"))
        try bench.look()
        bench.restart()
        bench.set("2026-06-12T12:00Z")
        // While no daemon ran: two nights have passed, and the file is another one.
        try bench.write("nightly.yaml", ScheduleBench.manifest("{cron: \"0 3 * * *\", time_zone: UTC}"))
        try bench.look()
        #expect(try bench.fires() == [])
        try bench.look("2026-06-13T03:00Z")
        #expect(try bench.fires() == ["2026-06-13T03:00 accepted"])
        // Removed and put back.
        let text = ScheduleBench.manifest("{cron: \"0 3 * * *\", time_zone: UTC}")
        try bench.remove("nightly.yaml")
        try bench.look("2026-06-14T01:00Z")
        try bench.look("2026-06-14T04:00Z")
        try bench.write("nightly.yaml", text)
        try bench.look("2026-06-14T05:00Z")
        #expect(try bench.fires().count == 1)
        // Written again without a change: nothing is lost.
        bench.restart()
        bench.set("2026-06-15T04:00Z")
        try bench.write("nightly.yaml", text)
        try bench.look()
        #expect(try bench.fires().last == "2026-06-15T03:00 coalesced")
    }

    @Test func aBrokenFileSaysSoBesideItAndStopsNoOther() throws {
        let bench = try ScheduleBench(at: "2026-06-09T12:00Z")
        try bench.write("bad.yaml", ScheduleBench.manifest("{cron: \"30 25 * * *\", time_zone: UTC}"))
        try bench.write("worse.yml", "nonsense")
        try bench.write(
            "nightly.json",
            "{\"name\": \"tone\", \"pipeline\": \"only\", \"base\": \"base\", "
                + "\"data\": \"data/*.jsonl\", \"schedule\": {\"cron\": \"30 2 * * *\", \"time_zone\": \"UTC\"}}")
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin))
        try bench.write("notes.txt", "not a schedule")
        try bench.look()
        let text = try String(contentsOf: bench.test.root("Jobs/schedules/bad.yaml.error.txt"), encoding: .utf8)
        #expect(text.contains("line 5") && text.contains("schedule.cron: hour: expected 0…23, got \"25\""), "\(text)")
        #expect(text.contains("It does not fire until it is mended."))
        let shadowed = try String(contentsOf: bench.test.root("Jobs/schedules/nightly.yaml.error.txt"), encoding: .utf8)
        #expect(shadowed.contains("nightly.json is a schedule of the same name"))
        #expect(bench.names().count { $0.hasSuffix(".error.json") } == 3)
        try bench.look("2026-06-10T02:30Z")
        #expect(try bench.fires() == ["2026-06-10T02:30 accepted"])
        #expect(try bench.jobs() == 1)

        try bench.write("bad.yaml", ScheduleBench.manifest("{cron: \"30 2 * * *\", time_zone: UTC}"))
        try bench.remove("worse.yml")
        try bench.remove("nightly.json")
        try bench.look("2026-06-10T12:00Z")
        #expect(bench.names() == ["bad.yaml", "nightly.yaml", "notes.txt"])
        #expect(try bench.fires("bad") == [])
        try bench.look("2026-06-11T02:30Z")
        #expect(try bench.fires("bad").count == 1)
        // The other file of the name is another schedule: it begins when it counts.
        #expect(try bench.fires().count == 2)
    }

    @Test func aBaseThatIsGoneIsTriedAgainAtTheNextTime() throws {
        let bench = try ScheduleBench(at: "2026-06-09T12:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin))
        try bench.look()
        try FileManager.default.moveItem(at: bench.test.root("base"), to: bench.test.root("away"))
        try bench.look("2026-06-10T00:30Z")
        #expect(try bench.fires() == ["2026-06-10T02:30 rejected"])
        let report = bench.test.root("Jobs/schedules/nightly.yaml.error.txt")
        let text = try String(contentsOf: report, encoding: .utf8)
        #expect(text.contains("base") && text.contains("It is tried again at its next time."), "\(text)")
        try FileManager.default.moveItem(at: bench.test.root("away"), to: bench.test.root("base"))
        try bench.look("2026-06-10T01:30Z")
        #expect(try bench.jobs() == 0)
        try bench.look("2026-06-11T00:30Z")
        #expect(try bench.fires() == ["2026-06-10T02:30 rejected", "2026-06-11T02:30 accepted"])
        #expect(!FileManager.default.fileExists(atPath: report.path))
    }

    @Test func keysAndConflictsHoldAsForDroppedFiles() throws {
        let bench = try ScheduleBench(at: "2026-06-09T12:00Z")
        try bench.write(
            "nightly.yaml",
            ScheduleBench.manifest(
                "{cron: \"0 */12 * * *\", time_zone: UTC}",
                "run: {idempotency_key: 'tone-{{ date }}', concurrency: {on_conflict: queue}}\n"))
        try bench.write(
            "strict.yaml",
            ScheduleBench.manifest(
                "{cron: \"5 0 * * *\", time_zone: UTC}", "run: {concurrency: {on_conflict: reject}}\n"))
        try bench.look()
        try bench.look("2026-06-10T00:01Z")
        try bench.look("2026-06-10T00:05Z")
        try bench.look("2026-06-10T12:01Z")
        try bench.look("2026-06-11T00:01Z")
        #expect(
            try bench.fires() == [
                "2026-06-10T00:00 accepted", "2026-06-10T12:00 duplicate", "2026-06-11T00:00 accepted",
            ])
        let keys = try bench.queue.read {
            try String.fetchAll($0, sql: "SELECT idempotency_key FROM job ORDER BY seq")
        }
        #expect(keys == ["tone-2026-06-10", "tone-2026-06-11"])
        #expect(try bench.fires("strict") == ["2026-06-10T00:05 rejected"])
        #expect(bench.names().contains("strict.yaml.error.json"))
        #expect(try bench.queue.integrityProblems() == [])
    }

    @Test func onlyTheOwnerOfTheFileMayPauseItOrRunIt() throws {
        let bench = try ScheduleBench(at: "2026-06-09T12:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin))
        let read = try ScheduleFolder(bench.test.workspace).entries(bench.configuration.readSchedule)
        let file = try #require(read.first)
        let entry = ScheduleEntry(id: file.id, url: file.url, bytes: file.bytes, ownerID: 4001, file: file.file)
        let submission = try entry.submission(at: Occurrence(at: Date(timeIntervalSince1970: 0), in: .gmt))
        for verb: (UInt32) throws -> Void in [
            { try bench.queue.setPaused(true, schedule: entry, as: $0) },
            { _ = try bench.queue.runSchedule(entry, submission, as: $0) },
        ] {
            let error = #expect(throws: OrchestrationError.self) { try verb(4002) }
            #expect(error?.code == .permission && error?.description.contains("user 4001") == true)
            #expect(try bench.jobs() == 0 && bench.queue.schedules().isEmpty)
        }
        try bench.queue.setPaused(false, schedule: entry, as: 4001)
        _ = try bench.queue.runSchedule(entry, submission, as: 4001)
        #expect(try bench.jobs() == 1)
    }

    @Test func occurrencesAreForgottenAfterMoreThanAYear() throws {
        let bench = try ScheduleBench(at: "2025-01-01T12:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin))
        try bench.look()
        try bench.look("2025-01-02T12:00Z")
        try bench.look("2025-06-01T12:00Z")
        let before = try bench.fires().count
        #expect(before > 2)
        try bench.look("2026-02-20T12:00Z")
        let rows = try bench.queue.read {
            try String.fetchAll($0, sql: "SELECT occurrence FROM schedule_fire ORDER BY occurrence")
        }
        // What was recorded on the second of January last year is gone, what was in June is not.
        #expect(rows.first.map { $0 >= "2025-01-03" } == true, "\(rows.prefix(3))")
        #expect(rows.contains { $0.hasPrefix("2025-06-01") })
    }

    @Test func byHandAtAnyTime() throws {
        let bench = try ScheduleBench(at: "2026-06-09T12:00Z")
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin, "run: {concurrency: {on_conflict: queue}}\n"))
        let entry = try #require(
            try ScheduleFolder(bench.test.workspace).entries(bench.configuration.readSchedule).first)
        let now = Date(timeIntervalSince1970: Double(bench.queue.now()) / 1000)
        let fire = try bench.queue.runSchedule(entry, entry.submission(at: Occurrence(at: now, in: .gmt)))
        #expect(fire.outcome == .accepted && fire.occurrence == "manual-\(fire.job ?? "")")
        try bench.look()
        try bench.look("2026-06-10T00:30Z")
        #expect(try bench.jobs() == 2)
        #expect(try bench.queue.schedules()["nightly"]?.last?.occurrence == "2026-06-10T02:30[Europe/Berlin]")
    }

    @Test func withoutRoomNothingFiresAndNothingIsLost() throws {
        let bench = try ScheduleBench(at: "2026-06-09T12:00Z")
        let box = FreeSpace()
        bench.configuration.freeBytes = { _ in box.bytes.withLock { $0 } }
        bench.restart()
        try bench.write("nightly.yaml", ScheduleBench.manifest(berlin))
        try bench.look()
        box.bytes.withLock { $0 = 0 }
        try bench.look("2026-06-10T00:30Z")
        #expect(try bench.fires() == [])
        box.bytes.withLock { $0 = 1 << 40 }
        try bench.look("2026-06-10T03:00Z")
        #expect(try bench.fires() == ["2026-06-10T02:30 accepted"])
    }

    private final class FreeSpace: Sendable { let bytes = Mutex<Int64>(1 << 40) }

    @Test func aFileThatIsBeingWrittenIsWaitedFor() throws {
        let bench = try ScheduleBench(at: "2026-06-09T12:00Z")
        bench.configuration.settle = 3600
        bench.restart()
        try bench.look()
        try bench.write("nightly.yaml", "name: to")
        let wait = try #require(try bench.look())
        #expect(wait > 0 && wait <= 3600)
        #expect(bench.names() == ["nightly.yaml"])
        #expect(try bench.queue.schedules().isEmpty)
    }

    /// The daemon itself, on the real clock: what was due an hour ago is caught up at its start.
    @Test func theDaemonFires() async throws {
        let bench = try ScheduleBench(at: "2026-06-09T12:00Z")
        try bench.write(
            "nightly.yaml", ScheduleBench.manifest("{cron: \"* * * * *\", time_zone: UTC}", "run: {hold: true}\n"))
        let entry = try #require(
            try ScheduleFolder(bench.test.workspace).entries(bench.configuration.readSchedule).first)
        let now = JobQueue.wallClock()
        try bench.queue.defineSchedule("nightly", entry.digest, since: now - 3_600_000, nil)
        try await withDaemon(bench.configuration) { _ in
            try await eventually("the schedule has fired") { (try? bench.queue.list().isEmpty) == false }
        }
        #expect(try bench.queue.list().map(\.state) == [.held])
        #expect(try bench.fires().count { $0.hasSuffix("missed") } >= 58)
        let status = try WorkspaceStatus(of: bench.test.workspace, queue: bench.queue)
        #expect(status.nextSchedule?.schedule == "nightly")
    }
}
