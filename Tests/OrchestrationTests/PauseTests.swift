import Foundation
import GRDB
import Glibc
import PipelineSpec
import Testing

@testable import Orchestration

private let untilGo = "while [ ! -f \"$root/go\" ]; do sleep 0.05; done\n"

/// Waits for `go`, and when it is asked to stop leaves a checkpoint and says so.
private let stoppable =
    "trap 'mkdir -p checkpoint; touch checkpoint/x; fail 143 stopped stopped' TERM\n" + untilGo

/// Pausing, resuming, draining, and cancelling at once.
@Suite struct PauseTests {
    private func go(_ test: TestWorkspace) throws { try Data().write(to: test.root("go")) }

    @Test func aPausedJobGivesItsCoresBackKeepsItsKeyAndGoesOnFromItsCheckpoint() async throws {
        let test = try TestWorkspace()
        try test.behave("train", stoppable)
        let id = try test.submit("name: tone\nretries: 0\nthreads: 2\n")
        let sameKey = try test.submit("name: tone\nseed: 5\n", name: "same.yaml")
        let other = try test.submit("name: other\nthreads: 2\nseed: 9\n", name: "other.yaml")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            let queue = try test.queue()
            let pid = try await test.runningPID(id, stage: "train")
            #expect(try queue.pause(id) == false)
            try await eventually("paused") { try test.status(id).state == .held }
            #expect(try test.status(id).reason == "Paused")
            #expect(WorkerProcess.startTime(pid) == nil)
            let attempt = try #require(try queue.show(id).stages[1].attempts.first)
            #expect(attempt.state == .preempted && attempt.failure?.code == "pause" && attempt.failureClass == nil)
            #expect(try queue.pause(id) == true)
            #expect(throws: OrchestrationError.self) { try queue.resume(other) }
            // Its cores are free, its key is not.
            _ = try await test.runningPID(other, stage: "train")
            #expect(try test.status(sameKey).reason == "Concurrency(default/tone by \(id))")
            try queue.resume(id)
            try go(test)
            #expect(try await test.end(of: id).state == .succeeded)
            #expect(try await test.end(of: sameKey).state == .succeeded)
            let attempts = try queue.show(id).stages[1].attempts
            #expect(attempts.map(\.state) == [.preempted, .succeeded])
            #expect(attempts[1].resumedFrom == attempts[0].directory.checkpoint.path)
        }
        let kinds = try test.queue().show(id).events.map(\.kind)
        #expect(kinds.contains("pause_requested") && kinds.contains("paused") && kinds.contains("resumed"))
    }

    @Test func whatWaitsIsPausedAtOnceAndCancelledWhilePaused() throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let id = try test.submit("name: tone\n")
        var inbox = Inbox(test.configuration(), queue)
        _ = try inbox.scan(movedIn: [])
        #expect(try queue.pause(id) == true)
        #expect(try test.status(id).reason == "Paused")
        try queue.resume(id)
        #expect(try test.status(id).state == .queued)
        #expect(throws: OrchestrationError.self) { try queue.resume(id) }
        try queue.hold(id)
        let held = #expect(throws: OrchestrationError.self) { try queue.resume(id) }
        #expect(held?.description.contains("release") == true)
        try queue.release(id)
        try queue.pause(id)
        try queue.release(id)
        #expect(try test.status(id).state == .queued)
        try queue.pause(id)
        #expect(try queue.cancel(id) == true)
        #expect(throws: OrchestrationError.self) { try queue.pause(id) }
    }

    @Test func aFinishedStageStaysFinishedAndTheNextOneWaits() async throws {
        let test = try TestWorkspace()
        try test.behave("tokenize", untilGo)
        let id = try test.submit("name: tone\n")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            // It is asked to stop, and is done instead.
            try test.behave("train", "")
            _ = try await test.runningPID(id, stage: "tokenize")
            let queue = try test.queue()
            try go(test)
            try queue.pause(id)
            try await eventually("paused") { try test.status(id).state != .running }
            let state = try test.status(id).state
            if state == .held {
                #expect(try queue.show(id).stages[1].attempts.isEmpty)
                try queue.resume(id)
            }
            #expect(try await test.end(of: id).state == .succeeded)
            #expect(test.started() == ["tokenize", "train", "package"] || state == .held)
        }
    }

    @Test func pauseWithTheDaemonDownIsDoneByTheNext() async throws {
        let test = try TestWorkspace()
        try test.behave("train", stoppable)
        let id = try test.submit("name: tone\n")
        let pid = try await withDaemon(test.configuration()) { _ in try await test.runningPID(id, stage: "train") }
        #expect(try test.queue().pause(id) == false)
        #expect(WorkerProcess.startTime(pid) != nil, "only a daemon stops it")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            try await eventually("paused") { try test.status(id).state == .held }
        }
        #expect(WorkerProcess.startTime(pid) == nil)
    }

    @Test func cancelReplacesAPauseAndAPauseThatFailsStaysAPause() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "trap '' TERM\n" + untilGo)
        let id = try test.submit("name: tone\n")
        var configuration = test.configuration()
        configuration.grace = 1000
        try await withDaemon(configuration) { _ async throws -> Void in
            _ = try await test.runningPID(id, stage: "train")
            let queue = try test.queue()
            try queue.pause(id)
            #expect(try queue.cancel(id, atOnce: true) == false)
            let error = #expect(throws: OrchestrationError.self) { try queue.pause(id) }
            #expect(error?.description.contains("being cancelled") == true)
            #expect(try await test.end(of: id).state == .cancelled)
        }
        // A crash while it is asked to pause: held, not tried again.
        let crashing = try TestWorkspace()
        try crashing.behave("train", "trap 'exit 66' TERM\n" + untilGo)
        let other = try crashing.submit("name: tone\n")
        try await withDaemon(crashing.configuration()) { _ async throws -> Void in
            _ = try await crashing.runningPID(other, stage: "train")
            try crashing.queue().pause(other)
            try await eventually("held") { try crashing.status(other).state == .held }
        }
        #expect(try crashing.queue().show(other).stages[1].attempts.map(\.state) == [.crashed])
    }

    @Test func cancelAtOnceKillsTheWholeGroupAfterAdoptionToo() async throws {
        let test = try TestWorkspace()
        try test.behave(
            "train",
            "trap '' TERM\n(trap '' TERM; while true; do sleep 0.1; done) &\necho $! > \"$root/grandchild\"\n" + untilGo
        )
        let id = try test.submit("name: tone\n")
        let pid = try await withDaemon(test.configuration()) { _ in
            let pid = try await test.runningPID(id, stage: "train")
            try await eventually("grandchild") { !test.files(test.workspace.root, ending: "grandchild").isEmpty }
            return pid
        }
        var configuration = test.configuration()
        configuration.grace = 1000
        try await withDaemon(configuration) { _ async throws -> Void in
            #expect(try test.queue().cancel(id, atOnce: true) == false)
            #expect(try await test.end(of: id).state == .cancelled)
        }
        #expect(WorkerProcess.startTime(pid) == nil)
        let text = try String(contentsOf: test.root("grandchild"), encoding: .utf8)
        let grandchild = try #require(Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        try await eventually("the grandchild is gone") { WorkerProcess.startTime(grandchild) == nil }
    }

    @Test func aDrainStopsWorkersAndQueuesTheirJobsWithoutACharge() async throws {
        let test = try TestWorkspace()
        try test.behave("train", stoppable)
        let id = try test.submit("name: tone\nretries: 0\n")
        let daemon = Daemon(test.configuration())
        let task = Task { try await daemon.run() }
        let pid = try await test.runningPID(id, stage: "train")
        daemon.stop(draining: true)
        try await task.value
        #expect(WorkerProcess.startTime(pid) == nil)
        #expect(try test.status(id).state == .queued)
        let detail = try test.queue().show(id)
        #expect(detail.stages[1].attempts.map(\.state) == [.preempted])
        #expect(detail.stages[1].attempts[0].failure?.code == "drain")
        try go(test)
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .succeeded)
        let attempts = try test.queue().show(id).stages[1].attempts
        #expect(attempts.map(\.state) == [.preempted, .succeeded])
        #expect(attempts[1].resumedFrom != nil)
    }

    @Test func aDrainKillsWhatDoesNotStopInTime() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "trap '' TERM\n" + untilGo)
        let id = try test.submit("name: tone\nretries: 0\n")
        let daemon = Daemon(test.configuration())
        let task = Task { try await daemon.run() }
        let pid = try await test.runningPID(id, stage: "train")
        daemon.stop(draining: true)
        try await task.value
        #expect(WorkerProcess.startTime(pid) == nil)
        #expect(try test.status(id).state == .queued)
    }

    @Test func aJobThatYieldsIsQueuedAgainWithoutACharge() async throws {
        let test = try TestWorkspace()
        try test.behave("train", stoppable)
        let queue = try test.queue()
        // As whoever wants its cores asks for them.
        try queue.write { db in
            guard try !db.columns(in: "job").contains(where: { $0.name == "yield_requested_ms" }) else { return }
            try db.execute(sql: "ALTER TABLE job ADD COLUMN yield_requested_ms INTEGER")
        }
        let id = try test.submit("name: tone\nretries: 0\n")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            _ = try await test.runningPID(id, stage: "train")
            try queue.setPaused(true, queue: "default")
            try queue.write { try $0.execute(sql: "UPDATE job SET yield_requested_ms = 1") }
            try await eventually("queued") { try test.status(id).state == .queued }
            #expect(try test.status(id).reason == "QueuePaused")
            #expect(try queue.stopRequests(id) == StopRequests())
            try go(test)
            try queue.setPaused(false, queue: "default")
            #expect(try await test.end(of: id).state == .succeeded)
        }
        #expect(try queue.show(id).stages[1].attempts.map(\.state) == [.preempted, .succeeded])
    }

    /// What a job has come to is committed even when the task that says so is cancelled.
    @Test func aCancelledTaskLosesNoWrite() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let id = try test.submit("name: tone\n")
        var inbox = Inbox(test.configuration(), queue)
        _ = try inbox.scan(movedIn: [])
        let task = Task {
            while !Task.isCancelled { await Task.yield() }
            try queue.start(id)
            try queue.finishJob(id, .succeeded, reason: "unchanged")
        }
        task.cancel()
        try await task.value
        #expect(try test.status(id).state == .succeeded)
    }
}
