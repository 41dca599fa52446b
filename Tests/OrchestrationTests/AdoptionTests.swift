import Artifacts
import Foundation
import GRDB
import Glibc
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

private let untilGo = "while [ ! -f \"$root/go\" ]; do sleep 0.05; done\n"

/// Daemons that end, gently or not, while a worker runs.
@Suite struct AdoptionTests {
    private func go(_ test: TestWorkspace) throws { try Data().write(to: test.root("go")) }

    @Test func aWorkerOutlivesItsDaemonAndIsAdopted() async throws {
        let test = try TestWorkspace()
        try test.behave("train", untilGo)
        let id = try test.submit("name: tone\n")
        let pid = try await withDaemon(test.configuration()) { _ in try await test.runningPID(id, stage: "train") }
        #expect(WorkerProcess.startTime(pid) != nil)
        #expect(try DaemonLock.holder(of: test.workspace) == nil)
        #expect(try test.status(id).state == .running, "status works with the daemon down")
        let end = try await withDaemon(test.configuration()) { _ in
            try await eventually("the second daemon runs") { try DaemonLock.holder(of: test.workspace) != nil }
            #expect(try await test.runningPID(id, stage: "train") == pid)
            try go(test)
            return try await test.end(of: id)
        }
        #expect(end.state == .succeeded)
        #expect(test.started() == ["tokenize", "train", "package"])
        #expect(try test.queue().show(id).stages[1].attempts.map(\.state) == [.succeeded])
        #expect(try test.versions == [1])
    }

    @Test func aDaemonKilledAtOnceLosesNothing() async throws {
        let test = try TestWorkspace()
        try test.behave("package", untilGo)
        let id = try test.submit("name: tone\n")
        let root = test.workspace.root.path
        await #expect(processExitsWith: .signal(SIGKILL)) { [root = root as String, id = id as String] in
            let test = TestWorkspace(existing: root)
            try await withDaemon(test.configuration()) { _ async throws -> Void in
                _ = try await test.runningPID(id, stage: "package")
                kill(getpid(), SIGKILL)
            }
        }
        let pid = try await test.runningPID(id, stage: "package")
        #expect(WorkerProcess.startTime(pid) != nil)
        // The worker ends while no daemon runs.
        try go(test)
        let attempt = try #require(try test.queue().drivenJob(id).live)
        try await eventually("the worker is gone") { WorkerProcess.startTime(pid) == nil }
        #expect(try attempt.directory.readResult() != nil)
        // As if the daemon had died after publishing, before it could say so.
        let store = ArtifactStore(test.workspace.artifacts)
        for publication in try #require(try attempt.directory.readResult()).publications {
            _ = try store.publish(publication, from: attempt.directory.out, attemptID: attempt.id)
        }
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .succeeded && end.adapter == "tone:1")
        #expect(test.started() == ["tokenize", "train", "package"])
        #expect(try test.versions == [1])
    }

    @Test func aWorkerThatDiedUnseenGoesOnFromItsCheckpointWithoutACharge() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "if [ $attempt = 1 ]; then mkdir checkpoint; touch checkpoint/x; \(untilGo) fi\n")
        let id = try test.submit("name: tone\nretries: 0\n")
        let pid = try await withDaemon(test.configuration()) { _ in
            let pid = try await test.runningPID(id, stage: "train")
            let live = try #require(try test.queue().drivenJob(id).live)
            try await eventually("checkpoint") {
                FileManager.default.fileExists(atPath: live.directory.checkpoint.appending(path: "x").path)
            }
            return pid
        }
        kill(-pid, SIGKILL)
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .succeeded)
        let attempts = try test.queue().show(id).stages[1].attempts
        #expect(attempts.map(\.state) == [.crashed, .succeeded])
        #expect(attempts[1].resumedFrom == attempts[0].directory.checkpoint.path)
    }

    @Test func aProcessWhoseIdWasNotNotedIsFound() async throws {
        let test = try TestWorkspace()
        try test.behave("train", untilGo)
        let id = try test.submit("name: tone\n")
        let pid = try await withDaemon(test.configuration()) { _ in try await test.runningPID(id, stage: "train") }
        // As if the daemon had died between starting it and noting it.
        let queue = try test.queue()
        try queue.write {
            try $0.execute(
                sql: "UPDATE attempt SET pid = NULL, pid_start = NULL, state = 'starting' WHERE ended_ms IS NULL")
        }
        let end = try await withDaemon(test.configuration()) { _ in
            try await eventually("found") { try queue.drivenJob(id).live?.pid == pid }
            try go(test)
            return try await test.end(of: id)
        }
        #expect(end.state == .succeeded)
        #expect(test.started() == ["tokenize", "train", "package"])
    }

    @Test func cancelledWhileTheDaemonWasDown() async throws {
        let test = try TestWorkspace()
        try test.behave("train", untilGo)
        let id = try test.submit("name: tone\n")
        let pid = try await withDaemon(test.configuration()) { _ in try await test.runningPID(id, stage: "train") }
        #expect(try test.queue().cancel(id) == false)
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .cancelled)
        #expect(WorkerProcess.startTime(pid) == nil)
    }
}
