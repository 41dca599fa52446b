import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// Whole models with LoRA against what transformers and PEFT computed: output, loss, gradients, and five steps of
/// AdamW.
@Suite struct GoldenTrainingTests {
    struct Settings: Decodable {
        struct Adapter: Decodable { let r: Int, alpha: Double, targets: [String], parameters: [String]? }
        struct Optimizer: Decodable { let lr: Float, wd: Float, steps: Int, curve: [Float] }
    }

    /// The file's base as a checkpoint folder, loaded.
    private func base(
        _ file: SafetensorsFile, for task: ModelTask, in folder: URL, matrixType: DType = .float32
    ) throws -> any SequenceModel {
        let names = file.names.filter { $0.hasPrefix("base.") }
        try SafetensorsWriter.write(
            names.map { try file.tensor($0).weightSource(String($0.dropFirst(5))) }, metadata: ["format": "pt"],
            to: folder.appending(path: "model.safetensors"))
        try Data(#require(file.metadata["config"]).utf8).write(to: folder.appending(path: "config.json"))
        return try ModelRegistry.load(folder: folder, for: task, matrixType: matrixType)
    }

    private func metadata<Value: Decodable>(_ file: SafetensorsFile, _ key: String) throws -> Value {
        try JSONDecoder().decode(Value.self, from: Data(#require(file.metadata[key]).utf8))
    }

    static let cases: [(String, ModelTask)] = [
        ("gpt2_tiny", .causalLM), ("llama_tiny", .causalLM), ("bert_cls_tiny", .sequenceClassification(labels: 3)),
        ("bert_mlm_tiny", .maskedLM), ("roberta_mlm_tiny", .maskedLM), ("distilbert_mlm_tiny", .maskedLM),
        ("bert_pairs_tiny", .featureExtraction), ("bert_regression_tiny", .sequenceRegression),
        ("mixtral_tiny", .causalLM),
        ("../experts/mixtral_experts_tiny", .causalLM), ("../experts/qwen2_moe_experts_tiny", .causalLM),
        ("../experts/qwen3_moe_experts_tiny", .causalLM),
    ]

    @Test(arguments: cases)
    func equalsTheReference(name: String, task: ModelTask) throws {
        let file = try SafetensorsFile(Fixtures.folder("golden/\(name).safetensors"))
        let folder = try TemporaryFolder()
        let model = try base(file, for: task, in: folder.url)
        let input = try GoldenInput(file, for: task)
        let settings: Settings.Adapter = try metadata(file, "lora")
        let optimizer: Settings.Optimizer = try metadata(file, "adamw")
        #expect(largestDifference(logits(model, input.batch), try input.rows(of: "out.base", in: file)) < 1e-5)

        let adapter = try AttachedAdapter(
            LoRA(rank: settings.r, alpha: settings.alpha),
            targets: TargetModules(.names(.list(settings.targets)), parameters: settings.parameters ?? []),
            to: model, taskType: .some(nil), seed: 1)
        let untouched = logits(model, input.batch)
        adapter.isEnabled = false
        #expect(untouched == logits(model, input.batch), "a new adapter changes no bit of the output")
        adapter.isEnabled = true

        let names = Set(file.names.filter { $0.hasPrefix("lora.") }.map { String($0.dropFirst(5)) })
        #expect(Set(adapter.storedParameters.map(\.name)) == names)
        for parameter in adapter.parameters { parameter.assign(try file.tensor("lora.\(parameter.name)").copied()) }
        #expect(largestDifference(logits(model, input.batch), try input.rows(of: "out.lora", in: file)) < 1e-5)

        let expectedLoss = try file.floats(of: "out.loss")[0]
        let adamW = ReferenceAdamW(adapter.parameters, learningRate: optimizer.lr, decay: optimizer.wd)
        for step in 0..<optimizer.steps {
            let scored = model.score(input.batch, scale: 1 / Float(input.batch.targetCount), context: ForwardContext())
            if step == 0 { #expect(abs(scored.loss.scalar - expectedLoss) < 1e-5) }
            #expect(abs(scored.loss.scalar - optimizer.curve[step]) < 1e-5, "step \(step)")
            scored.loss.backward()
            if step == 0 { try expectReferenceGradients(adapter, file) }
            adamW.update()
        }
        for parameter in adapter.parameters {
            let expected = try file.floats(of: "trained.\(parameter.name)")
            #expect(largestDifference(parameter.tensor.values, expected) < 1e-4, "\(parameter.name)")
        }
        #expect(largestDifference(logits(model, input.batch), try input.rows(of: "out.trained", in: file)) < 1e-5)
    }

    /// Products of bf16 against torch with the same roundings. Sums in another order may round an operand to its other
    /// neighbour now and then, so each bound is half of what the roundings change: what computed in single precision would
    /// be outside of all of them. So it is with what the backward pass keeps as floats and as bf16.
    @Test(arguments: ["gpt2_tiny", "llama_tiny"], [DType.float32, .bfloat16])
    func equalsTheReferenceInBF16(name: String, kept: DType) throws {
        let file = try SafetensorsFile(Fixtures.folder("golden/\(name).safetensors"))
        let expected = try SafetensorsFile(Fixtures.folder("bf16/\(name).safetensors"))
        let folder = try TemporaryFolder()
        let model = try base(file, for: .causalLM, in: folder.url, matrixType: .bfloat16)
        let input = try GoldenInput(file, for: .causalLM)
        let settings: Settings.Adapter = try metadata(file, "lora")
        let optimizer: Settings.Optimizer = try metadata(file, "adamw")
        let isRounded = kept == .bfloat16
        let curve: [Float] = try metadata(expected, isRounded ? "kept_curve" : "curve")
        func expectLogits(_ key: String) throws {
            let reference = try input.rows(of: key, in: expected)
            let change = largestDifference(try input.rows(of: key, in: file), reference)
            let difference = largestDifference(logits(model, input.batch), reference)
            #expect(difference < change / 2, "\(key): \(difference), and the roundings change \(change)")
        }
        try expectLogits("out.base")

        let adapter = try AttachedAdapter(
            LoRA(rank: settings.r, alpha: settings.alpha), targets: TargetModules(.names(.list(settings.targets))),
            to: model, taskType: .some(nil), seed: 1)
        for parameter in adapter.parameters { parameter.assign(try file.tensor("lora.\(parameter.name)").copied()) }
        try expectLogits("out.lora")
        let adamW = ReferenceAdamW(adapter.parameters, learningRate: optimizer.lr, decay: optimizer.wd)
        for step in 0..<optimizer.steps {
            let scored = Autograd.keeping(kept) {
                model.score(input.batch, scale: 1 / Float(input.batch.targetCount), context: ForwardContext())
            }
            // Roundings of what was kept change the curve by up to 1.6e-4.
            #expect(abs(scored.loss.scalar - curve[step]) < (isRounded ? 6e-5 : 2e-5), "step \(step)")
            scored.loss.backward()
            for parameter in step == 0 ? adapter.parameters : [] {
                let key = "grad.\(parameter.name)"
                let reference = try expected.floats(of: isRounded ? "kept.\(key)" : key)
                let change = largestDifference(try (isRounded ? expected : file).floats(of: key), reference)
                let difference = largestDifference(try #require(parameter.gradient?.values), reference)
                #expect(difference < change / 2, "\(key): \(difference), and the roundings change \(change)")
            }
            adamW.update()
        }
    }

    /// Layers that are computed again in the backward pass, dropout and routing included.
    @Test(arguments: cases)
    func recomputedLayersChangeNoBit(name: String, task: ModelTask) throws {
        let file = try SafetensorsFile(Fixtures.folder("golden/\(name).safetensors"))
        let folder = try TemporaryFolder()
        let model = try base(file, for: task, in: folder.url)
        let input = try GoldenInput(file, for: task)
        let settings: Settings.Adapter = try metadata(file, "lora")
        // Parameters of experts take none.
        let dropout = name.contains("experts") ? 0 : 0.2
        let adapter = try AttachedAdapter(
            LoRA(AdapterOptions(rank: settings.r, alpha: settings.alpha, dropout: dropout)),
            targets: TargetModules(.names(.list(settings.targets)), parameters: settings.parameters ?? []),
            to: model, taskType: .some(nil), seed: 1)
        for parameter in adapter.parameters { parameter.assign(try file.tensor("lora.\(parameter.name)").copied()) }
        let gradients = [false, true].map { recomputes in
            for parameter in adapter.parameters { parameter.zeroGradient() }
            var context = ForwardContext(dropout: RandomStream(seed: 5))
            context.recomputesLayers = recomputes
            model.score(input.batch, scale: 1 / Float(input.batch.targetCount), context: context).loss.backward()
            return adapter.parameters.map { $0.gradient?.values ?? [] }
        }
        #expect(gradients[0].contains { $0.contains { $0 != 0 } })
        #expect(gradients[0] == gradients[1])
    }

    private func expectReferenceGradients(
        _ adapter: AttachedAdapter, _ file: SafetensorsFile, within tolerance: Float = 1e-5
    ) throws {
        for parameter in adapter.parameters {
            let expected = try file.floats(of: "grad.\(parameter.name)")
            let largest = expected.reduce(0) { max($0, abs($1)) }
            let got = try #require(parameter.gradient?.values)
            #expect(largestDifference(got, expected) <= tolerance * largest + 1e-7, "\(parameter.name)")
        }
    }
}
