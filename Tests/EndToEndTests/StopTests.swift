import Foundation
import PipelineSpec
import TestSupport
import Testing

/// Stopping on request, of real trainings: nothing is lost, and the result is that of an uninterrupted one.
@Suite(.timeLimit(.minutes(30))) struct StopTests {
    private let often = ["LORAJOBS_CHECKPOINT_SECONDS": "0.2"]
    private let steps = 600
    private let weights = "Artifacts/adapters/tone/1/adapter_model.safetensors"

    /// The number of the step that a log says it went on after.
    private func continued(_ log: String) -> Int? {
        log.firstMatch(of: /continuing after step (\d+) of/).flatMap { Int($0.1) }
    }

    @Test func aTrainingThatIsPausedAndDrainedEndsWithTheBytesOfAnUninterruptedOne() async throws {
        guard let shop = try await Workshop.make(), let undisturbed = try await Workshop.make() else { return }
        let manifest = shop.manifest(steps: steps, dropout: 0.1)
        try undisturbed.write(manifest, to: "tone.yaml")
        let other = try undisturbed.program.start(["run", "tone.yaml"])

        // Checkpoints only where they are asked for. It stops itself after some steps, as SIGSTOP does, so that it is
        // still there when it is asked.
        let stopping = [
            "LORAJOBS_FAILPOINTS": [12, 20, 28].map { "worker.stepped=stop@\($0)" }.joined(separator: ";"),
            "LORAJOBS_FAILPOINT_LOG": shop.outside.appending(path: "hits").path,
        ]
        try await shop.startDaemon(stopping, flags: ["--drain"])
        try shop.drop(manifest, as: "tone.yaml")
        let id = try await shop.id()
        func training(_ number: Int) async throws -> Int32 {
            let folder = "Jobs/runs/\(id)/train.\(number)"
            var worker: Int32?
            try await shop.until("\(folder) has stopped itself") {
                worker = Processes.working(in: shop.url(folder)).first { Processes.state($0) == "T" }
                return worker != nil
            }
            return try #require(worker)
        }
        var worker = try await training(1)
        let pause = try await shop.program.run("pause", id)
        #expect(pause.status == 0 && pause.talk.contains("lorajobs resume"), "\(pause)")
        kill(worker, SIGCONT)
        try await shop.until("it is paused") { try await shop.jobs().first?["state"] == "held" }
        #expect(try await shop.jobs().first?["reason"] == "Paused")
        #expect(Processes.working(in: shop.url("Jobs/runs")).isEmpty)
        let stopped = try shop.json("Jobs/runs/\(id)/train.1/result.json")
        #expect(stopped["exitCode"] == 143 && stopped["failure"]?["code"] == "stopped", "\(stopped)")
        #expect(try await shop.program.run("resume", id).status == 0)

        worker = try await training(2)
        let waking = Task { [worker] in
            try await Task.sleep(for: .milliseconds(500))
            kill(worker, SIGCONT)
        }
        try await shop.endDaemon(SIGTERM)
        try await waking.value
        #expect(Processes.working(in: shop.url("Jobs/runs")).isEmpty)
        #expect(try await shop.jobs().first?["state"] == "queued")
        let first = try #require(continued(try shop.text("Jobs/runs/\(id)/train.2/log.txt")))
        #expect(first >= 10)

        // One that somebody else stops is tried again at once.
        try await shop.startDaemon(stopping)
        worker = try await training(3)
        kill(worker, SIGTERM)
        kill(worker, SIGCONT)
        let job = try await shop.ended()
        #expect(job["state"] == "succeeded" && job["adapter"] == "tone:1", "\(job)")
        let second = try #require(continued(try shop.text("Jobs/runs/\(id)/train.3/log.txt")))
        let third = try #require(continued(try shop.text("Jobs/runs/\(id)/train.4/log.txt")))
        #expect(first <= second && second <= third)
        let show = try await shop.program.run("show", id, "--json").json()
        let attempts = show["stages"]?.elements.first { $0["name"] == "train" }?["attempts"]?.elements ?? []
        #expect(attempts.map { $0["state"] } == ["preempted", "preempted", "preempted", "succeeded"])
        #expect(attempts.map { $0["failure_class"] } == [.null, .null, "infrastructure", .null])

        let end = try await other.outcome()
        #expect(end.status == 0, "\(end)")
        #expect(try Data(contentsOf: shop.url(weights)) == Data(contentsOf: undisturbed.url(weights)))
    }

    @Test func aSecondSignalEndsAWorkerAtOnceAndItsCheckpointStays() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon(often)
        try shop.drop(shop.manifest(steps: 2000), as: "tone.yaml")
        let id = try await shop.id()
        let worker = try await shop.trainingWithCheckpoint(id)
        // Stopped, so that both are there before it looks.
        kill(worker, SIGSTOP)
        kill(worker, SIGTERM)
        kill(worker, SIGINT)
        kill(worker, SIGCONT)
        try await shop.until("it goes on from its checkpoint") {
            let log = "Jobs/runs/\(id)/train.2/log.txt"
            guard FileManager.default.fileExists(atPath: shop.url(log).path) else { return false }
            return self.continued(try shop.text(log)) != nil
        }
        let cancel = try await shop.program.run("cancel", "--now", id)
        #expect(cancel.status == 0 && cancel.talk.contains("killed"), "\(cancel)")
        #expect(try await shop.ended()["state"] == "cancelled")
    }

    @Test func pauseWithoutADaemonSaysWhatHappens() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon(often)
        try shop.drop(shop.manifest(steps: 2000), as: "tone.yaml")
        let id = try await shop.id()
        let worker = try await shop.trainingWithCheckpoint(id)
        try await shop.endDaemon(SIGTERM)
        #expect(kill(worker, 0) == 0)
        let pause = try await shop.program.run("pause", id)
        #expect(pause.status == 0 && pause.talk.contains("until a daemon runs"), "\(pause)")
        #expect(kill(worker, 0) == 0)
        let hold = try await shop.program.run("hold", id)
        #expect(hold.status != 0 && hold.talk.contains("lorajobs pause"), "\(hold)")
        try await shop.startDaemon(often)
        try await shop.until("it is paused") { try await shop.jobs().first?["state"] == "held" }
        #expect(Processes.working(in: shop.url("Jobs/runs")).isEmpty)
        #expect(try await shop.program.run("cancel", id).status == 0)
        let retry = try await shop.program.run("retry", id, "--from", "nonsense")
        #expect(retry.status == 66 && retry.talk.contains("tokenize"), "\(retry)")
    }
}
