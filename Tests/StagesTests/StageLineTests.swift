import Adapters
import Artifacts
import Foundation
import Layers
import PipelineSpec
import TensorCore
import TestSupport
import Testing

@testable import Stages

/// Runs stages one after another as their starter would, without a queue.
final class StageLine {
    let folder: TemporaryFolder
    var manifest: JobManifest
    private var outputs: [String: String] = [:]
    private var attempts: [String: Int] = [:]
    /// Versions that an evaluation compares with.
    var rivals: PinnedRivals?
    /// When a training ends with what it has.
    var limit: StageLimit?

    init(_ manifest: JobManifest) throws {
        folder = try TemporaryFolder()
        self.manifest = manifest
    }

    /// Starts a new attempt at a stage and returns its result and folder.
    @discardableResult
    func run(
        _ kind: String, resumeFrom: URL? = nil, previous: URL? = nil, threads: Int = 2
    ) throws -> (result: StageResult, directory: RunDirectory) {
        let attempt = attempts[kind, default: 0] + 1
        attempts[kind] = attempt
        let directory = RunDirectory(folder.url.appending(path: "\(kind).\(attempt)"))
        try FileManager.default.createDirectory(at: directory.url, withIntermediateDirectories: true)
        let base = try FileManager.default.contentsOfDirectory(atPath: manifest.base.path).sorted()
            .map { "\(manifest.base.path)/\($0)" }.filter { !$0.hasSuffix("original") }
        var data = ["train": try Digest.pin(paths: manifest.data.train)]
        if case .files(let files) = manifest.data.test { data["test"] = try Digest.pin(paths: files) }
        if case .files(let files) = manifest.data.validation { data["validation"] = try Digest.pin(paths: files) }
        var request = StageRequest(
            job: "01TEST", name: manifest.name, stage: kind, uses: kind, attempt: attempt,
            attemptID: "01TEST-\(kind)-\(attempt)", workspace: folder.url.path, manifest: manifest, inputs: outputs,
            data: data, base: try Digest.pin(paths: base), inputDigests: [:], cacheKey: "sha256:0",
            manifestDigest: "sha256:0", resumeFrom: resumeFrom?.path, threads: threads)
        request.previous = previous?.path
        let evaluate = manifest.evaluate
        var suites = try evaluate.suites.mapValues { try Digest.pin(paths: $0.data) }
        if !evaluate.retention.isEmpty { suites[DataFiles.retention] = try Digest.pin(paths: evaluate.retention) }
        request.suites = suites
        request.rivals = rivals
        request.limit = limit
        try directory.write(request)
        let code = StageProcess.run(directory)
        let result = try #require(try directory.readResult())
        #expect(result.exitCode == code)
        if code == 0 { outputs[kind] = directory.out.path }
        return (result, directory)
    }
}

@Suite(.serialized) struct StageLineTests {
    /// Training a real base on a play, as a test of some seconds; `nil` after saying that the test is skipped.
    private static func shakespeare(steps: Int, test: String = #function) throws -> JobManifest? {
        guard let base = try TestData.folder("models/stories260K", test: test),
            let text = try TestData.folder("datasets/tinyshakespeare", test: test)
        else { return nil }
        var manifest = JobManifest(name: "shakespeare", base: .folder(base.path))
        manifest.data.train = [text.appending(path: "valid.txt").path]
        manifest.data.maxLength = 128
        manifest.train.duration = .steps(steps)
        manifest.train.batchTokens = 1024
        manifest.train.learningRate = 5e-3
        return manifest
    }

