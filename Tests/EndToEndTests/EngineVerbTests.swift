import Foundation
import PipelineSpec
import TestSupport
import Testing

/// The engine by hand, against numbers that other programs computed.
@Suite(.timeLimit(.minutes(30))) struct EngineVerbTests {
    private let temporary: TemporaryFolder
    private let program: Program

    init() throws {
        temporary = try TemporaryFolder()
        program = try Program(in: temporary.url)
    }

    @Test func greedyTextAndLossAreTheExpected() async throws {
        guard let base = try TestData.folder("models/stories260K") else { return }
        let expected = try JSONDecoder().decode(
            JSONValue.self, from: Data(contentsOf: base.appending(path: "expected.json")))
        let all = try #require(expected["greedy_from_bos_ids"]?.elements)
        let prompt = try #require(expected["prompt"]?.word)
        let known = try #require(expected["input_ids"]?.elements)
        // The greedy text from the begin token begins with the prompt, so it also says how the prompt goes on.
        try #require(Array(all.prefix(known.count)) == known)

        let fromPrompt = try await program.run(
            "generate", "--base", base.path, "--prompt", prompt, "--max-tokens", "40", "--greedy", "--json")
        #expect(try fromPrompt.json()["ids"]?.elements == Array(all.dropFirst(known.count).prefix(40)), "\(fromPrompt)")
        let count = min(120, all.count - 1)
        for start in [["--prompt", ""], ["--ids", "1"]] {
            let outcome = try await program.run(
                ["generate", "--base", base.path, "--max-tokens", "\(count)", "--greedy", "--json"] + start)
            let json = try outcome.json()
            #expect(json["schema"] == 1 && json["ids"]?.elements == Array(all.dropFirst().prefix(count)), "\(outcome)")
            #expect(expected["greedy_text"]?.word?.hasPrefix(json["text"]?.word ?? "?") == true)
        }

        let line = JSONValue.object(["text": .string(prompt)]).text() + "\n"
        try Data(line.utf8).write(to: temporary.url.appending(path: "prompt.jsonl"))
        let eval = try await program.run("eval", "--base", base.path, "--data", "prompt.jsonl", "--json")
        let loss = try #require(try eval.json()["nll"]?.double, "\(eval)")
        #expect(abs(loss - (expected["loss"]?.double ?? .nan)) < 1e-4)
        #expect(try eval.json()["tokens"] == .integer(known.count - 1))
        #expect(try eval.json()["examples"]?.elements.count == 1)
    }

    @Test func tokensAreTheExpected() async throws {
        guard let folder = try TestData.folder("tokenizers/gpt2") else { return }
        let vectors = try String(contentsOf: folder.appending(path: "vectors.jsonl"), encoding: .utf8)
            .split(separator: "\n").map { try JSONDecoder().decode(JSONValue.self, from: Data($0.utf8)) }
        try #require(vectors.count > 40)
        let input = vectors.map { JSONValue.object(["text": $0["text"] ?? .null]).text() + "\n" }.joined()
        for special in [false, true] {
            let outcome = try await program.run(
                ["tokenize", "--tokenizer", folder.path] + (special ? ["--special"] : []), input: input)
            #expect(outcome.status == 0, "\(outcome.talk)")
            let lines = try outcome.output.split(separator: "\n").map {
                try JSONDecoder().decode(JSONValue.self, from: Data($0.utf8))
            }
            try #require(lines.count == vectors.count)
            for (line, vector) in zip(lines, vectors) {
                #expect(line["ids"] == vector[special ? "ids_with_special" : "ids"], "\(vector["text"] ?? .null)")
                if special { continue }
                #expect(line["tokens"] == vector["tokens"] && line["offsets"] == vector["offsets"])
            }
        }
        let file = folder.appending(path: "tokenizer.json").path
        let bad = try await program.run(["tokenize", "--tokenizer", file], input: "{\"text\": \"a\"}\n{\"txt\": 1}\n")
        #expect(bad.status == 65 && bad.talk.contains("standard input:2"), "\(bad)")
    }

    @Test func theBenchmarkSaysWhatItMeasured() async throws {
        let outcome = try await program.run(
            "bench", "train", "--config", "gpt2", "--steps", "1", "--batch", "1", "--length", "16", "--json")
        #expect(outcome.status == 0, "\(outcome)")
        let json = try outcome.json()
        #expect(json["schema"] == 1 && json["step_seconds"]?.elements.count == 1)
        #expect(json["tokens_per_second"]?.double ?? 0 > 0)
        // The weights alone are 124 million floats.
        #expect(json["peak_rss_bytes"]?.double ?? 0 > 400e6)
        #expect(json["gemm_ceiling_fraction"]?.double ?? 0 > 0)
    }

    @Test func whatIsMissingIsNamed() async throws {
        guard let base = try TestData.folder("models/stories260K") else { return }
        let nowhere = try await program.run("generate", "--base", "nowhere", "--prompt", "a")
        #expect(nowhere.status == 66 && nowhere.talk.contains("nowhere"), "\(nowhere)")
        let data = try await program.run("eval", "--base", base.path, "--data", "missing.jsonl", "--json")
        #expect(data.status == 66 && data.talk.contains("missing.jsonl") && data.output.isEmpty, "\(data)")
        try Data("{\"text\": \"a\"}\n".utf8).write(to: temporary.url.appending(path: "one.jsonl"))
        try Data().write(to: temporary.url.appending(path: "none.jsonl"))
        let made = try await program.run("init", ".")
        #expect(made.status == 0)
        let adapter = try await program.run("eval", "--base", base.path, "--adapter", "none:1", "--data", "one.jsonl")
        #expect(adapter.status == 66 && adapter.talk.contains("none"), "\(adapter)")
        let empty = try await program.run("eval", "--base", base.path, "--data", "none.jsonl")
        #expect(empty.status == 65 && empty.talk.contains("none.jsonl"), "\(empty)")
    }
}
