import Artifacts
import Foundation
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// The file of the queue is gone: nobody makes an empty one in its place.
@Suite(.timeLimit(.minutes(30))) struct LostQueueTests {
    private func lose(_ test: TestWorkspace) {
        for ending in ["", "-wal", "-shm"] { unlink(test.workspace.database.path + ending) }
    }

    private func code(_ body: () async throws -> some Any) async -> OrchestrationError.Code? {
        do {
            _ = try await body()
            return nil
        } catch {
            return (error as? OrchestrationError)?.code
        }
    }

    /// A workspace with a job that is held and one that has succeeded.
    private func workspace() async throws -> (TestWorkspace, held: String, done: String) {
        let test = try TestWorkspace()
        let done = try test.submit("name: tone\n")
        let held = try test.submit("name: later\nhold: yes\n")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            #expect(try await test.end(of: done).state == .succeeded)
            try await eventually("it is held") { (try? test.status(held).state) == .held }
            try await eventually("all is filed") { try test.queue().unfiledIntake().isEmpty }
        }
        return (test, held, done)
    }

    @Test func whatIsLostIsSaidAndNotReplaced() async throws {
        let (test, held, done) = try await workspace()
        for isEmptied in [false, true] {
            lose(test)
            if isEmptied { try Data().write(to: test.workspace.database) }
            #expect(await code { try await Daemon(test.configuration()).run() } == .damagedDatabase)
            let run = ForegroundRun(test.configuration())
            #expect(await code { try await run.run(Data("name: x\n".utf8), name: "x.yaml") } == .damagedDatabase)
            #expect(await code { try JobQueue.open(test.workspace) } == .damagedDatabase)
            #expect(await code { try Doctor(test.configuration()).repair { _ in } } == .damagedDatabase)
            let made = FileManager.default.contents(atPath: test.workspace.database.path)
            #expect(made == (isEmptied ? Data() : nil), "nothing was made")
            let found = Doctor(test.configuration()).examine()
            let problem = found.first { $0.verdict == .problem && $0.code == "database" }
            #expect(problem?.advice == "lorajobs doctor --rebuild", "\(found)")
            let runs = found.filter { $0.code == "runs" && $0.verdict == .warning }
            #expect(!runs.isEmpty && runs.allSatisfy { $0.advice?.contains("--rebuild") == true }, "\(runs)")
        }
        let report = try QueueRebuild(test.configuration()).run()
        #expect(report.jobs == [.held: 1, .succeeded: 1], "\(report)")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            try test.queue().release(held)
            #expect(try await test.end(of: held).state == .succeeded)
        }
        #expect(try test.status(done).adapter == "tone:1")
        #expect(try Invariants(test.workspace).violations() == [])
    }

    /// One rejected manifest, or one folder of a job, is enough.
    @Test func everyTraceOfAJobCounts() async throws {
        let rejected = try TestWorkspace()
        try rejected.submit("nonsense\n")
        try await withDaemon(rejected.configuration()) { _ async throws -> Void in
            try await eventually("it is filed") {
                !rejected.files(rejected.workspace.rejected, ending: ".yaml").isEmpty
            }
        }
        lose(rejected)
        #expect(try LostQueue.isLost(in: rejected.workspace))
        let run = try TestWorkspace()
        try run.workspace.run(job: ULID().description, stage: "train", attempt: 1).make()
        #expect(try LostQueue.isLost(in: run.workspace))
    }

    /// What a loss of power may leave before the first commit is taken up without hands.
    @Test func aFirstStartNeedsNobody() async throws {
        for isEmptied in [false, true] {
            let test = try TestWorkspace()
            if isEmptied { try Data().write(to: test.workspace.database) }
            #expect(try !LostQueue.isLost(in: test.workspace))
            let waiting = try test.submit("name: tone\n")
            let claimed = ULID().description
            try Data("name: other\n".utf8).write(
                to: test.workspace.claimed.appending(path: "\(claimed)__other.yaml"))
            mkdir(test.workspace.accepted.appending(path: "2026-11-21").path, 0o700)
            try await withDaemon(test.configuration()) { _ async throws -> Void in
                for id in [waiting, claimed] { #expect(try await test.end(of: id).state == .succeeded) }
            }
        }
    }

    /// An empty queue that was made in the place of a lost one: what it has learned since stays.
    @Test func aSoundQueueLearnsWhatItDoesNotKnow() async throws {
        let (test, held, done) = try await workspace()
        lose(test)
        try test.queue().close()
        let new = try test.submit("name: new\nhold: yes\n")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            try await eventually("it is held") { (try? test.status(new).state) == .held }
            try await eventually("it is filed") { try test.queue().unfiledIntake().isEmpty }
        }
        try test.queue().setPaused(true, queue: "default")
        try test.queue().prioritize(new, to: 7)
        let found = Doctor(test.configuration()).examine().filter { $0.code == "I8" }
        #expect(found.count == 2 && found.allSatisfy { $0.advice == "lorajobs doctor --rebuild" }, "\(found)")
        let report = try QueueRebuild(test.configuration()).run()
        #expect(report.jobs == [.held: 1, .succeeded: 1], "\(report)")
        #expect(try Set(test.queue().list().map(\.id)) == [held, done, new])
        let kept = try test.status(new)
        #expect(kept.priority == 7 && kept.state == .held && kept.reason == "Held", "\(kept)")
        #expect(try test.queue().queues().contains { $0.name == "default" && $0.isPaused })
        #expect(try Invariants(test.workspace).violations() == [])
        #expect(await code { try QueueRebuild(test.configuration()).run() } == .wrongState)
    }
}