    @Test func aRealBaseIsAdaptedMergedAndPackaged() throws {
        guard var manifest = try Self.shakespeare(steps: 30) else { return }
        let base = URL(filePath: manifest.base.path, directoryHint: .isDirectory)
        manifest.adapter.dropout = 0.1
        manifest.merge = JobManifest.Merge()
        let line = try StageLine(manifest)

        let tokenized = try line.run("tokenize")
        #expect(tokenized.result.failure == nil)
        #expect((tokenized.result.metrics["train_tokens"] ?? 0) > 40_000)
        #expect((tokenized.result.metrics["test_tokens"] ?? 0) > 500)
        #expect(try line.run("train").result.failure == nil)
        let evaluated = try line.run("evaluate").result
        let before = try #require(evaluated.metrics["base_perplexity"]),
            after = try #require(evaluated.metrics["perplexity"])
        #expect(after < 0.7 * before, "\(before) to \(after)")
        let merged = try line.run("merge").result
        #expect(merged.failure == nil)
        #expect((merged.metrics["merge_difference"] ?? 1) < 1e-3)

        let packaged = try line.run("package")
        #expect(packaged.result.publications.map(\.collection) == ["adapters", "models"])
        let card = try String(contentsOf: packaged.directory.out.appending(path: "adapter/README.md"), encoding: .utf8)
        #expect(card.contains(String(format: "%.3f", after)) && card.contains(String(format: "%.3f", before)))

        // What was packaged is what was measured.
        let loaded = try LoadedModel(base: base, adapter: packaged.directory.out.appending(path: "adapter"))
        let whole = try LoadedModel(base: packaged.directory.out.appending(path: "model"))
        let prompt: [[Int32]] = [[1, 403, 407, 261, 378, 432]]
        #expect(loaded.logits(prompt).largestDifference(from: whole.logits(prompt)) < 1e-3)
        #expect(try TextGeneration(loaded, prompt: "ROMEO:", maxTokens: 12).ids.count == 12)
    }

    /// Modules with ranks and alphas of their own, one that is trained whole, and a training that goes on from a checkpoint.
    @Test func modulesDifferAsTheManifestSays() throws {
        guard var manifest = try Self.shakespeare(steps: 4) else { return }
        let base = URL(filePath: manifest.base.path, directoryHint: .isDirectory)
        manifest.adapter.targets = .suffixes(["q_proj", "v_proj", "down_proj"])
        manifest.adapter.rank = 4
        manifest.adapter.rankPattern = ["v_proj": 2, "layers.1.self_attn.v_proj": 6]
        manifest.adapter.alphaPattern = ["down_proj": 3]
        manifest.adapter.modulesToSave = ["gate_proj"]
        let line = try StageLine(manifest)
        #expect(try line.run("tokenize").result.failure == nil)
        let trained = try line.run("train")
        #expect(trained.result.failure == nil)
        let adapter = trained.directory.out.appending(path: "adapter")
        let file = try SafetensorsFile(adapter.appending(path: "adapter_model.safetensors"))
        func shape(_ name: String) throws -> [Int] {
            try file.entry("base_model.model.model.layers.\(name).weight").shape
        }
        #expect(try shape("0.self_attn.q_proj.lora_A")[0] == 4 && shape("0.self_attn.v_proj.lora_A")[0] == 2)
        #expect(try shape("1.self_attn.v_proj.lora_B")[1] == 6, "of two patterns that fit, the longer")
        let whole = try shape("0.mlp.gate_proj")
        let original = try LoadedModel(base: base).model.projections.first { $0.path.hasSuffix("0.mlp.gate_proj") }
        #expect(whole == original?.weight.tensor.shape)
        let kept = try file.floats(of: "base_model.model.model.layers.0.mlp.gate_proj.weight")
        #expect(kept != original?.weight.tensor.values, "it was trained")
        let settings = try JSONValue(Data(contentsOf: adapter.appending(path: "adapter_config.json")), file: "")
        #expect(
            settings["rank_pattern"]?["v_proj"] == .number("2")
                && settings["alpha_pattern"]?["down_proj"] == .number("3"))
        #expect(settings["modules_to_save"] == .array([.string("gate_proj")]))
        let stored = try file.names.reduce(0) { try $0 + file.entry($1).shape.reduce(1, *) }
        #expect(try MemoryEstimate(of: manifest).trainedParameters == stored)

