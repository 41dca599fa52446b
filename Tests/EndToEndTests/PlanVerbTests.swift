import Foundation
import PipelineSpec
import TestSupport
import Testing

/// `plan`: what a job would do, compared with what it then does.
@Suite(.timeLimit(.minutes(30))) struct PlanVerbTests {
    @Test func whatIsPlannedIsWhatHappens() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(shop.manifest().replacing("  steps: 20", with: "  epochs: 0.2"), to: "tone.yaml")
        let planned = try await shop.program.run("plan", "tone.yaml", "--json", "-n", "2")
        #expect(planned.status == 0, "\(planned)")
        let plan = try planned.json()
        #expect(plan["schema"] == 1 && plan["valid"] == true)
        #expect(plan["examples"]?.elements.count == 2 && plan["data"]?["sample"] == false)
        let verdicts = plan["stages"]?.elements.map { $0["verdict"]?.word ?? "" } ?? []
        #expect(verdicts.filter { $0 == "runs" }.count == 4 && verdicts.contains("skipped"), "\(verdicts)")
        #expect(try shop.names(in: "Jobs/runs").isEmpty)

        let run = try await shop.program.run("run", "tone.yaml", "--json")
        #expect(run.status == 0, "\(run)")
        let record = try shop.json("Artifacts/adapters/tone/1/lorajobs.json")
        #expect(record["training"]?["steps"] == plan["training"]?["steps"], "\(plan)")
        #expect(record["training"]?["trainedParameters"] == plan["training"]?["trained_parameters"])
        #expect(record["data"]?["train"]?["tokens"] == plan["training"]?["tokens_per_epoch"])

        let again = try await shop.program.run("plan", "tone.yaml", "--json")
        let later = try again.json()["stages"]?.elements.map { $0["verdict"]?.word ?? "" } ?? []
        #expect(later == verdicts.map { $0 == "runs" ? "cached" : $0 }, "\(again)")
    }

    /// Of running text only reading it tells how many examples there will be to judge by.
    @Test func aGateThatWillHaveTooFewExamplesIsForetold() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(shop.manifest() + "gate: {min_examples: 5000}\n", to: "tone.yaml")
        let plan = try await shop.program.run("plan", "tone.yaml", "--json", "-n", "0").json()
        let count = plan["data"]?["splits"]?["test"]?["sequences"]
        #expect(count != nil && plan["gate"]?["test_examples"] == count, "\(plan)")
        #expect(plan["gate"]?["shortfall"]?.word?.contains("5000 are wanted") == true)
        let text = try await shop.program.run("plan", "tone.yaml", "-n", "0").output
        #expect(text.contains("gate: the test split has") && text.contains("lower gate.min_examples"), "\(text)")
        try shop.write(shop.manifest() + "gate: {min_examples: 1}\n", to: "tone.yaml")
        let enough = try await shop.program.run("plan", "tone.yaml", "--json", "-n", "0").json()
        #expect(enough["gate"]?["shortfall"] == .null, "\(enough)")
    }

    /// A small test file is read whole beside training files of which there is a sample: its count is no estimate.
    @Test func testExamplesAreCountedInTheirOwnFiles() async throws {
        guard let shop = try await Workshop.make() else { return }
        let play = try Data(contentsOf: shop.url("data/play.txt"))
        var large = Data()
        while large.count <= 33 << 20 { large.append(play) }
        try shop.write(large, to: "data/large.txt")
        try shop.write(play.prefix(20_000), to: "data/held.txt")
        let manifest = shop.manifest(data: "data/large.txt").replacing(
            "max_length", with: "test: data/held.txt, max_length")
        try shop.write(manifest + "gate: {min_examples: 5000}\n", to: "tone.yaml")
        let plan = try await shop.program.run("plan", "tone.yaml", "--json", "-n", "0").json()
        #expect(plan["data"]?["sample"] == true, "\(plan)")
        let count = plan["data"]?["splits"]?["test"]?["sequences"]
        #expect(count != nil && plan["gate"]?["test_examples"] == count, "\(plan)")
        #expect(plan["gate"]?["shortfall"]?.word?.contains("has about") == false)
    }

    /// What the tokens depend on, each changed in turn: all of it makes another artifact, and nothing else does.
    @Test func whatDecidesAboutTokensMakesThemAnew() async throws {
        guard let shop = try await Workshop.make() else { return }
        for name in try FileManager.default.contentsOfDirectory(atPath: shop.base.path) where !name.hasPrefix("orig") {
            try shop.write(try Data(contentsOf: shop.base.appending(path: name)), to: "bases/own/\(name)")
        }
        let manifest = shop.manifest(base: "bases/own")
        try shop.write(manifest, to: "tone.yaml")
        #expect(try await shop.program.run("run", "tone.yaml").status == 0)
        func tokenize(_ manifest: String) async throws -> String? {
            try shop.write(manifest, to: "changed.yaml")
            let planned = try await shop.program.run("plan", "changed.yaml", "--json", "-n", "0")
            #expect(planned.status == 0, "\(planned)")
            return try planned.json()["stages"]?.elements.first { $0["kind"] == "tokenize" }?["verdict"]?.word
        }
        func changing(_ path: String, _ change: (inout Data) -> Void) async throws -> String? {
            let before = try? Data(contentsOf: shop.url(path))
            var data = before ?? Data()
            change(&data)
            try shop.write(data, to: path)
            defer {
                try? before.map { try shop.write($0, to: path) } ?? FileManager.default.removeItem(at: shop.url(path))
            }
            return try await tokenize(manifest)
        }
        #expect(try await tokenize(manifest) == "cached")
        #expect(try await tokenize(manifest.replacing("rank: 4", with: "rank: 8")) == "cached")
        #expect(try await changing("data/play.txt") { _ in } == "cached", "written again, with the same content")
        #expect(try await tokenize(manifest.replacing("max_length: 64", with: "max_length: 60")) == "runs")
        #expect(try await changing("data/play.txt") { $0.append(contentsOf: "More.\n\n".utf8) } == "runs")
        #expect(try await changing("bases/own/tokenizer.json") { $0.append(UInt8(ascii: "\n")) } == "runs")
        #expect(try await changing("bases/own/chat_template.jinja") { $0 = Data("{{ messages }}".utf8) } == "runs")
        #expect(
            try await changing("bases/own/config.json") { data in
                data = Data(
                    String(decoding: data, as: UTF8.self).replacing("embeddings\": 512", with: "embeddings\": 256").utf8
                )
            } == "runs", "how long a sequence may be is the base's to say")
        #expect(try await tokenize(manifest) == "cached")
    }

    @Test func dataThatCannotBeUsedAreAFinding() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(
            #"{"prompt": "Q: ", "completion": "forty-two"}"# + "\n" + #"{"prompt": "Q: ", "completion": "six"}"# + "\n",
            to: "data/qa.jsonl")
        let manifest = shop.manifest("qa", data: "data/qa.jsonl").replacing(
            "max_length: 64", with: "max_length: 64, validation: 0%, test: 0%")
        try shop.write(manifest, to: "qa.yaml")
        let good = try await shop.program.run("plan", "qa.yaml")
        #expect(good.status == 0, "\(good)")
        #expect(good.output.contains("Q: [forty-two") || good.output.contains("Q:[ forty-two"), "\(good)")
        #expect(good.output.contains("memory: about") && good.output.contains("2 records in"), "\(good)")

        try shop.write("{\"prompt\": \"Q\", \"completion\": \"A\"}\n{\"prompt\": 3}\n", to: "data/qa.jsonl")
        let bad = try await shop.program.run("plan", "qa.yaml", "--json")
        #expect(bad.status == 65, "\(bad)")
        let finding = try #require(try bad.json()["findings"]?.elements.first)
        #expect(finding["code"] == "bad_record" && finding["message"]?.word?.contains("qa.jsonl:2") == true)
        try shop.write(manifest.replacing("rank: 4", with: "rank: -4"), to: "wrong.yaml")
        #expect(try await shop.program.run("plan", "wrong.yaml").status == 65)
        #expect(try await shop.program.run("plan", "nothing.yaml").status == 66)
    }

    /// A job whose estimate is beyond what the workspace gives is refused at once, with a change after which it fits.
    @Test func aJobTooLargeForTheWorkspaceIsRefusedWithWhatWouldFit() async throws {
        guard let shop = try await Workshop.make(),
            let tokenizer = try TestData.folder("models/gpt2-shakespeare-trained-here")
        else { return }
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            try shop.write(try Data(contentsOf: tokenizer.appending(path: name)), to: "bases/large/\(name)")
        }
        try shop.write(
            #"{"model_type":"gpt2","n_embd":256,"n_layer":8,"n_head":4,"n_positions":2048,"vocab_size":512}"#,
            to: "bases/large/config.json")
        func manifest(_ data: String = "", _ train: String = "", _ run: String = "") -> String {
            """
            name: large
            base: {config: bases/large, init: random}
            data: {train: data/play.txt\(data)}
            adapter: {targets: all-linear}
            train: {steps: 2\(train)}
            run: {threads: 1\(run)}

            """
        }
        let settings = try shop.text("lorajobs.yaml")
        try shop.write(manifest(), to: "large.yaml")
        try shop.write(settings + "memory: 300MiB\n", to: "lorajobs.yaml")
        let again = try await shop.program.run("validate", "large.yaml")
        let recomputed = "with train: {gradient_checkpointing: true} it would take "
        #expect(again.status == 65 && (again.output + again.talk).contains(recomputed), "\(again)")
        try shop.write(manifest("", ", gradient_checkpointing: true"), to: "recomputed.yaml")
        #expect(try await shop.program.run("validate", "recomputed.yaml").status == 0)

        try shop.write(settings + "memory: 230MiB\n", to: "lorajobs.yaml")
        for verb in ["submit", "validate", "plan"] {
            let refused = try await shop.program.run(verb, "large.yaml", "--json")
            #expect(refused.status == 65, "\(verb): \(refused)")
            let finding = try #require(try refused.json()["findings"]?.elements.first)
            #expect(finding["code"] == "does_not_fit" && finding["message"]?.word?.contains("230MiB") == true)
            let hint = try #require(finding["hint"]?.word)
            let way = try #require(
                try
                    #/micro_batch: 1, gradient_checkpointing: true\} and data: \{max_length: (\d+)\} it would take (\d+)MiB/#
                    .firstMatch(in: hint),
                "\(hint)")
            #expect(try #require(Int(way.2)) <= 230, "\(hint)")
            try shop.write(
                manifest(", max_length: \(way.1)", ", micro_batch: 1, gradient_checkpointing: true"), to: "smaller.yaml"
            )
        }
        #expect(try await shop.program.run("validate", "smaller.yaml").status == 0)
        try shop.write(manifest("", "", ", memory: 200MiB"), to: "sure.yaml")
        #expect(try await shop.program.run("validate", "sure.yaml").status == 0, "who writes a size is believed")
        #expect(try await shop.program.run("submit", "smaller.yaml", "--hold").status == 0)
        // Whatever is done, weights of this size do not fit here.
        try shop.write(settings + "memory: 80MiB\n", to: "lorajobs.yaml")
        let hopeless = try await shop.program.run("submit", "large.yaml")
        #expect(hopeless.status == 65 && hopeless.talk.contains("take a smaller base"), "\(hopeless)")
    }

    /// Two jobs that each fit and together do not: the second waits for the memory that the estimate gives the first.
    @Test func jobsAreAdmittedByTheirEstimate() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(shop.manifest(), to: "tone.yaml")
        let planned = try await shop.program.run("validate", "tone.yaml", "--json")
        #expect(planned.status == 0, "\(planned)")
        let need = try #require(
            try await shop.program.run("plan", "tone.yaml", "--json", "-n", "0").json()["memory"]?["peak_bytes"]?.double
        )
        try shop.write(
            try shop.text("lorajobs.yaml")
                + "memory: \(Int(1.4 * need) >> 20)MiB\nthreads: 2\nqueues: {default: {max_jobs: 3}}\n",
            to: "lorajobs.yaml")
        try await shop.startDaemon(shop.stoppingAtCheckpoint)
        try shop.drop(shop.manifest("first", steps: 400), as: "first.yaml")
        let first = try await shop.id(of: "first")
        let pid = try await shop.trainingStoppedAtCheckpoint(first)
        try shop.drop(shop.manifest("second", steps: 400), as: "second.yaml")
        let second = try await shop.id(of: "second")
        var reason = ""
        try await shop.until("the second waits for memory") {
            let job = try await shop.jobs().first { $0["id"] == .string(second) }
            reason = job?["reason"]?.word ?? ""
            #expect(job?["state"] != "running", "\(String(describing: job))")
            return reason == "Resources(mem)"
        }
        // A third says itself how little it needs.
        try shop.drop(
            shop.manifest("third").replacing("{threads: 1}", with: "{threads: 1, memory: 1MiB}"), as: "third.yaml")
        #expect(try await shop.program.run("cancel", second).status == 0)
        try await shop.until("the third runs beside the first") {
            try await shop.jobs().contains { $0["name"] == "third" && $0["state"] == "running" }
        }
        kill(pid, SIGKILL)
        #expect(try await shop.program.run("cancel", first).status == 0)
    }

    /// Peak memory of the process that trains, against what is known before anything is loaded.
    @Test(arguments: [
        (
            "gpt2", "[c_attn]",
            #"{"model_type":"gpt2","n_embd":384,"n_layer":8,"n_head":6,"n_positions":512,"vocab_size":512}"#
        ),
        (
            "llama", "all-linear",
            #"""
            {"model_type":"llama","hidden_size":384,"num_hidden_layers":8,"num_attention_heads":6,"num_key_value_heads":2,
             "intermediate_size":1024,"vocab_size":512,"max_position_embeddings":512}
            """#
        ),
        // Many words: the head's part of the peak is large.
        (
            "words", "[q_proj, v_proj]",
            #"""
            {"model_type":"llama","hidden_size":128,"num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,
             "intermediate_size":384,"vocab_size":50257,"max_position_embeddings":512}
            """#
        ),
        // Few of many experts see a token.
        (
            "mixtral", "[q_proj, gate_up_proj, down_proj]",
            #"""
            {"model_type":"mixtral","hidden_size":256,"num_hidden_layers":5,"num_attention_heads":4,"num_key_value_heads":2,
             "intermediate_size":512,"num_local_experts":8,"num_experts_per_tok":2,"vocab_size":512,
             "max_position_embeddings":512}
            """#
        ),
        (
            "qwen3_moe", "default",
            #"""
            {"model_type":"qwen3_moe","hidden_size":192,"num_hidden_layers":5,"num_attention_heads":4,
             "num_key_value_heads":2,"head_dim":48,"intermediate_size":512,"moe_intermediate_size":128,"num_experts":32,
             "num_experts_per_tok":4,"vocab_size":512,"max_position_embeddings":512}
            """#
        ),
    ])
    func peakMemoryIsForeseen(family: String, targets: String, config: String) async throws {
        guard let shop = try await Workshop.make(),
            let tokenizer = try TestData.folder("models/gpt2-shakespeare-trained-here")
        else { return }
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            try shop.write(try Data(contentsOf: tokenizer.appending(path: name)), to: "bases/\(family)/\(name)")
        }
        try shop.write(config, to: "bases/\(family)/config.json")
        try shop.write(
            """
            name: \(family)
            base: {config: bases/\(family), init: random}
            data: {train: data/play.txt, max_length: 256}
            adapter: {rank: 8, targets: \(targets)}
            train: {steps: 2, batch_tokens: 4096}
            run: {threads: 2}

            """, to: "\(family).yaml")
        try await expectPeak(of: family, shop)
    }

    /// The same for a base that lies in a file, with small steps and a validation behind them.
    @Test(arguments: ["fp32", "bf16"]) func peakMemoryOfAFileIsForeseen(precision: String) async throws {
        guard let shop = try await Workshop.make(), let base = try TestData.folder("models/minilm-l6-v2-bert") else {
            return
        }
        let words = try shop.text("data/play.txt").split(whereSeparator: \.isWhitespace)
        let lines = (0..<600).map { index in
            let text = words[(index * 7)..<(index * 7 + 8 + index % 30)].filter { $0.allSatisfy(\.isLetter) }
            return #"{"text": "\#(text.joined(separator: " "))", "label": "\#(index % 3)"}"#
        }
        try shop.write(lines.joined(separator: "\n"), to: "data/texts.jsonl")
        try shop.write(
            """
            name: \(precision)
            base: \(base.path)
            data: {train: data/texts.jsonl, validation: 10%}
            adapter: {rank: 16, targets: all-linear}
            train: {steps: 30, batch_size: 16, precision: \(precision)}
            run: {threads: 2}

            """, to: "\(precision).yaml")
        try await expectPeak(of: precision, shop)
    }

    /// The same for pairs of texts, of which each batch has another size.
    @Test(arguments: ["fp32", "bf16"]) func peakMemoryOfPairsIsForeseen(precision: String) async throws {
        guard let shop = try await Workshop.make(), let base = try TestData.folder("models/minilm-l6-v2-bert") else {
            return
        }
        let words = try shop.text("data/play.txt").split(whereSeparator: \.isWhitespace)
            .map { $0.filter(\.isLetter) }.filter { !$0.isEmpty }
        let lines = (0..<600).map { index in
            func text(_ start: Int) -> String {
                words[start..<(start + 4 + (start * 7919) % 37)].joined(separator: " ")
            }
            return #"{"anchor": "\#(text(index * 5))", "positive": "\#(text(index * 5 + 2))"}"#
        }
        try shop.write(lines.joined(separator: "\n"), to: "data/pairs.jsonl")
        try shop.write(
            """
            name: \(precision)
            base: \(base.path)
            task: embedding
            data: {train: data/pairs.jsonl, validation: 10%}
            adapter: {rank: 16, targets: all-linear}
            train: {steps: 8, batch_size: 32, precision: \(precision)}
            run: {threads: 2}

            """, to: "\(precision).yaml")
        try await expectPeak(of: precision, shop)
    }

    /// The same for what reads whole texts and what sees, with adapters.
    @Test(arguments: ["bert", "vit"]) func peakMemoryWithAHeadIsForeseen(family: String) async throws {
        guard let shop = try await Workshop.make(), let tokenizer = try TestData.folder("models/minilm-l6-v2-bert")
        else { return }
        let config: String
        let data: String
        if family == "bert" {
            config = """
                {"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 30522, "hidden_size": 256,
                 "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 1024,
                 "max_position_embeddings": 512}
                """
            let words = try shop.text("data/play.txt").split(whereSeparator: \.isWhitespace)
            let lines = (0..<300).map { index in
                let text = words[(index * 17)..<(index * 17 + 20 + index % 60)].filter { $0.allSatisfy(\.isLetter) }
                return #"{"text": "\#(text.joined(separator: " "))", "label": "\#(index % 3)"}"#
            }
            try shop.write(lines.joined(separator: "\n"), to: "data/texts.jsonl")
            data = "data/texts.jsonl"
            for name in ["tokenizer.json", "tokenizer_config.json"] {
                try shop.write(try Data(contentsOf: tokenizer.appending(path: name)), to: "bases/bert/\(name)")
            }
        } else {
            config = """
                {"model_type": "vit", "architectures": ["ViTModel"], "hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 3,
                 "intermediate_size": 768, "image_size": 64, "patch_size": 8, "num_channels": 1}
                """
            try shop.write(#"{"size": {"height": 64, "width": 64}}"#, to: "bases/vit/preprocessor_config.json")
            let count = 200
            let pixels = (0..<count * 64 * 64).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
            try shop.write(
                Data([0, 0, 8, 3, 0, 0, 0, UInt8(count), 0, 0, 0, 64, 0, 0, 0, 64] + pixels),
                to: "data/t-images-idx3-ubyte")
            let labels = (0..<count).map { UInt8($0 % 10) }
            try shop.write(Data([0, 0, 8, 1, 0, 0, 0, UInt8(count)] + labels), to: "data/t-labels-idx1-ubyte")
            data = "data/t-*-ubyte"
        }
        try shop.write(config, to: "bases/\(family)/config.json")
        try shop.write(
            """
            name: \(family)
            base: {config: bases/\(family), init: random}
            data: {train: \(data)}
            train: {steps: 1, batch_tokens: 64}
            run: {threads: 2}

            """, to: "base.yaml")
        let base = try await shop.program.run("run", "base.yaml")
        #expect(base.status == 0, "\(base)")
        try shop.write(
            """
            name: adapted
            base: store:\(family)
            data: {train: \(data)}
            adapter: {method: lora, rank: 8}
            train: {steps: 2, batch_tokens: 4096}
            run: {threads: 2}

            """, to: "adapted.yaml")
        try await expectPeak(of: "adapted", shop)
    }

    private func expectPeak(of family: String, _ shop: Workshop) async throws {
        let planned = try await shop.program.run("plan", "\(family).yaml", "--json", "-n", "0")
        #expect(planned.status == 0, "\(planned)")
        let foreseen = try #require(try planned.json()["memory"]?["peak_bytes"]?.double)
        // The stage that trains says what it took, whatever becomes of the ones behind it.
        // Products of bf16 take minutes where the processor has none.
        let run = try await shop.program.start(["run", "\(family).yaml", "--json"]).outcome(within: 400)
        let job = try #require(try await shop.jobs().last?["id"]?.word, "\(run)")
        let result = try shop.json("Jobs/runs/\(job)/train.1/result.json")
        let measured = try #require(result["peakRSSBytes"]?.double, "\(run)")
        print(
            "peak of \(family): foreseen \(Int(foreseen) >> 20) MiB, measured \(Int(measured) >> 20) MiB; \(planned.output)"
        )
        #expect(abs(foreseen / measured - 1) < 0.15, "\(foreseen) foreseen, \(measured) measured")
    }
}
