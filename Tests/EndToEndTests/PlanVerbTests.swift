import Foundation
import PipelineSpec
import TestSupport
import Testing

/// `plan`: what a job would do, compared with what it then does.
@Suite(.timeLimit(.minutes(5))) struct PlanVerbTests {
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

    @Test func dataThatCannotBeUsedAreAFinding() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(
            #"{"prompt": "Q: ", "completion": "forty-two"}"# + "\n" + #"{"prompt": "Q: ", "completion": "six"}"# + "\n",
            to: "data/qa.jsonl")
        let manifest = shop.manifest("qa", data: "data/qa.jsonl").replacing("max_length: 64", with: "max_length: 64, validation: 0%, test: 0%")
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
        let planned = try await shop.program.run("plan", "\(family).yaml", "--json", "-n", "0")
        #expect(planned.status == 0, "\(planned)")
        let foreseen = try #require(try planned.json()["memory"]?["peak_bytes"]?.double)
        // The stage that trains says what it took, whatever becomes of the ones behind it.
        let run = try await shop.program.run("run", "\(family).yaml", "--json")
        let job = try #require(try await shop.jobs().last?["id"]?.word, "\(run)")
        let result = try shop.json("Jobs/runs/\(job)/train.1/result.json")
        let measured = try #require(result["peakRSSBytes"]?.double, "\(run)")
        print("peak of \(family): foreseen \(Int(foreseen) >> 20) MiB, measured \(Int(measured) >> 20) MiB; \(planned.output)")
        #expect(abs(foreseen / measured - 1) < 0.15, "\(foreseen) foreseen, \(measured) measured")
    }
}
