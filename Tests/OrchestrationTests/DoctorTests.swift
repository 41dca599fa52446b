import Artifacts
import Foundation
import GRDB
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// Each check is made to fire once, and what is repaired is sound afterwards.
@Suite struct DoctorTests {
    /// A workspace in which one job has succeeded, one was rejected, and no daemon runs.
    private func workspace() async throws -> (TestWorkspace, job: String) {
        let test = try TestWorkspace()
        try test.submit("nonsense\n", name: "bad.yaml")
        let id = try test.submit("name: tone\n")
        try await withDaemon(test.configuration()) { _ in _ = try await test.end(of: id) }
        return (test, id)
    }

    private func doctor(_ test: TestWorkspace) -> Doctor {
        var configuration = test.configuration()
        configuration.watcher = URL(filePath: "/bin/true")
        // The example pipelines evaluate.
        configuration.descriptors.append(
            StageDescriptor(kind: "evaluate", version: 1, manifestKeys: [], inputs: [], requires: ["train"]))
        configuration.readSchedule = { _ in
            ScheduleFile(definition: nil, manifest: .failure(InvalidFile([Finding(.invalidValue, "no such time")])))
        }
        var doctor = Doctor(configuration)
        doctor.machine.fileSystem = { _ in 0xEF53 }
        doctor.machine.inotifyLimit = { _ in 65_536 }
        return doctor
    }

    /// Codes of what is not in order.
    private func codes(_ doctor: Doctor, _ verdict: Diagnosis.Verdict) -> [String] {
        doctor.examine().filter { $0.verdict == verdict }.map(\.code)
    }

    @Test func aSoundWorkspaceIsInOrder() async throws {
        let (test, _) = try await workspace()
        let found = doctor(test).examine()
        #expect(found.allSatisfy { $0.verdict == .ok }, "\(found.filter { $0.verdict != .ok })")
        #expect(Set(found.map(\.code)).count == 17)
        try await withDaemon(test.configuration()) { _ in
            try await eventually("the daemon runs") { try DaemonLock.holder(of: test.workspace) != nil }
            let found = doctor(test).examine().filter { $0.verdict != .ok }
            #expect(found.isEmpty, "\(found)")
        }
        // Before the first daemon there is no queue, and that is in order too.
        let new = try TestWorkspace()
        #expect(!codes(doctor(new), .problem).contains("database"))
    }

    @Test func whatPeopleWriteIsChecked() async throws {
        let (test, _) = try await workspace()
        try Data("rots: []\n".utf8).write(to: test.workspace.settings)
        try Data("version: 1\nname: broken\nstages: {a: {uses: nothing}}\n".utf8)
            .write(to: test.workspace.pipeline("broken"))
        try Data("name: tone\n".utf8).write(to: test.workspace.schedules.appending(path: "nightly.yaml"))
        let found = doctor(test).examine().filter { $0.verdict == .problem }
        #expect(Set(found.map(\.code)) == ["settings", "pipelines", "schedules"], "\(found)")
        #expect(found.allSatisfy { $0.kind == .configuration })
        #expect(found.contains { $0.message.contains("lorajobs.yaml, line 1") }, "\(found)")
        for name in ["broken", "finetune", "pretrain"] { unlink(test.workspace.pipeline(name).path) }
        #expect(codes(doctor(test), .warning) == ["pipelines"])
    }

    @Test func foldersAreChecked() async throws {
        let (test, _) = try await workspace()
        chmod(test.workspace.inbox.path, 0o777)
        #expect(codes(doctor(test), .problem) == ["folders"])
        chmod(test.workspace.inbox.path, 0o1777)
        #expect(codes(doctor(test), .problem) == [])
        chmod(test.workspace.claimed.path, 0o770)
        #expect(codes(doctor(test), .problem) == ["folders"])
        chmod(test.workspace.claimed.path, 0o755)
        #expect(codes(doctor(test), .warning) == ["folders"])
        chmod(test.workspace.claimed.path, 0o700)
        rmdir(test.workspace.schedules.path)
        #expect(codes(doctor(test), .problem) == ["folders"])
    }

