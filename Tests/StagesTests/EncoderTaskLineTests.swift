import Adapters
import Foundation
import Layers
import Models
import PipelineSpec
import TensorCore
import TestSupport
import Testing

@testable import Stages

/// Jobs on an encoder that are no classification of whole texts, from records to a version.
@Suite(.serialized) struct EncoderTaskLineTests {
    private let folder: TemporaryFolder
    private let base: URL

    private static let configuration = """
        {"architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": 30522, "hidden_size": 32,
         "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64,
         "initializer_range": 0.3}
        """

    /// A small random BERT with a head for hidden tokens and a real tokenizer.
    init() throws {
        folder = try TemporaryFolder()
        base = folder.url.appending(path: "base")
        guard let tokenizer = try TestData.folder("models/minilm-l6-v2-bert") else { return }
        let origin = folder.url.appending(path: "origin")
        try FileManager.default.createDirectory(at: origin, withIntermediateDirectories: true)
        try Data(Self.configuration.utf8).write(to: origin.appending(path: "config.json"))
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            try FileManager.default.copyItem(at: tokenizer.appending(path: name), to: origin.appending(path: name))
        }
        let model = try ModelRegistry.random(ModelConfiguration(folder: origin), for: .maskedLM, seed: 3)
        try CheckpointWriter.write(model, to: base, base: origin)
    }

    private var hasBase: Bool { FileManager.default.fileExists(atPath: base.path) }

    private static let people = ["anna", "peter", "maria", "john", "susan"]
    private static let places = ["paris", "london", "berlin", "rome", "vienna"]

    private func file(_ lines: [String]) throws -> URL {
        let file = folder.url.appending(path: "data.jsonl")
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: file)
        return file
    }

    private func manifest(_ file: URL, steps: Int) -> JobManifest {
        var manifest = JobManifest(name: "texts", base: .folder(base.path))
        manifest.data.train = [file.path]
        manifest.data.test = .fraction(0.2)
        manifest.train.duration = .steps(steps)
        manifest.train.batchSize = 16
        manifest.train.learningRate = 1e-2
        manifest.merge = JobManifest.Merge()
        return manifest
    }

    /// Runs all stages and returns the metrics, and the folders of adapter and merged checkpoint.
    private func run(_ manifest: JobManifest) throws -> (metrics: [String: Double], adapter: URL, model: URL) {
        let line = try StageLine(manifest)
        for kind in ["tokenize", "train"] {
            let failure = try line.run(kind).result.failure
            #expect(failure == nil, "\(kind): \(failure as Any)")
        }
        let evaluated = try line.run("evaluate").result
        #expect(evaluated.failure == nil)
        let merged = try line.run("merge").result
        #expect(merged.failure == nil && (merged.metrics["merge_difference"] ?? 1) < 1e-3, "\(merged)")
        let packaged = try line.run("package")
        #expect(packaged.result.failure == nil)
        // The folder of a line goes with it.
        let kept = folder.url.appending(path: "kept")
        try FileManager.default.copyItem(at: packaged.directory.out, to: kept)
        return (evaluated.metrics, kept.appending(path: "adapter"), kept.appending(path: "model"))
    }

    private func settings(_ adapter: URL) throws -> TensorCore.JSONValue {
        try JSONValue(Data(contentsOf: adapter.appending(path: "adapter_config.json")), file: "")
    }

    @Test func wordsAreTagged() throws {
        guard hasBase else { return }
        let lines = (0..<200).map { index in
            let (person, place) = (Self.people[index % 5], Self.places[index / 5 % 5])
            return """
                {"tokens": ["today", "\(person)", "went", "to", "\(place)", "\(index)"], \
                "ner_tags": ["O", "PER", "O", "O", "LOC", null]}
                """
        }
        let result = try run(manifest(file(lines), steps: 120))
        #expect(try #require(result.metrics["accuracy"]) > 0.95)
        #expect(result.metrics["base_accuracy"] == nil, "the base has no such head")
        let settings = try settings(result.adapter)
        #expect(settings["task_type"] == .string("TOKEN_CLS"))
        #expect(settings["modules_to_save"] == .array([.string("classifier"), .string("score")]))
        let card = try String(contentsOf: result.adapter.appending(path: "README.md"), encoding: .utf8)
        #expect(card.contains("token-classification") && card.contains("num_labels=3"))
        let whole = try ModelRegistry.load(folder: result.model, for: nil)
        #expect(whole.task == .tokenClassification(labels: 3))
        #expect(try ModelConfiguration(folder: result.model).labels() == ["LOC", "O", "PER"])
    }

    @Test func hiddenWordsAreFound() throws {
        guard hasBase else { return }
        let lines = (0..<200).map { index in
            #"{"text": "\#(Self.people[index % 5]) lives in \#(Self.places[index % 5]) and likes it there very much"}"#
        }
        var manifest = manifest(try file(lines), steps: 100)
        manifest.task = .maskedLM
        let result = try run(manifest)
        let (before, after) = (try #require(result.metrics["base_loss"]), try #require(result.metrics["loss"]))
        #expect(after < 0.75 * before, "\(before) to \(after)")
        #expect(try settings(result.adapter)["modules_to_save"] == .null)
        #expect(try ModelRegistry.load(folder: result.model, for: nil).task == .maskedLM)
    }

    @Test(arguments: [true, false]) func textsThatBelongTogetherAreNear(hasScores: Bool) throws {
        guard hasBase else { return }
        let lines = (0..<200).map { index in
            let first = "question \(index) about \(Self.people[index % 5]) in \(Self.places[index / 5 % 5])"
            // With scores, every other answer is about somebody else, and farther away.
            let person = Self.people[(index + (hasScores ? index / 25 % 2 : 0)) % 5]
            let second = "answer about \(person) in \(Self.places[index / 5 % 5])"
            let score = hasScores ? #", "score": \#(index / 25 % 2 == 0 ? 0.95 : 0.2)"# : ""
            return #"{"sentence1": "\#(first)", "sentence2": "\#(second)"\#(score)}"#
        }
        let result = try run(manifest(file(lines), steps: 80))
        let (before, after) = (try #require(result.metrics["base_loss"]), try #require(result.metrics["loss"]))
        #expect(after < before, "\(before) to \(after)")
        #expect((result.metrics["accuracy"] == nil) == hasScores)
        #expect(try settings(result.adapter)["task_type"] == .string("FEATURE_EXTRACTION"))
        // A bare body, whose names have no prefix.
        let whole = try ModelRegistry.load(folder: result.model, for: nil)
        #expect(whole.task == .featureExtraction)
        let adapted = try AdaptedModel(base: base, adapter: result.adapter, for: .featureExtraction)
        let batch = TokenBatch([[101, 1996, 2143, 102], [101, 2307, 102]], labels: [-1, -1])
        let outputs = Autograd.withoutGradients { whole.outputs(of: batch, context: ForwardContext()) }
        #expect(outputs.largestDifference(from: adapted.outputs(batch)) < 1e-4)
    }

    @Test func numbersAreGiven() throws {
        guard hasBase else { return }
        // As many as five names, from half numbers to whole ones, some of them as tables write them.
        let lines = (0..<200).map { index in
            let number = 0.5 * Double(index % 5) - 1
            let label = index % 7 == 0 ? "\"\(number)\"" : "\(number)"
            return #"{"text": "review \#(index) by \#(Self.people[index % 5])", "label": \#(label)}"#
        }
        var manifest = manifest(try file(lines), steps: 120)
        manifest.task = .sequenceRegression
        let result = try run(manifest)
        let loss = try #require(result.metrics["loss"])
        #expect(loss < 0.1, "the numbers' variance is 0.5")
        #expect(result.metrics["accuracy"] == nil && result.metrics["perplexity"] == nil)
        let settings = try settings(result.adapter)
        #expect(settings["task_type"] == .string("SEQ_CLS"))
        let card = try String(contentsOf: result.adapter.appending(path: "README.md"), encoding: .utf8)
        #expect(card.contains("text-classification") && card.contains("num_labels=1") && !card.contains("perplexity"))
        let head = try PEFTFolder.labelCount(in: result.adapter)
        #expect(head == 1)

        // The checkpoint says by itself what it is for, and so does whoever judges with it.
        #expect(try ModelRegistry.load(folder: result.model, for: nil).task == .sequenceRegression)
        let asked = try file([#"{"text": "review 3 by john", "label": 7.5}"#])
        func judged(_ base: URL, _ adapter: URL?, _ task: JobManifest.Task) throws -> Double {
            try TaskEvaluation(
                base: base, adapter: adapter, on: [asked], task: task, labels: [], format: .auto, columns: [:]
            ).nll
        }
        let merged = try judged(result.model, nil, .auto)
        #expect(try abs(merged - judged(base, result.adapter, .sequenceRegression)) < 1e-3 * merged)
        #expect(abs(merged - 49) < 5, "john's number is 0.5, and 7.5 is wanted")
        #expect(throws: StageError.self) { try judged(base, nil, .sequenceClassification) }
    }

    @Test func whatABaseCannotLearnIsRefusedByName() throws {
        guard hasBase else { return }
        let text = try file([#"{"text": "one text"}"#, #"{"text": "another"}"#])
        func failure(_ base: URL, _ task: JobManifest.Task) throws -> String? {
            var manifest = manifest(text, steps: 1)
            (manifest.base, manifest.task) = (.folder(base.path), task)
            return try StageLine(manifest).run("tokenize").result.failure?.message
        }
        let decoder = try Fixtures.folder("golden/peft-adapters/llama_default/base")
        #expect(try failure(decoder, .embedding)?.contains("embedding is not for a base such as llama") == true)
        #expect(
            try failure(base, .causalLM)?.contains("sequence-regression, token-classification, masked-lm") == true)
        #expect(try failure(base, .tokenClassification)?.contains("names 0 class(es)") == true)
        // Without its head, a base cannot find hidden words.
        let bare = folder.url.appending(path: "bare")
        try FileManager.default.copyItem(at: base, to: bare)
        let configuration = Self.configuration.replacing("BertForMaskedLM", with: "BertModel")
        try Data(configuration.utf8).write(to: bare.appending(path: "config.json"))
        #expect(try failure(bare, .maskedLM)?.contains("needs a base with a head for hidden tokens") == true)
        #expect(try failure(bare, .auto)?.contains("names 0 class(es)") == true)
    }
}
