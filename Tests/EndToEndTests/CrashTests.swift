import Foundation
import PipelineSpec
import TestSupport
import Testing

/// What `kill -9` costs: at most a checkpoint interval of time, and never a different result.
@Suite(.timeLimit(.minutes(30))) struct CrashTests {
    private let often = ["LORAJOBS_CHECKPOINT_SECONDS": "0.2"]
    /// Steps of some seconds, so that there is time to interrupt.
    private let steps = 600

    @Test func aKilledTrainingEndsWithTheBytesOfAnUninterruptedOne() async throws {
        guard let shop = try await Workshop.make(), let undisturbed = try await Workshop.make() else { return }
        let manifest = shop.manifest(steps: steps, dropout: 0.1)
        try undisturbed.write(manifest, to: "tone.yaml")
        let other = try undisturbed.program.start(["run", "tone.yaml"])

        try await shop.startDaemon(often)
        try shop.drop(manifest, as: "tone.yaml")
        let id = try await shop.id()
        kill(try await shop.trainingWithCheckpoint(id), SIGKILL)
        let job = try await shop.ended()
        #expect(job["state"] == "succeeded" && job["adapter"] == "tone:1", "\(job)")
        let log = try shop.text("Jobs/runs/\(id)/train.2/log.txt")
        let start = try #require(log.firstMatch(of: /continuing after step (\d+) of 600/), "\(log)")
        #expect(Int(start.1) ?? 0 > 0)
        #expect(!log.contains("passed over"))
        #expect(try shop.versions() == [1])

        let end = try await other.outcome()
        #expect(end.status == 0, "\(end)")
        let weights = "Artifacts/adapters/tone/1/adapter_model.safetensors"
        #expect(try Data(contentsOf: shop.url(weights)) == Data(contentsOf: undisturbed.url(weights)))
    }

    @Test func aKilledDaemonLeavesItsWorkerToTheNext() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon(shop.stoppingAtCheckpoint)
        try shop.drop(shop.manifest(), as: "tone.yaml")
        let id = try await shop.id()
        let worker = try await shop.trainingStoppedAtCheckpoint(id)
        try await shop.endDaemon(SIGKILL)
        #expect(kill(worker, 0) == 0)
        // Nobody drives it, and the queue can be seen all the same.
        let status = try await shop.program.run("status", "--all", "--json").json()
        #expect(status["daemon"]?["running"] == false)
        #expect(status["jobs"]?.elements.first?["state"] == "running")
        #expect(kill(worker, 0) == 0, "the training ended before the next daemon could find it")

        try await shop.startDaemon(often)
        kill(worker, SIGCONT)
        let job = try await shop.ended()
        #expect(job["state"] == "succeeded" && job["adapter"] == "tone:1", "\(job)")
        #expect(try shop.names(in: "Jobs/runs/\(id)").filter { $0.hasPrefix("train.") } == ["train.1"])
        let show = try await shop.program.run("show", id, "--json").json()
        let train = show["stages"]?.elements.first { $0["name"] == "train" }
        #expect(train?["attempts"]?.elements.count == 1)
        #expect(train?["attempts"]?.elements.first?["state"] == "succeeded")
        #expect(try shop.versions() == [1])
        #expect(Processes.working(in: shop.url("Jobs/runs")).isEmpty)
    }

    @Test func aCancelledJobGoesOnFromItsCheckpoint() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon(often)
        try shop.drop(shop.manifest(steps: steps), as: "tone.yaml")
        let id = try await shop.id()
        _ = try await shop.trainingWithCheckpoint(id)
        #expect(try await shop.program.run("cancel", id).status == 0)
        let wait = try await shop.program.run("wait", id)
        #expect(wait.status == 2, "\(wait)")
        #expect(try await shop.ended()["state"] == "cancelled")
        #expect(try shop.versions().isEmpty)
        #expect(Processes.working(in: shop.url("Jobs/runs")).isEmpty)

        let retry = try await shop.program.run("retry", id, "--json").json()
        let next = try #require(retry["jobs"]?.elements.first?["id"]?.word)
        let end = try await shop.program.run("wait", next)
        #expect(end.status == 0, "\(end)")
        #expect(try shop.text("Jobs/runs/\(next)/train.1/log.txt").contains("continuing after step"))
        let job = try #require(try await shop.jobs().first { $0["id"] == .string(next) })
        #expect(job["state"] == "succeeded" && job["retry_of"] == .string(id) && job["adapter"] == "tone:1", "\(job)")
        #expect(try await shop.stages(next)["tokenize"] == "cached")
    }
}