    @Test func theMachineIsChecked() async throws {
        let (test, _) = try await workspace()
        var doctor = doctor(test)
        doctor.machine.fileSystem = { _ in 0x6969 }
        doctor.machine.device = { $0.hasSuffix("accepted") ? 7 : $0.hasSuffix("Artifacts") ? 8 : 1 }
        doctor.machine.inotifyLimit = { $0 == "max_user_instances" ? 1 : nil }
        let problems = codes(doctor, .problem)
        #expect(problems == ["devices", "filesystem"])
        #expect(codes(doctor, .warning) == ["devices", "filesystem", "inotify", "inotify", "inotify"])
        doctor = self.doctor(test)
        doctor.machine.fileSystem = { _ in 0x6573_5546 }
        #expect(codes(doctor, .problem) == [])
        #expect(codes(doctor, .warning) == ["filesystem"])

        var configuration = test.configuration()
        configuration.watcher = nil
        configuration.freeBytes = { _ in 1 << 10 }
        var alone = Doctor(configuration)
        alone.machine = self.doctor(test).machine
        #expect(codes(alone, .problem).contains("space") && codes(alone, .warning).contains("watcher"))
        alone = self.doctor(test)
        alone.now = Date(timeIntervalSinceNow: -86_400)
        #expect(codes(alone, .warning) == ["clock"])
    }

    @Test func theQueueIsChecked() async throws {
        let (test, _) = try await workspace()
        let file = test.workspace.database
        func change(_ sql: String) throws {
            let database = try DatabaseQueue(path: file.path)
            try database.writeWithoutTransaction { try $0.execute(sql: sql) }
            try database.close()
        }
        try change("PRAGMA journal_mode = DELETE")
        #expect(codes(doctor(test), .warning) == ["database.journal"])
        try change("PRAGMA user_version = 99")
        #expect(codes(doctor(test), .problem).contains("database.identity"))
        try change("PRAGMA user_version = \(QueueSchema.version)")
        try test.queue().close()
        let sound = try Data(contentsOf: file)
        var bytes = sound
        for place in stride(from: 4096, to: bytes.count, by: 4096) {
            for index in place..<place + 64 { bytes[index] ^= 0xFF }
        }
        try bytes.write(to: file)
        var found = doctor(test).examine().filter { $0.verdict == .problem }
        #expect(found.first?.code == "database.integrity" && found.first?.kind == .data, "\(found)")
        #expect(found.first?.advice == "lorajobs doctor --rebuild")
        #expect(throws: OrchestrationError.self) { try doctor(test).repair { _ in } }
        unlink(file.path)
        found = doctor(test).examine().filter { $0.verdict == .problem }
        #expect(found.contains { $0.code == "database" }, "\(found)")
        try sound.write(to: file)
        #expect(codes(doctor(test), .problem) == [])
    }

