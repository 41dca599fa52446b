import Foundation
import PipelineSpec
import TestSupport
import Testing

/// Submitting, following and looking at jobs that really train.
@Suite(.timeLimit(.minutes(30))) struct JobVerbTests {
    @Test func submitWaitsAndChangesValues() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon()
        try shop.write(shop.manifest(), to: "tone.yaml")
        let submit = try await shop.program.run(
            "submit", "tone.yaml", "--wait", "--json", "--set", "train.steps=7", "--set", "name=other")
        #expect(submit.status == 0, "\(submit)")
        let job = try #require(try submit.json()["jobs"]?.elements.first)
        #expect(job["state"] == "succeeded" && job["adapter"] == "other:1", "\(job)")
        #expect(try shop.json("Artifacts/adapters/other/1/lorajobs.json")["training"]?["steps"] == 7)

        let id = try #require(job["id"]?.word)
        #expect(try await shop.program.run("wait", id).output == "\(id)  succeeded  other:1\n")
        let log = try await shop.program.run("logs", id, "--stage", "train")
        #expect(log.status == 0 && log.output.contains("trained 7 steps"), "\(log)")

        // A wait that ends before the job does, and leaves it alone.
        let long = try await shop.program.run("submit", "tone.yaml", "--set", "train.steps=100000")
        let other = long.output.trimmingCharacters(in: .newlines)
        let wait = try await shop.program.run("wait", other, "--timeout", "0.5")
        #expect(wait.status == 124, "\(wait)")
        #expect(try await shop.program.run("cancel", other).status == 0)
        #expect(try await shop.program.run("wait", other).status == 2)
    }

    @Test func aRunInTheForegroundEndsWithItsJobsCode() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(shop.manifest(), to: "tone.yaml")
        let good = try await shop.program.run("run", "tone.yaml", "--json")
        #expect(good.status == 0, "\(good)")
        #expect(try good.json()["jobs"]?.elements.first?["adapter"] == "tone:1")
        // A stage that is skipped makes no progress.
        #expect(!good.talk.contains("merge "), "\(good)")

        try shop.write("{\"text\": \"a good line\"}\n{\"text\": \"a broken one\n", to: "data/broken.jsonl")
        try shop.write(shop.manifest("broken", data: "data/broken.jsonl"), to: "broken.yaml")
        let bad = try await shop.program.run("run", "broken.yaml")
        #expect(bad.status == 1, "\(bad)")
        let place = "\(shop.url("data/broken.jsonl").path):2: "
        #expect(bad.talk.contains(place), "\(bad)")
        let job = try #require(try await shop.jobs().last)
        #expect(job["name"] == "broken" && job["state"] == "failed")
        #expect(job["reason"]?.word?.contains(place) == true, "\(job)")
        let log = try await shop.program.run("logs", job["id"]?.word ?? "")
        #expect(log.status == 0 && log.output.contains(place), "\(log)")
        // Wrong input is not tried again.
        #expect(try shop.attempts(job["id"]?.word ?? "") == ["tokenize.1"])
    }

    /// Hours of training are not begun for a result that could not be written.
    @Test func aConfigurationThatCannotNameItsResultIsFoundBeforeTraining() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(
            try Data(contentsOf: shop.base.appending(path: "tokenizer.json")), to: "bases/mute/tokenizer.json")
        try shop.write(
            #"{"model_type":"llama","hidden_size":32,"num_hidden_layers":1,"num_attention_heads":4,"intermediate_size":64,"vocab_size":512}"#,
            to: "bases/mute/config.json")
        let lines = (0..<60).map { #"{"text": "line \#($0)", "label": "\#($0 % 2)"}"# }
        try shop.write(lines.joined(separator: "\n"), to: "data/labelled.jsonl")
        try shop.write(
            """
            name: mute
            base: {config: bases/mute, init: random}
            task: sequence-classification
            data: data/labelled.jsonl
            train: {steps: 3}

            """, to: "mute.yaml")
        let run = try await shop.program.run("run", "mute.yaml")
        #expect(run.status == 1 && run.talk.contains("architectures names no class"), "\(run)")
        #expect(!run.talk.contains("loss"), "\(run)")
    }

    @Test func wholeModelsAreTrainedAndAdapted() async throws {
        guard let shop = try await Workshop.make() else { return }
        let full = shop.manifest("whole", steps: 10).replacing("{rank: 4, dropout: 0.0}", with: "{method: full}")
        try shop.write(full, to: "whole.yaml")
        let first = try await shop.program.run("run", "whole.yaml", "--json")
        #expect(first.status == 0, "\(first)")
        #expect(try first.json()["jobs"]?.elements.first?["adapter"] == "whole:1")
        #expect(try shop.versions("whole", in: "models") == [1] && shop.versions("whole").isEmpty)

        let random = shop.manifest("fresh", steps: 10, base: "{config: \(shop.base.path), init: random}")
            .replacing("adapter: {rank: 4, dropout: 0.0}\n", with: "")
        try shop.write(random, to: "fresh.yaml")
        let second = try await shop.program.run("run", "fresh.yaml")
        #expect(second.status == 0, "\(second)")
        let record = try shop.json("Artifacts/models/fresh/1/lorajobs.json")
        let values = record["evaluation"]?["sets"]?.elements.first?["values"]
        #expect(values?["base"] == nil && values?["trained"] != nil)
        let files = try shop.names(in: "Artifacts/models/fresh/1")
        #expect(Set(files).isSuperset(of: ["config.json", "model.safetensors", "tokenizer.json"]), "\(files)")

        for (name, reference) in [("on-whole", "store:whole"), ("on-fresh", "store:fresh:1")] {
            try shop.write(shop.manifest(name, steps: 5, base: reference), to: "\(name).yaml")
            let third = try await shop.program.run("run", "\(name).yaml")
            #expect(third.status == 0, "\(third)")
            #expect(try shop.versions(name) == [1])
        }
        // A model of ours is one that the engine, and other tools, open by its folder.
        let text = try await shop.program.run(
            "generate", "--base", "Artifacts/models/whole/1", "--adapter", "on-whole", "--prompt", "To be",
            "--max-tokens", "3", "--json")
        #expect(try text.json()["ids"]?.elements.count ?? 0 > 0, "\(text)")
    }

    @Test func aMergeIsPublishedBesideItsAdapter() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(shop.manifest(steps: 10) + "merge: true\n", to: "tone.yaml")
        let run = try await shop.program.run("run", "tone.yaml")
        #expect(run.status == 0, "\(run)")
        #expect(try shop.versions() == [1] && shop.versions(in: "models") == [1])
        try shop.write("{\"text\": \"To be, or not to be\"}\n", to: "one.jsonl")
        func loss(_ base: String, _ rest: String...) async throws -> Double {
            let eval = try await shop.program.run(["eval", "--base", base, "--data", "one.jsonl", "--json"] + rest)
            return try #require(try eval.json()["nll"]?.double, "\(eval)")
        }
        let merged = try await loss("Artifacts/models/tone/1")
        let adapted = try await loss(shop.base.path, "--adapter", "tone:1")
        #expect(abs(merged - adapted) < 1e-4)
        #expect(try await abs(loss(shop.base.path) - adapted) > 1e-2)
    }
}
