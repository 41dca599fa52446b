import Artifacts
import Foundation
import GRDB
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// A world that misbehaves: each trouble ends in a clear state, and in progress without hands once it is over.
@Suite(.serialized, .timeLimit(.minutes(30))) struct AdversityTests {
    private let often = ["LORAJOBS_CHECKPOINT_SECONDS": "0.2"]

    private func sound(_ shop: Workshop, at location: SourceLocation = #_sourceLocation) throws {
        let found = try Invariants(Workspace(root: shop.root)).violations()
        #expect(found == [], sourceLocation: location)
    }

    /// Expects a log that a person can read: not one line for every turn of a loop that gets nowhere.
    private func expectCalm(
        _ talk: String, since begin: ContinuousClock.Instant, at location: SourceLocation = #_sourceLocation
    ) {
        let seconds = Int((ContinuousClock.now - begin).components.seconds)
        #expect(talk.split(separator: "\n").count < 60 + 3 * seconds, "\(talk)", sourceLocation: location)
    }

    private func database<T>(_ shop: Workshop, _ body: (Database) throws -> T) throws -> T {
        let queue = try DatabaseQueue(path: shop.url("Jobs/lorajobs.sqlite").path)
        defer { try? queue.close() }
        return try queue.write(body)
    }

    // MARK: Two daemons

    @Test func aSecondDaemonIsToldWhoTheFirstIs() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon()
        let first = try #require(shop.daemon).pid
        let program = shop.program
        let ends = try await withThrowingTaskGroup(of: Program.Outcome.self) { group in
            for _ in 0..<20 { group.addTask { try await program.run("daemon") } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        for end in ends { #expect(end.status == 75 && end.talk.contains("process \(first) "), "\(end)") }
        try shop.drop(shop.manifest(), as: "tone.yaml")
        #expect(try await shop.ended()["adapter"] == "tone:1")
        try sound(shop)
    }

    @Test func aDaemonWhoseLockWasRemovedStopsWithoutTouchingAnything() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon(shop.stoppingAtCheckpoint)
        let first = try #require(shop.daemon)
        try shop.drop(shop.manifest(), as: "tone.yaml")
        let id = try await shop.id()
        let worker = try await shop.trainingStoppedAtCheckpoint(id)
        // Stopped, so that it wakes up in a world that has gone on without it.
        first.signal(SIGSTOP)
        unlink(shop.url("Jobs/.daemon.lock").path)
        try await shop.startDaemon(often)
        try shop.drop(shop.manifest("late"), as: "late.yaml")
        first.signal(SIGCONT)
        let end = try await first.outcome()
        #expect(end.status == 75 && end.talk.contains("another daemon has taken over"), "\(end)")
        kill(worker, SIGCONT)
        let job = try await shop.ended()
        #expect(job["state"] == "succeeded" && job["adapter"] == "tone:1", "\(job)")
        #expect(try await shop.ended("late")["adapter"] == "late:1")
        #expect(try shop.names(in: "Jobs/runs/\(id)").filter { $0.hasPrefix("train.") } == ["train.1"])
        try sound(shop)
    }

    // MARK: Workers that are not what they seem

    /// A worker that was taken for dead, by a lock that was lost and a machine that was restarted, wakes up and ends.
    @Test func theLateResultOfAZombieChangesNothing() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon(shop.stoppingAtCheckpoint)
        try shop.drop(shop.manifest(), as: "tone.yaml")
        let id = try await shop.id()
        let zombie = try await shop.trainingStoppedAtCheckpoint(id)
        try await shop.endDaemon(SIGKILL)
        unlink(shop.url("Jobs/runs/\(id)/train.1/worker.lock").path)
        try database(shop) { try $0.execute(sql: "UPDATE attempt SET boot_id = 'before' WHERE ended_ms IS NULL") }
        try await shop.startDaemon(often)
        let job = try await shop.ended()
        #expect(job["state"] == "succeeded" && job["adapter"] == "tone:1", "\(job)")
        let weights = shop.url("Artifacts/adapters/tone/1/adapter_model.safetensors")
        let bytes = try Data(contentsOf: weights)

        kill(zombie, SIGCONT)
        try await shop.until("the zombie has ended") { kill(zombie, 0) != 0 || self.isDead(zombie) }
        #expect(FileManager.default.fileExists(atPath: shop.url("Jobs/runs/\(id)/train.1/result.json").path))
        try await shop.endDaemon(SIGTERM)
        try await shop.startDaemon()
        #expect(try Data(contentsOf: weights) == bytes && shop.versions() == [1])
        let states = try database(shop) { db in
            try String.fetchAll(
                db, sql: "SELECT state FROM attempt WHERE stage_id LIKE '%/train' ORDER BY n")
        }
        #expect(states == ["lost", "succeeded"])
        try sound(shop)
    }

    /// Whether only the exit status of a process is left.
    private func isDead(_ pid: Int32) -> Bool { WorkerProcess.startTime(pid) == nil }

    /// The power cord: daemon and worker at once, and the next start under another kernel.
    @Test func aRestartOfTheMachineCostsAtMostACheckpointInterval() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon(shop.stoppingAtCheckpoint)
        try shop.drop(shop.manifest(), as: "tone.yaml")
        let id = try await shop.id()
        let worker = try await shop.trainingStoppedAtCheckpoint(id)
        try await shop.endDaemon(SIGKILL)
        kill(worker, SIGKILL)
        try database(shop) { try $0.execute(sql: "UPDATE attempt SET boot_id = 'before' WHERE ended_ms IS NULL") }
        try await shop.startDaemon(often)
        #expect(try await shop.ended()["adapter"] == "tone:1")
        let log = try shop.text("Jobs/runs/\(id)/train.2/log.txt")
        #expect(log.contains("continuing after step"), "\(log)")
        let row = try database(shop) { db in
            try Row.fetchOne(
                db,
                sql: """
                    SELECT a.state, s.user_attempts AS charged FROM attempt AS a JOIN stage_run AS s ON s.id = a.stage_id
                    WHERE s.name = 'train' AND a.n = 1
                    """)
        }
        #expect(row?["state"] == "lost" && row?["charged"] == 0)
        try sound(shop)
    }

    // MARK: File systems

    /// Mounts a folder over itself, to read only; what `end` undoes.
    private func readOnly(_ folder: URL, test: String = #function) async throws -> (() async throws -> Void)? {
        func run(_ program: String, _ arguments: String...) async throws -> Int32 {
            try await Running(
                URL(filePath: program), arguments, in: URL(filePath: "/"), environment: [:], input: ""
            ).outcome().status
        }
        guard try await run("/bin/mount", "--bind", folder.path, folder.path) == 0 else {
            FileHandle.standardError.write(Data("*** SKIPPED *** \(test): cannot mount here\n".utf8))
            return nil
        }
        guard try await run("/bin/mount", "-o", "remount,bind,ro", folder.path) == 0 else {
            _ = try await run("/bin/umount", folder.path)
            FileHandle.standardError.write(Data("*** SKIPPED *** \(test): cannot mount read-only here\n".utf8))
            return nil
        }
        return {
            let status = try await run("/bin/umount", folder.path)
            #expect(status == 0)
        }
    }

    @Test func aStoreThatCannotBeWrittenIsWaitedFor() async throws {
        guard let shop = try await Workshop.make() else { return }
        let begin = ContinuousClock.now
        try await shop.startDaemon(["LORAJOBS_RETRY_SECONDS": "1"])
        let daemon = try #require(shop.daemon)
        guard let end = try await readOnly(shop.url("Artifacts")) else { return }
        try shop.drop(shop.manifest(), as: "tone.yaml")
        let id = try await shop.id()
        try await shop.until("the first stage has ended") {
            FileManager.default.fileExists(atPath: shop.url("Jobs/runs/\(id)/tokenize.1/result.json").path)
        }
        try await Task.sleep(for: .seconds(3))
        let status = try await shop.program.run("status", "--all", "--json").json()
        let state = try #require(status["jobs"]?.elements.first?["state"]?.word)
        #expect(["running", "retry_wait", "queued"].contains(state), "\(status)")
        try await end()
        let job = try await shop.ended()
        #expect(job["state"] == "succeeded" && job["adapter"] == "tone:1", "\(job)")
        daemon.signal(SIGTERM)
        let talk = try await daemon.outcome().talk
        #expect(talk.contains("Read-only file system"), "\(talk)")
        expectCalm(talk, since: begin)
        try sound(shop)
    }

    @Test func anInboxThatCannotBeWrittenIsWaitedFor() async throws {
        guard let shop = try await Workshop.make() else { return }
        let begin = ContinuousClock.now
        // Without a watcher: nothing tells it that the trouble is over.
        let alone = shop.outside.appending(path: "lorajobs")
        try FileManager.default.copyItem(at: shop.program.executable, to: alone)
        try await shop.startDaemon(executable: alone)
        let daemon = try #require(shop.daemon)
        daemon.signal(SIGSTOP)
        try shop.drop(shop.manifest(), as: "tone.yaml")
        guard let end = try await readOnly(shop.url("Jobs/inbox")) else { return daemon.signal(SIGCONT) }
        daemon.signal(SIGCONT)
        // What is submitted by id does not need the inbox; what runs goes on.
        try await Task.sleep(for: .seconds(3))
        #expect(try await shop.program.run("status").status == 0)
        #expect(try shop.names(in: "Jobs/inbox") == ["tone.yaml"])
        try await end()
        #expect(try await shop.ended()["adapter"] == "tone:1")
        daemon.signal(SIGTERM)
        let talk = try await daemon.outcome().talk
        #expect(talk.contains("tone.yaml"), "\(talk)")
        expectCalm(talk, since: begin)
        try sound(shop)
    }

    @Test func aWorkspaceThatCannotBeWrittenCanBeLookedAt() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(shop.manifest(), to: "tone.yaml")
        #expect(try await shop.program.run("run", "tone.yaml").status == 0)
        guard let end = try await readOnly(shop.root) else { return }
        let status = try await shop.program.run("status", "--all", "--json")
        #expect(status.status == 0 && status.output.contains("tone:1"), "\(status)")
        let daemon = try await shop.program.run("daemon")
        #expect([73, 74].contains(daemon.status) && daemon.talk.contains("Read-only file system"), "\(daemon)")
        let submit = try await shop.program.run("submit", "tone.yaml")
        #expect(submit.status == 73 && submit.talk.contains("Read-only file system"), "\(submit)")
        try await end()
        try await shop.startDaemon()
        try shop.drop(shop.manifest("other"), as: "other.yaml")
        #expect(try await shop.ended("other")["adapter"] == "other:1")
        try sound(shop)
    }

    // MARK: A damaged database

    @Test(arguments: ["header", "pages"])
    func aDamagedDatabaseIsSaidAndItsCopyGoesOn(_ part: String) async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon()
        try shop.drop(shop.manifest(), as: "tone.yaml")
        #expect(try await shop.ended()["adapter"] == "tone:1")
        try await shop.endDaemon(SIGTERM)
        let file = shop.url("Jobs/lorajobs.sqlite")
        let copy = try Data(contentsOf: file)
        var bytes = copy
        let places = part == "header" ? [0] : Array(stride(from: 4096, to: bytes.count, by: 4096))
        for place in places { for index in place..<place + 64 { bytes[index] ^= 0xFF } }
        try bytes.write(to: file)

        for arguments in [["status", "--all"], ["daemon"], ["show", "tone"]] {
            let end = try await shop.program.run(arguments)
            #expect([74, 78].contains(end.status), "\(arguments): \(end)")
            #expect(end.talk.contains("lorajobs.sqlite"), "\(arguments): \(end)")
        }
        try copy.write(to: file)
        try await shop.startDaemon()
        try shop.drop(shop.manifest("other"), as: "other.yaml")
        #expect(try await shop.ended("other")["adapter"] == "other:1")
        try sound(shop)
    }

    // MARK: Watchers and bursts

    @Test func aStoppedWatcherLosesNothing() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon()
        let daemon = try #require(shop.daemon)
        try await shop.until("the watcher is ready") {
            try await shop.program.run("status", "--json").json()["daemon"]?["watching"] == true
        }
        let watcher = try #require(Processes.watcher(of: daemon.pid))
        kill(watcher, SIGSTOP)
        try shop.drop(shop.manifest(), as: "tone.yaml")
        // The look at the whole inbox that comes every half minute finds it.
        #expect(try await shop.ended(within: 120)["adapter"] == "tone:1")
        kill(watcher, SIGCONT)
    }

    @Test(arguments: [
        "echo nonsense; sleep 100", "echo ready; echo nonsense; sleep 100",
        "while :; do echo ready; done | head -100000",
        "head -c 1000000 /dev/urandom", "echo ready; sleep 100", "exit 1",
    ])
    func aWatcherThatTalksRubbishLosesNothing(_ script: String) async throws {
        guard let shop = try await Workshop.make() else { return }
        let begin = ContinuousClock.now
        let alone = shop.outside.appending(path: "lorajobs")
        try FileManager.default.copyItem(at: shop.program.executable, to: alone)
        let watcher = shop.outside.appending(path: "lorajobs-inotify")
        try Data("#!/bin/sh\n\(script)\n".utf8).write(to: watcher)
        chmod(watcher.path, 0o755)
        try await shop.startDaemon(executable: alone)
        try shop.drop(shop.manifest(), as: "tone.yaml")
        #expect(try await shop.ended(within: 120)["adapter"] == "tone:1")
        let daemon = try #require(shop.daemon)
        daemon.signal(SIGTERM)
        let talk = try await daemon.outcome().talk
        expectCalm(talk, since: begin)
    }

    /// More events than the kernel keeps: what it forgets, the listing has.
    @Test func aBurstIsTakenWhole() async throws {
        guard let run = try await Survival.make("burst") else { return }
        let count = Soak.isOn ? 20_000 : 500
        let draft = run.shop.url("Jobs/drafts")
        try FileManager.default.createDirectory(at: draft, withIntermediateDirectories: true)
        try await run.shop.startDaemon()
        try await run.shop.until("the watcher is ready") {
            try await run.shop.program.run("status", "--json").json()["daemon"]?["watching"] == true
        }
        for index in 0..<count {
            try Data(run.manifest("burst-\(index)", more: ", hold: true").utf8)
                .write(to: draft.appending(path: "\(index).yaml"))
        }
        let inbox = run.shop.url("Jobs/inbox").path
        for index in 0..<count {
            #expect(rename(draft.appending(path: "\(index).yaml").path, "\(inbox)/\(index).yaml") == 0)
        }
        try await run.shop.until("all are jobs", within: 3000) {
            try run.query { try Int.fetchOne($0, sql: "SELECT count(*) FROM intake WHERE filed_ms IS NOT NULL") }
                == count
        }
        #expect(try run.query { try Int.fetchOne($0, sql: "SELECT count(*) FROM job WHERE state = 'held'") } == count)
        #expect(try run.shop.names(in: "Jobs/inbox").isEmpty)
        try sound(run.shop)
    }

    // MARK: Clocks

    @Test(arguments: [0, 2_147_483_648, 4_294_967_296 + 86_400, 159_564_643_200])
    func aFileOfAnyYearIsTaken(_ seconds: Int) async throws {
        guard let run = try await Survival.make("mtime \(seconds)") else { return }
        try run.shop.write(run.manifest("tone"), to: "Jobs/inbox/tone.yaml")
        run.note(drops: 1)
        var times = [timespec(tv_sec: seconds, tv_nsec: 0), timespec(tv_sec: seconds, tv_nsec: 0)]
        _ = utimensat(AT_FDCWD, run.shop.url("Jobs/inbox/tone.yaml").path, &times, 0)
        _ = utimensat(AT_FDCWD, run.shop.url("data/small.txt").path, &times, 0)
        try await run.live()
        try run.expectSound()
    }
}