    @Test func leftoversAreChecked() async throws {
        let (test, _) = try await workspace()
        let inbox = test.workspace.inbox
        try Data("x".utf8).write(to: inbox.appending(path: ".half.yaml.tmp"))
        try Data("x".utf8).write(to: inbox.appending(path: ".job.yaml.\(ULID()).tmp"))
        try Data("x".utf8).write(to: inbox.appending(path: "notes.txt"))
        try Data("x".utf8).write(to: inbox.appending(path: "late.yaml"))
        let stray = test.workspace.runs.appending(path: ULID().description)
        try FileManager.default.createDirectory(at: stray, withIntermediateDirectories: true)
        let scratch = test.workspace.artifacts.appending(path: "tmp/old")
        try FileManager.default.createDirectory(at: scratch, withIntermediateDirectories: true)
        try Data("name: x\n".utf8).write(to: test.workspace.claimed.appending(path: "\(ULID())__x.yaml"))
        #expect(codes(doctor(test), .warning) == ["claimed", "runs"], "they are young")
        var later = doctor(test)
        later.now = Date(timeIntervalSinceNow: 2 * 86_400)
        #expect(
            codes(later, .warning) == ["inbox", "inbox", "inbox", "claimed", "runs", "temporaries", "temporaries"])
    }

    @Test func aHolderThatIsNotThereIsNamed() async throws {
        let (test, _) = try await workspace()
        let lock = try DaemonLock(test.workspace)
        try lock.write(
            DaemonLock.Note(pid: 4_190_000, startedAt: Date(), intakePaused: "disk full", isWatching: false))
        #expect(codes(doctor(test), .warning) == ["daemon", "daemon"])
        withExtendedLifetime(lock) {}
    }

    @Test func whatCanBeRepairedIs() async throws {
        let (test, id) = try await workspace()
        let store = ArtifactStore(test.workspace.artifacts)
        try store.setAlias("production", to: ArtifactReference("tone:1"), reason: "test")
        let filed = try #require(test.files(test.workspace.accepted, ending: "\(id)__job.yaml").first)
        let path = test.workspace.accepted.appending(path: filed)
        // A receipt is gone, a rejected file is gone, an alias was moved by hand, a cached output was written to.
        unlink(path.path + ".receipt.json")
        let bad = try #require(test.files(test.workspace.rejected, ending: "bad.yaml").first)
        unlink(test.workspace.rejected.appending(path: bad).path)
        unlink(test.workspace.artifacts.appending(path: "adapters/tone/production").path)
        let output = try #require(
            test.files(test.workspace.artifacts.appending(path: "cache"), ending: "train.txt").first)
        let cached = test.workspace.artifacts.appending(path: "cache/\(output)")
        chmod(cached.path, 0o644)
        try Data("wrong".utf8).write(to: cached, options: [])
        let claim = ULID().description
        try Data("name: tone\nseed: 2\nhold: yes\n".utf8)
            .write(to: test.workspace.claimed.appending(path: "\(claim)__late.yaml"))
        let litter = test.workspace.inbox.appending(path: ".job.yaml.\(ULID()).tmp")
        try Data("x".utf8).write(to: litter)
        #expect(codes(doctor(test), .problem).sorted().contains("I8"))

        var later = doctor(test)
        later.now = Date(timeIntervalSinceNow: 2 * 86_400)
        var said: [String] = []
        let count = try later.repair { said.append($0) }
        #expect(count == said.count && count == 6, "\(said)")
        #expect(codes(doctor(test), .problem) == [], "\(doctor(test).examine().filter { $0.verdict != .ok })")
        #expect(access(path.path + ".receipt.json", F_OK) == 0 && access(litter.path, F_OK) != 0)
        #expect(try Data(contentsOf: test.workspace.rejected.appending(path: bad)) == Data("nonsense\n".utf8))
        #expect(try test.status(claim).state == .held)
        #expect(!test.files(test.workspace.artifacts.appending(path: "trash"), ending: "train.txt").isEmpty)
        #expect(try later.repair { said.append($0) } == 0, "\(said)")
        // The stage whose output went to the trash runs again when it is wanted.
        try await withDaemon(test.configuration()) { _ in
            let again = try test.submit("name: tone\n")
            #expect(try await test.end(of: again).state == .succeeded)
        }
    }

    @Test func whatTheSchedulerReadsIsCountedAnew() async throws {
        let (test, _) = try await workspace()
        let queue = try test.queue()
        try queue.setPaused(true, queue: "default")
        let waits = try test.submit("name: waits\n")
        var inbox = Inbox(test.configuration(), queue)
        _ = try inbox.scan(movedIn: [])
        try queue.write {
            try $0.execute(sql: "UPDATE job_count SET n = n + 7; UPDATE job SET leads = 0, open_needs = 2")
        }
        try queue.close()
        #expect(Set(codes(doctor(test), .problem)) == ["I11"])
        var said: [String] = []
        #expect(try doctor(test).repair { said.append($0) } == 1, "\(said)")
        #expect(codes(doctor(test), .problem) == [])
        let leads = try test.queue().read {
            try Bool.fetchOne($0, sql: "SELECT leads FROM job WHERE id = ?", arguments: [waits])
        }
        #expect(leads == true)
    }

    @Test func repairsWaitForTheDaemonToEnd() async throws {
        let (test, _) = try await workspace()
        try await withDaemon(test.configuration()) { _ in
            try await eventually("the daemon runs") { try DaemonLock.holder(of: test.workspace) != nil }
            let error = #expect(throws: OrchestrationError.self) { try doctor(test).repair { _ in } }
            #expect(error?.code == .busy)
        }
    }
}