        // The same checkpoint is known again, though a mapping has no order.
        let again = try line.run("train", resumeFrom: trained.directory.checkpoint)
        #expect(again.result.failure == nil)
        #expect(
            try Data(contentsOf: again.directory.out.appending(path: "adapter/adapter_model.safetensors"))
                == Data(contentsOf: adapter.appending(path: "adapter_model.safetensors")))
        #expect(try line.run("evaluate").result.failure == nil && line.run("package").result.failure == nil)

        line.manifest.adapter.modulesToSave = ["no_such"]
        #expect(throws: AdapterError.self) { try MemoryEstimate(of: line.manifest) }
        #expect(try line.run("train").result.failure?.message.contains("no_such") == true)
    }

    @Test func aTrainingWhoseTimeIsUpIsPackagedWithWhatItHas() throws {
        guard let base = try TestData.folder("models/stories260K"),
            let text = try TestData.folder("datasets/tinyshakespeare")
        else { return }
        var manifest = JobManifest(name: "cut", base: .folder(base.path))
        manifest.data.train = [text.appending(path: "valid.txt").path]
        manifest.data.maxLength = 64
        manifest.train.duration = .steps(100_000)
        manifest.train.batchTokens = 512
        let line = try StageLine(manifest)
        #expect(try line.run("tokenize").result.failure == nil)
        line.limit = StageLimit(seconds: 0)
        let spent = try line.run("train").result
        #expect(spent.failure?.code == "budget_spent" && spent.exitCode == WorkerExit.invalidInput.rawValue)
        line.limit = StageLimit(seconds: 1e6, until: Date().timeIntervalSince1970 - 1)
        #expect(try line.run("train").result.failure?.code == "budget_spent")
        line.limit = StageLimit(step: 4)
        let trained = try line.run("train")
        #expect(trained.result.cut == StageCut(step: 4, steps: 100_000) && trained.result.failure == nil)
        #expect(trained.result.metrics["steps"] == 4 && trained.result.metrics["planned_steps"] == 100_000)
        #expect((trained.result.metrics[StageMetric.trainingGigaflops] ?? 0) > 0)
        #expect((trained.result.metrics[StageMetric.operationsPerToken] ?? 0) > 1e6)
        #expect(try line.run("evaluate").result.failure == nil)
        let packaged = try line.run("package").directory.out.appending(path: "adapter")
        let record = try JSONDecoder().decode(
            VersionRecord.self, from: Data(contentsOf: packaged.appending(path: "lorajobs.json")))
        #expect(record.training.steps == 4 && record.training.plannedSteps == 100_000)
        let card = try String(contentsOf: packaged.appending(path: "README.md"), encoding: .utf8)
        #expect(card.contains("4 of 100000, by its budget"))
    }

    /// What saves memory or time changes nothing, or next to nothing: values computed again are the same, and a run in bf16
    /// ends within a hundredth of the loss of one in single precision.
    ///
    /// In a process of its own: other tests change the number of threads, and bits depend on it.
    @Test func cheaperTrainingEndsWhereTheOtherDoes() async throws {
        guard try Self.shakespeare(steps: 1) != nil else { return }
        await #expect(processExitsWith: .success) { try StageLineTests.compareCheaperTrainings() }
    }

    private static func compareCheaperTrainings() throws {
        var manifest = try #require(try shakespeare(steps: 60))
        manifest.train.precision = .fp32
        manifest.adapter.targets = .allLinear
        let line = try StageLine(manifest)
        try line.run("tokenize")
        func train() throws -> (adapter: Data, losses: [Double], report: TrainStage.Report) {
            let (result, directory) = try line.run("train")
            #expect(result.failure == nil)
            let report = try JSONDecoder().decode(
                TrainStage.Report.self, from: Data(contentsOf: directory.out.appending(path: "training.json")))
            let losses = ["training_loss", "validation_loss"].map { result.metrics[$0] ?? .nan }
            let adapter = try Data(contentsOf: directory.out.appending(path: "adapter/adapter_model.safetensors"))
            return (adapter, losses, report)
        }
        let plain = try train()
        #expect(plain.report.precision == "fp32" && !plain.report.recomputedLayers)
        #expect(plain.losses[0] < 0.8 * (plain.report.curve.first?.loss ?? 0), "\(plain.report.curve)")

        line.manifest.train.gradientCheckpointing = .on
        let recomputed = try train()
        #expect(recomputed.report.recomputedLayers && recomputed.adapter == plain.adapter)
        line.manifest.train.gradientCheckpointing = .auto
        line.manifest.run.memoryBytes = 1 << 20
        #expect(try train().report.recomputedLayers, "nothing less would fit a megabyte")
        line.manifest.run.memoryBytes = nil

        line.manifest.train.precision = .bf16
        let half = try train()
        #expect(half.report.precision == "bf16" && half.adapter != plain.adapter)
        for (one, other) in zip(half.losses, plain.losses) {
            #expect(abs(one / other - 1) < 0.01, "\(half.losses) beside \(plain.losses)")
        }
    }

    @Test func trainingFromNothingMakesACheckpoint() throws {
        let folder = try TemporaryFolder()
        let config = folder.url.appending(path: "base")
        try FileManager.default.createDirectory(at: config, withIntermediateDirectories: true)
        guard let tokenizer = try TestData.folder("models/gpt2-shakespeare-trained-here"),
            let text = try TestData.folder("datasets/tinyshakespeare")
        else { return }
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            try FileManager.default.copyItem(at: tokenizer.appending(path: name), to: config.appending(path: name))
        }
        try Data(#"{"model_type":"gpt2","n_embd":32,"n_layer":2,"n_head":2,"n_positions":64,"vocab_size":512}"#.utf8)
            .write(to: config.appending(path: "config.json"))
        var manifest = JobManifest(name: "tiny", base: .random(config: config.path))
        manifest.adapter.method = .full
        manifest.data.train = [text.appending(path: "valid.txt").path]
        manifest.train.duration = .steps(60)
        manifest.train.batchTokens = 1024
        manifest.train.learningRate = 1e-2
        let line = try StageLine(manifest)
        try line.run("tokenize")
        #expect(try line.run("train").result.failure == nil)
        let evaluated = try line.run("evaluate").result
        let perplexity = try #require(evaluated.metrics["perplexity"])
        #expect(perplexity < 250, "512 equally likely tokens would be 512; got \(perplexity)")
        #expect(evaluated.metrics["base_perplexity"] == nil)
        let packaged = try line.run("package")
        #expect(packaged.result.publications.map(\.collection) == ["models"])
        #expect(try LoadedModel(base: packaged.directory.out.appending(path: "model")).tokenizer != nil)
    }

    @Test func badDataNamesFileAndLine() throws {
        let folder = try TemporaryFolder()
        guard let base = try TestData.folder("models/stories260K") else { return }
        let file = folder.url.appending(path: "data.jsonl")
        try Data("{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": 3}\n".utf8).write(to: file)
        var manifest = JobManifest(name: "bad", base: .folder(base.path))
        manifest.data.train = [file.path]
        let result = try StageLine(manifest).run("tokenize").result
        #expect(result.exitCode == WorkerExit.invalidInput.rawValue)
        #expect(result.failure?.code == "bad_record" && result.failure?.message.contains("data.jsonl:3") == true)
        manifest.data.maxBadRecords = 1
        #expect(try StageLine(manifest).run("tokenize").result.failure == nil)
    }

    @Test func changedInputsAreNoticed() throws {
        let folder = try TemporaryFolder()
        guard let base = try TestData.folder("models/stories260K") else { return }
        let file = folder.url.appending(path: "data.jsonl")
        try Data("{\"text\": \"one story\"}\n{\"text\": \"another\"}\n".utf8).write(to: file)
        let pinned = try Digest.pin(paths: [file.path])[0]
        let handle = try FileHandle(forWritingTo: file)
        try handle.seekToEnd()
        try handle.write(contentsOf: Data("{\"text\": \"appended later\"}\n".utf8))
        var lines = 0
        try LineReader(file: pinned).forEachLine { _, _, _ in lines += 1 }
        #expect(lines == 2, "what is appended belongs to the next run")
        try handle.seek(toOffset: 10)
        try handle.write(contentsOf: Data("X".utf8))
        #expect(throws: StageError.self) { try LineReader(file: pinned).forEachLine { _, _, _ in } }
        withExtendedLifetime(base) {}
    }

    @Test func aForeignTokenizerIsRefused() throws {
        guard let base = try TestData.folder("models/stories260K"),
            let other = try TestData.folder("models/gpt2-nano-sort"),
            let text = try TestData.folder("datasets/tinyshakespeare")
        else { return }
        let folder = try TemporaryFolder()
        for name in ["config.json", "model.safetensors"] {
            try FileManager.default.copyItem(at: other.appending(path: name), to: folder.url.appending(path: name))
        }
        try FileManager.default.copyItem(
            at: base.appending(path: "tokenizer.json"), to: folder.url.appending(path: "tokenizer.json"))
        var manifest = JobManifest(name: "bad", base: .folder(folder.url.path))
        manifest.data.train = [text.appending(path: "valid.txt").path]
        let failure = try StageLine(manifest).run("tokenize").result.failure
        #expect(failure?.code == "vocabulary_mismatch")
    }
}
