import Foundation
import PipelineSpec
import Testing

/// Queues as people handle them, with a real daemon and real training.
@Suite struct QueueVerbTests {
    @Test func aQueueIsDrainedAndWidened() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon(shop.stoppingAtCheckpoint)
        try shop.drop(shop.manifest(steps: 40), as: "tone.yaml")
        let id = try await shop.id()
        let worker = try await shop.trainingStoppedAtCheckpoint(id)
        #expect(try await shop.program.run("queue", "set", "default", "--max-jobs", "1").status == 0)
        #expect(try await shop.program.run("submit", shop.another("full")).status == 0)
        let full = try await shop.program.run("explain", shop.id(of: "full"))
        #expect(full.output.contains("before it  its queue default is full"), "\(full)")
        #expect(try await shop.program.run("cancel", shop.id(of: "full")).status == 0)
        let drain = try shop.program.start(["queue", "drain", "default", "--timeout", "50s"])
        try await shop.until("the queue is paused") { try await self.queue(shop)?["paused"] == true }
        #expect(drain.isRunning, "it does not wait for what runs")
        kill(worker, SIGCONT)
        let drained = try await drain.outcome()
        #expect(drained.status == 0, "\(drained)")
        #expect(try await shop.program.run("wait", id, "--timeout", "1s").status == 0)
        #expect(try await shop.program.run("explain", id).output.hasPrefix("tone succeeded"))

        #expect(try await shop.program.run("submit", shop.another("next")).status == 0)
        let next = try await shop.id(of: "next")
        let explained = try await shop.program.run("explain", next)
        #expect(explained.output.contains("QueuePaused") && explained.output.contains("fair share"), "\(explained)")
        #expect(try await shop.program.run("queue", "set", "default", "--max-jobs", "3").status == 0)
        let queue = try await queue(shop)
        #expect(queue?["max_jobs"] == 3 && queue?["paused"] == true, "\(String(describing: queue))")
        #expect(try await shop.program.run("queue", "resume", "default").status == 0)
        #expect(try await shop.ended("next")["state"] == "succeeded")
    }

    @Test func whatRunsGivesWayAtACheckpoint() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon(shop.stoppingAtCheckpoint)
        try shop.drop(shop.manifest(steps: 40), as: "tone.yaml")
        let id = try await shop.id()
        let worker = try await shop.trainingStoppedAtCheckpoint(id)
        let drain = try shop.program.start(["queue", "drain", "--now", "--timeout", "50s"])
        try await shop.until("the queue is paused") { try await self.queue(shop)?["paused"] == true }
        kill(worker, SIGCONT)
        let drained = try await drain.outcome()
        #expect(drained.status == 0 && drained.talk.contains(id), "\(drained)")
        // It waits again, with what it has learnt, and nobody holds it against the job.
        let waiting = try await shop.jobs().first
        #expect(waiting?["state"] == "queued" && waiting?["reason"] == "QueuePaused", "\(waiting ?? .null)")
        #expect(try await shop.program.run("queue", "resume", "default").status == 0)
        #expect(try await shop.ended()["state"] == "succeeded")
        let log = try shop.text("Jobs/runs/\(id)/train.2/log.txt")
        #expect(log.contains("continuing after step"), "\(log)")
    }

    /// What is drawn follows what happens, and nothing is drawn while nothing does.
    @Test func theStatusIsWatched() async throws {
        guard let shop = try await Workshop.make() else { return }
        let watch = try shop.program.start(["status", "--watch"])
        try await shop.until("it is drawn once") { !watch.output.isEmpty }
        try await shop.startDaemon(shop.stoppingAtCheckpoint)
        try shop.drop(shop.manifest(steps: 20), as: "tone.yaml")
        let worker = try await shop.trainingStoppedAtCheckpoint(shop.id())
        try await shop.until("the training is drawn") { watch.output.contains("train") }
        var drawn = watch.output
        try await shop.until("nothing is drawn while it is stopped") {
            defer { drawn = watch.output }
            try await Task.sleep(for: .seconds(3))
            return watch.output == drawn
        }
        kill(worker, SIGCONT)
        try await shop.until("its end is drawn") { watch.output.contains("tone:1") }
        #expect(watch.isRunning)
        watch.signal(SIGINT)
    }

    private func queue(_ shop: Workshop) async throws -> JSONValue? {
        try await shop.program.run("queue", "ls", "--json").json()["queues"]?.elements.first
    }
}

extension Workshop {
    /// The file of one more job.
    fileprivate func another(_ name: String) throws -> String {
        try write(manifest(name), to: "\(name).yaml")
        return "\(name).yaml"
    }
}
