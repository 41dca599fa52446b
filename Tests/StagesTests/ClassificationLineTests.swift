import Foundation
import Layers
import Models
import PipelineSpec
import TensorCore
import TestSupport
import Testing

@testable import Stages

/// A job of classification, from records to a version, on an encoder that comes without a head.
@Suite(.serialized) struct ClassificationLineTests {
    private let folder: TemporaryFolder
    private let base: URL

    private static let configuration = """
        {"architectures": ["BertModel"], "model_type": "bert", "vocab_size": 30522, "hidden_size": 48,
         "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "max_position_embeddings": 64,
         "initializer_range": 0.3}
        """

    /// A small random BERT with a real tokenizer.
    init() throws {
        folder = try TemporaryFolder()
        base = folder.url.appending(path: "base")
        guard let tokenizer = try TestData.folder("models/minilm-l6-v2-bert") else { return }
        let origin = folder.url.appending(path: "origin")
        try FileManager.default.createDirectory(at: origin, withIntermediateDirectories: true)
        let file = origin.appending(path: "config.json")
        try Data(Self.configuration.utf8).write(to: file)
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            try FileManager.default.copyItem(at: tokenizer.appending(path: name), to: origin.appending(path: name))
        }
        let model = try ModelRegistry.random(ModelConfiguration(folder: origin), for: .featureExtraction, seed: 3)
        try CheckpointWriter.write(model, to: base, base: origin)
    }

    /// Sentences that a word tells apart.
    private func records(_ count: Int) throws -> URL {
        let (good, bad) = (["fine", "great", "lovely"], ["awful", "dull", "poor"])
        let things = ["film", "book", "song", "meal", "story", "play", "game"]
        let lines = (0..<count).map { index in
            let word = (index % 2 == 0 ? good : bad)[index / 2 % 3]
            let (first, second) = (things[index / 6 % 7], things[index / 42 % 7])
            return
                #"{"text": "the \#(first) and a \#(word) \#(second), \#(index)", "label": "\#(index % 2 == 0 ? "pos" : "neg")"}"#
        }
        let file = folder.url.appending(path: "reviews.jsonl")
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: file)
        return file
    }

    private func manifest(_ file: URL) -> JobManifest {
        var manifest = JobManifest(name: "reviews", base: .folder(base.path))
        manifest.data.train = [file.path]
        manifest.data.test = .fraction(0.2)
        manifest.train.duration = .steps(150)
        manifest.train.batchSize = 16
        manifest.train.learningRate = 1e-2
        manifest.adapter.targets = .allLinear
        manifest.merge = JobManifest.Merge()
        return manifest
    }

    @Test func aNewHeadIsTrainedJudgedMergedAndPackaged() throws {
        guard FileManager.default.fileExists(atPath: base.path) else { return }
        let line = try StageLine(manifest(records(300)))
        let tokenized = try line.run("tokenize")
        #expect(tokenized.result.failure == nil)
        let report = try JSONDecoder().decode(
            TokenizeStage.Report.self, from: Data(contentsOf: tokenized.directory.out.appending(path: "report.json")))
        #expect(report.classes == ["neg", "pos"])
        #expect(report.splits["train"]?.targets == report.splits["train"]?.sequences, "one target a text")

        let trained = try line.run("train")
        #expect(trained.result.failure == nil)
        let evaluated = try line.run("evaluate").result
        #expect(evaluated.failure == nil)
        #expect(try #require(evaluated.metrics["accuracy"]) > 0.9)
        #expect(evaluated.metrics["base_accuracy"] == nil, "a base without a head has nothing to say")
        let merged = try line.run("merge")
        #expect(merged.result.failure == nil)
        #expect((merged.result.metrics["merge_difference"] ?? 1) < 1e-3)
        let packaged = try line.run("package")
        #expect(packaged.result.failure == nil && packaged.result.metrics["accuracy"] == evaluated.metrics["accuracy"])

        let adapter = packaged.directory.out.appending(path: "adapter")
        let settings = try JSONValue(Data(contentsOf: adapter.appending(path: "adapter_config.json")), file: "")
        #expect(settings["task_type"] == .string("SEQ_CLS"))
        #expect(settings["modules_to_save"] == .array([.string("classifier"), .string("score")]))
        let names = try SafetensorsFile(adapter.appending(path: "adapter_model.safetensors")).names
        #expect(names.contains("base_model.model.classifier.weight"))
        #expect(names.contains("base_model.model.bert.pooler.dense.lora_A.weight"))
        let record = try JSONValue(Data(contentsOf: adapter.appending(path: "lorajobs.json")), file: "")
        #expect(record["classes"] == .array([.string("neg"), .string("pos")]))
        let card = try String(contentsOf: adapter.appending(path: "README.md"), encoding: .utf8)
        #expect(card.contains("text-classification") && card.contains("num_labels=2") && card.contains("test accuracy"))

        // The merged checkpoint says by itself what it is for, and computes what was measured.
        let checkpoint = packaged.directory.out.appending(path: "model")
        let configuration = try ModelConfiguration(folder: checkpoint)
        #expect(try configuration.labels() == ["neg", "pos"])
        let whole = try ModelRegistry.load(folder: checkpoint, for: nil)
        #expect(whole.task == .sequenceClassification(labels: 2))
        let adapted = try AdaptedModel(base: base, adapter: adapter, for: whole.task)
        let batch = TokenBatch([[101, 1996, 2143, 2003, 9202, 102], [101, 2307, 102]], labels: [-1, -1])
        let outputs = Autograd.withoutGradients { whole.outputs(of: batch, context: ForwardContext()) }
        #expect(outputs.largestDifference(from: adapted.outputs(batch)) < 1e-3)

        // The result is a base that has the head.
        line.manifest.base = .folder(checkpoint.path)
        line.manifest.train.duration = .steps(5)
        for kind in ["tokenize", "train"] { #expect(try line.run(kind).result.failure == nil) }
        let again = try line.run("evaluate").result
        #expect(try #require(again.metrics["base_accuracy"]) > 0.9)
    }

    @Test func dataWithoutClassesIsRefused() throws {
        guard FileManager.default.fileExists(atPath: base.path) else { return }
        let file = folder.url.appending(path: "data.jsonl")
        for (text, code) in [
            (#"{"text": "only text"}"#, "no_classes"), (#"{"text": "a", "label": "x"}"#, "no_classes"),
        ] {
            try Data("\(text)\n\(text)\n".utf8).write(to: file)
            let failure = try StageLine(manifest(file)).run("tokenize").result.failure
            #expect(failure?.code == code, "\(failure?.message ?? "nothing")")
        }
    }
}
