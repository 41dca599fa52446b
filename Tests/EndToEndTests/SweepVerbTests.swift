import Foundation
import PipelineSpec
import TestSupport
import Testing

/// Sweeps with the built program: real trials, their table, and the winner's version.
@Suite(.timeLimit(.minutes(30))) struct SweepVerbTests {
    @Test func aSweepEndsInATableAndTheWinnerInAVersion() async throws {
        guard let shop = try await Workshop.make() else { return }
        let manifest = shop.manifest(steps: 12)
            .replacing(
                "adapter: {rank: 4, dropout: 0.0}",
                with: "matrix: {adapter.rank: [2, 4], train.learning_rate: [1e-6, 1e-2], then: train}"
            )
            .replacing("  learning_rate: 5e-3\n", with: "").replacing(
                "max_length: 64}", with: "max_length: 64, sample: 50%}")
        try shop.write(manifest, to: "tone.yaml")
        #expect(try await shop.program.run("validate", "tone.yaml").output.contains("valid; 4 trials"))
        let plan = try await shop.program.run("plan", "tone.yaml", "--json", "-n", "0").json()
        #expect(plan["sweep"]?["jobs"] == 4 && plan["sweep"]?["then"] == "train", "\(plan)")
        #expect(plan["sweep"]?["trial_seconds"]?.elements.count == 4)
        #expect(plan["stages"]?.elements.compactMap { $0["name"]?.word } == ["tokenize", "train"])
        #expect(
            try await shop.program.run("plan", "tone.yaml", "-n", "0").output.contains(
                "sweep: 4 jobs of adapter.rank, "))
        let alone = try await shop.program.run("run", "tone.yaml")
        #expect(alone.status == 65 && alone.talk.contains("4 jobs"), "\(alone)")

        try await shop.startDaemon()
        let submitted = try await shop.program.run("submit", "tone.yaml", "--wait", "--json")
        #expect(submitted.status == 0, "\(submitted)")
        let jobs = try submitted.json()["jobs"]?.elements ?? []
        #expect(jobs.count == 4 && jobs.allSatisfy { $0["state"] == "succeeded" && $0["adapter"] == .null })
        try await shop.until("the winner has a version") {
            FileManager.default.fileExists(atPath: shop.url("Artifacts/adapters/tone/1/lorajobs.json").path)
        }
        let sweep = try #require(try await shop.program.run("sweep", "tone", "--json").json()["sweep"])
        let trials = sweep["trials"]?.elements ?? []
        #expect(trials.compactMap { $0["rank"] } == [1, 2, 3, 4], "\(sweep)")
        let losses = trials.compactMap { trial -> Double? in
            if case .number(let loss)? = trial["validation_loss"] { loss } else { nil }
        }
        #expect(losses.count == 4 && losses == losses.sorted() && losses[0] < losses[3])
        #expect(
            trials[0]["parameters"]?["train.learning_rate"] == .number(0.01), "a rate that moves nothing does not win")
        // One of them made the tokens; the others found them.
        var states: [String] = []
        for job in jobs { states.append(try await shop.stages(job["id"]?.word ?? "")["tokenize"] ?? "") }
        #expect(states.sorted() == ["cached", "cached", "cached", "succeeded"], "\(states)")

        let record = try shop.json("Artifacts/adapters/tone/1/lorajobs.json")
        let won = record["lineage"]?["manifest"]
        #expect(
            won?["adapter"]?["rank"] == trials[0]["parameters"]?["adapter.rank"] && won?["data"]?["sample"] == .null)
        #expect(try shop.names(in: "Artifacts/adapters/tone").filter { Int($0) != nil } == ["1"])
        let table = try await shop.program.run("sweep", "tone").output
        #expect(table.contains("adapter.rank") && table.contains("trained on all data by job"), "\(table)")
        let taken = try await shop.program.run("sweep", "tone", "--take")
        #expect(taken.output.contains(sweep["follow_up"]?.word ?? "?"), "\(taken)")
    }

    @Test func trialsAreRankedByAnotherMetric() async throws {
        guard let shop = try await Workshop.make() else { return }
        let manifest =
            shop.manifest(steps: 12)
            .replacing("  learning_rate: 5e-3\n", with: "")
            + "evaluate: {metrics: [token_accuracy]}\n"
            + "matrix: {train.learning_rate: [1e-6, 1e-2], metric: token_accuracy}\n"
        try shop.write(manifest.replacing("metric: token_accuracy}", with: "metric: rougeL}"), to: "other.yaml")
        let refused = try await shop.program.run("submit", "other.yaml")
        #expect(refused.status == 65 && refused.talk.contains("rougeL is not among evaluate.metrics"), "\(refused)")
        try shop.write(manifest, to: "tone.yaml")
        let plan = try await shop.program.run("plan", "tone.yaml", "--json", "-n", "0").json()
        #expect(plan["sweep"]?["metric"] == "token_accuracy")
        #expect(plan["stages"]?.elements.compactMap { $0["name"]?.word } == ["tokenize", "train", "score"])

        try await shop.startDaemon()
        #expect(try await shop.program.run("submit", "tone.yaml", "--wait").status == 0)
        let sweep = try #require(try await shop.program.run("sweep", "tone", "--json").json()["sweep"])
        #expect(sweep["metric"] == "validation_token_accuracy" && sweep["higher_is_better"] == true)
        let trials = sweep["trials"]?.elements ?? []
        let values = trials.compactMap { $0["value"]?.double }
        #expect(values.count == 2 && values[0] > values[1] && values[0] < 1, "\(sweep)")
        #expect(trials[0]["parameters"]?["train.learning_rate"] == .number(0.01))
        let table = try await shop.program.run("sweep", "tone").output
        #expect(table.contains("TOKEN_ACCURACY") && table.contains("the highest first"), "\(table)")
        #expect(try await shop.program.run("sweep").output.contains("token_accuracy"))
    }
}
