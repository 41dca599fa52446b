import Foundation
import PipelineSpec
import TestSupport
import Testing

/// Adapters that come from elsewhere, go elsewhere, are compared and are made again.
@Suite(.timeLimit(.minutes(30))) struct ExchangeVerbTests {
    @Test func anAdapterIsLintedImportedAndExported() async throws {
        guard let shop = try await Workshop.make() else { return }
        let program = shop.program
        let golden = try Fixtures.folder("golden/peft-adapters/llama_default")
        try FileManager.default.copyItem(at: golden, to: shop.url("foreign"))
        let lint = try await program.run("adapters", "lint", "foreign/adapter", "--base", "foreign/base", "--json")
        #expect(lint.status == 0, "\(lint)")
        #expect(try lint.json()["valid"] == true)
        #expect(try lint.json()["findings"]?.elements.map { $0["severity"] } == ["warning"], "it names no base")

        let first = try await program.run(
            "adapters", "import", "foreign/adapter", "--name", "guest", "--base", "foreign/base", "--json")
        #expect(try first.json()["adapter"]?["version"] == 1 && first.json()["new"] == true, "\(first)")
        let again = try await program.run("adapters", "import", "foreign/adapter", "--name", "guest")
        #expect(again.output == "guest:1\n" && again.talk.contains("already"), "\(again)")
        let digest = try first.json()["adapter"]?["digest"]
        let shown = try await program.run("adapters", "show", "guest", "--json").json()["record"]
        #expect(
            shown?["lineage"]?["imported"]?["path"]?.word?.hasSuffix("foreign/adapter") == true, "\(shown ?? .null)")
        #expect(shown?["digest"] == digest)
        #expect(try await program.run("adapters", "verify").status == 0)
        #expect(try await program.run("doctor", "--json").json()["sound"] == true)

        // One with a slip is refused, with all that is wrong, and makes no version.
        let text = try shop.text("foreign/adapter/adapter_config.json")
        try shop.write(
            text.replacing("\"r\": 4", with: "\"r\": 5").replacing("\"use_dora\": false", with: "\"use_dora\": true"),
            to: "foreign/adapter/adapter_config.json")
        let refused = try await program.run("adapters", "import", "foreign/adapter", "--name", "guest", "--json")
        #expect(refused.status == 65, "\(refused)")
        let findings = try refused.json()["findings"]?.elements ?? []
        #expect(findings.contains { $0["pointer"] == "/adapter_config.json/use_dora" && $0["severity"] == "error" })
        #expect(try shop.versions("guest") == [1])
        #expect(try await program.run("adapters", "import", "nowhere").status == 66)

        // It knows no base of its own here: exports that need one say so, and take one.
        let lost = try await program.run("export", "guest", "--for", "mlx", "-o", "lost")
        #expect(lost.status == 65 && lost.talk.contains("--base"), "\(lost)")
        #expect(!FileManager.default.fileExists(atPath: shop.url("lost").path))
        #expect(try shop.names(in: ".").allSatisfy { !$0.contains("lost") }, "nothing is left over")
        let files = [
            "peft": "adapter_model.safetensors", "vllm": "adapter_config.json", "llama.cpp": "guest-1-lora.gguf",
            "ollama": "Modelfile", "mlx": "adapters.safetensors", "oci": "guest-1.oci.tar",
        ]
        for (name, file) in files {
            let made = try await program.run(
                "export", "guest:1", "--for", name, "--base", "foreign/base", "-o", "for-\(name)", "--json")
            #expect(made.status == 0, "\(made)")
            #expect(try made.json()["files"]?.elements.contains { $0.word == file } == true, "\(made)")
            #expect(try made.json()["notes"]?.elements.isEmpty == false)
        }
        let merged = try await program.run(
            "adapters", "export", "guest", "--for", "llama.cpp", "--merge", "f16", "--base", "foreign/base", "-o",
            "merged")
        #expect(merged.status == 0 && merged.talk.contains("guest-1-f16.gguf"), "\(merged)")
        #expect(try await program.run("export", "guest", "--for", "mlx", "--merge", "f16").status == 64)
        #expect(try await program.run("export", "guest", "--for", "llama.cpp", "--merge", "q2").status == 64)
    }

    @Test func twoVersionsAreCompared() async throws {
        guard let shop = try await Workshop.make() else { return }
        let program = shop.program
        let lines = try shop.text("data/play.txt").split(separator: "\n\n").prefix(40)
        let records = lines.map { JSONValue.object(["text": .string(String($0))]).text() }.joined(separator: "\n")
        try shop.write(records + "\n", to: "held.jsonl")
        try shop.write("First Citizen:\n\nBefore we\n", to: "prompts.txt")
        for steps in [2, 30] {
            let manifest = shop.manifest(steps: steps).replacing(
                "max_length: 64", with: "test: held.jsonl, max_length: 64")
            try shop.write(manifest, to: "tone.yaml")
            #expect(try await program.run("run", "tone.yaml").status == 0)
        }
        let outcome = try await program.run(
            "adapters", "compare", "tone:1", "2", "--data", "held.jsonl", "--prompts", "prompts.txt", "--max-tokens",
            "8",
            "--json")
        let json = try outcome.json()
        let losses = try #require(json["losses"], "\(outcome)")
        let bounds = losses["interval"]?.elements.compactMap(\.double) ?? []
        let difference = try #require(losses["difference"]?.double)
        #expect(json["first"] == "tone:1" && json["second"] == "tone:2" && bounds.count == 2)
        // Thirty steps on this very text are better than two, without a doubt.
        #expect(difference < 0 && bounds[0] < difference && difference < bounds[1] && bounds[1] < 0)
        #expect(losses["decided"] == true && losses["examples"]?.elements.count == lines.count)
        #expect(abs((losses["second"]?.double ?? 0) - (losses["first"]?.double ?? 0) - difference) < 1e-9)
        #expect(json["answers"]?.elements.count == 2)
        let answer = try await program.run(
            "generate", "--base", shop.base.path, "--adapter", "tone:2", "--prompt", "Before we", "--max-tokens", "8",
            "--greedy", "--json")
        #expect(try json["answers"]?.elements.last?["second"] == answer.json()["text"])
        // The same numbers as the jobs have found on that file, where the end token counts.
        for (number, side) in [(1, "first"), (2, "second")] {
            let record = try await program.run("adapters", "show", "tone:\(number)", "--json").json()["record"]
            let loss = try #require(record?["metrics"]?["loss"]?.double)
            #expect(abs((losses[side]?.double ?? 0) - loss) < 1e-5, "\(losses[side] ?? .null) and \(loss)")
        }
        let shown = try await program.run("adapters", "show", "tone:1").output
        #expect(
            shown.contains("evaluation.sets.test") && shown.contains(" examples"), "\(shown)")
        let diff = try await program.run("adapters", "diff", "1", "2").output
        #expect(diff.contains("evaluation.sets.test") && diff.contains("loss "), "\(diff)")
        let same = try await program.run("adapters", "compare", "tone:1", "tone:1", "--data", "held.jsonl")
        #expect(same.status == 0 && same.output.contains("no telling"), "\(same)")
        #expect(try await program.run("adapters", "compare", "tone:1", "tone:2").status == 64)
        #expect(try await program.run("adapters", "compare", "tone:1", "tone:9", "--data", "held.jsonl").status == 66)
    }

    @Test func aVersionIsMadeAgain() async throws {
        guard let shop = try await Workshop.make() else { return }
        let program = shop.program
        try shop.write(shop.manifest(steps: 6, dropout: 0.1), to: "tone.yaml")
        #expect(try await program.run("run", "tone.yaml").status == 0)
        // What is appended later belongs to later runs.
        try shop.write(try shop.text("data/play.txt") + "and more\n", to: "data/play.txt")
        let outcome = try await program.run("reproduce", "tone:1", "--json")
        let json = try outcome.json()
        #expect(outcome.status == 0 && json["reproduced"] == true, "\(outcome)")
        #expect(json["stages"]?.elements.map { $0["kind"] } == ["tokenize", "train", "evaluate"])
        #expect(json["digest"]?["recorded"] == json["digest"]?["computed"])
        let jobs = try await shop.jobs()
        #expect(try shop.versions() == [1] && jobs.count == 1, "nothing is published or queued")

        // A record that says another seed than was used: the training is the first to differ.
        let record = shop.url("Artifacts/adapters/tone/1/lorajobs.json")
        let folder = record.deletingLastPathComponent()
        #expect(chmod(folder.path, 0o755) == 0)
        let text = try String(contentsOf: record, encoding: .utf8)
        try FileManager.default.removeItem(at: record)
        try Data(
            text.replacing("\"seed\" : 42", with: "\"seed\" : 43").replacing("\"seed\": 42", with: "\"seed\": 43").utf8
        )
        .write(to: record)
        let other = try await program.run("reproduce", "tone:1")
        #expect(other.status == 1 && other.output.contains("first stage that differs is train"), "\(other)")

        let before = try shop.text("data/play.txt")
        try shop.write("X" + before.dropFirst(), to: "data/play.txt")
        let changed = try await program.run("reproduce", "tone:1", "--json")
        #expect(changed.status == 66, "\(changed)")
        #expect(try changed.json()["losses"]?.elements.first?["path"]?.word?.hasSuffix("data/play.txt") == true)
        try FileManager.default.removeItem(at: shop.url("data/play.txt"))
        let gone = try await program.run("reproduce", "tone:1")
        #expect(gone.status == 66 && gone.talk.contains("play.txt is gone"), "\(gone)")
    }
}
