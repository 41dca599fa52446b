import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// What every adapter method must do on every model; a new method or model is a line in a registry and a fixture.
@Suite struct AdapterConformanceTests {
    /// One method with its settings on one model and one choice of targets.
    struct Variant: CustomTestStringConvertible, Sendable {
        let methodName: String
        let options: AdapterOptions
        let model: String
        let targets: TargetModules.Selection

        var testDescription: String { "\(methodName) \(options) on \(model), \(targets)" }

        func method() throws -> any AdapterMethod { try AdapterRegistry.method(named: methodName).init(options) }

        func load() throws -> any SequenceModel {
            guard let configuration = AdapterConformanceTests.drawn[model]?.configuration else {
                return try ModelRegistry.load(folder: Fixtures.folder("golden/\(model)"), for: nil)
            }
            let file = URL(filePath: "\(model)/config.json")
            return try ModelRegistry.random(ModelConfiguration(Data(configuration.utf8), file: file), seed: 4)
        }

        func attach(to model: any SequenceModel, seed: UInt64 = 3) throws -> AttachedAdapter {
            try AttachedAdapter(method(), targets: TargetModules(targets), to: model, seed: seed)
        }
    }

    /// Each model with modules beside its linear maps that can be adapted.
    static let models = [
        "gpt2": ["c_attn", "wte"], "llama": ["q_proj", "embed_tokens", "lm_head"], "bert_cls": ["word_embeddings"],
        "bert_mlm": ["query", "position_embeddings", "predictions.decoder"],
        "peft-adapters/roberta_seqcls/base": ["query"],
        "mixtral": ["q_proj", "embed_tokens"], "peft-adapters/distilbert_seqcls/base": ["q_lin", "word_embeddings"],
    ]

    /// Families without a small checkpoint here, with weights that are drawn, large enough that everything matters.
    static let drawn: [String: (configuration: String, targets: [String])] = {
        let sizes = """
            "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48,
            "num_hidden_layers": 2, "vocab_size": 64, "initializer_range": 0.15
            """
        func design(_ rest: String) -> String { "{\(rest), \(sizes)}" }
        let caps = #""attn_logit_softcapping": 0.5, "final_logit_softcapping": 2.0"#
        return [
            "mistral": (design(#""model_type": "mistral", "sliding_window": 3"#), ["q_proj", "embed_tokens"]),
            "qwen2": (design(#""model_type": "qwen2""#), ["k_proj", "lm_head"]),
            "qwen3": (design(#""model_type": "qwen3""#), ["q_proj", "k_proj"]),
            "gemma": (design(#""model_type": "gemma""#), ["v_proj", "embed_tokens"]),
            "gemma2": (design(#""model_type": "gemma2", "sliding_window": 3, \#(caps)"#), ["q_proj", "up_proj"]),
            "gemma3_text": (
                design(#""model_type": "gemma3_text", "sliding_window": 3, "sliding_window_pattern": 2"#), ["k_proj"]
            ),
            "phi3": (
                design(#""model_type": "phi3", "sliding_window": null, "partial_rotary_factor": 0.5"#), ["qkv_proj"]
            ),
            "qwen2_moe": (
                design(
                    #""model_type": "qwen2_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16"#
                ),
                ["q_proj"]
            ),
            "qwen3_moe": (
                design(
                    #""model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16"#
                ),
                ["o_proj"]
            ),
        ]
    }()

    static let variants: [Variant] = AdapterRegistry.methods.flatMap { method in
        (Array(models.keys) + Array(drawn.keys)).sorted().flatMap { model in
            [
                (AdapterOptions(rank: 2, alpha: 4), TargetModules.Selection.architectureDefault),
                (AdapterOptions(rank: 3, alpha: 5, useRSLoRA: true), .allLinear),
                (AdapterOptions(rank: 4, alpha: 8, dropout: 0.2), .allLinear),
                (AdapterOptions(rank: 2, alpha: 4), .names(.list(models[model] ?? drawn[model]?.targets ?? []))),
            ].map { Variant(methodName: method.name, options: $0.0, model: model, targets: $0.1) }
        }
    }

    /// Sequences with something to learn for every task.
    static let batch = {
        var batch = TokenBatch([[3, 14, 15, 9, 26, 5], [35, 8, 9], [7, 9, 32, 3]])
        batch.labels = [2, 0, 1]
        return batch
    }()

    /// Moves everything trained away from its initial value, as training would.
    private func disturb(_ adapter: AttachedAdapter) {
        let random = RandomStream(seed: 11)
        for parameter in adapter.parameters {
            let noise = random.substream(parameter.name).normal(parameter.tensor.shape, standardDeviation: 0.3)
            parameter.assign(Tensor.sum(parameter.tensor.detached(), noise))
        }
    }

    private func bits(_ parameters: [Parameter]) -> [[UInt32]] { parameters.map { $0.tensor.values.map(\.bitPattern) } }

    @Test(arguments: variants) func beginsAsTheBase(variant: Variant) throws {
        let model = try variant.load()
        let base = logits(model, Self.batch)
        let adapter = try variant.attach(to: model)
        #expect(logits(model, Self.batch) == base)
        disturb(adapter)
        #expect(logits(model, Self.batch) != base)
        adapter.isEnabled = false
        #expect(logits(model, Self.batch) == base, "disabled, it is the base")
        adapter.isEnabled = true
        #expect(logits(model, Self.batch) != base)
        adapter.detach()
        #expect(logits(model, Self.batch) == base)
    }

    /// Through the whole model, along each parameter's own gradient: `(L(θ + h g/|g|) − L(θ − h g/|g|)) / 2h = |g|`.
    @Test(arguments: variants.filter { $0.options.dropout == 0 }) func gradientsAreDifferences(variant: Variant) throws
    {
        let model = try variant.load()
        let adapter = try variant.attach(to: model)
        disturb(adapter)
        let scale = 1 / Float(Self.batch.targetCount)
        func loss() -> Double {
            Autograd.withoutGradients {
                let scored = model.score(Self.batch, scale: scale, context: ForwardContext())
                // A mixture's balance is part of the loss, and of no likelihood.
                let sum = scored.negativeLogLikelihoods.reduce(0.0) { $0 + Double($1) } * Double(scale)
                return abs(sum - Double(scored.loss.scalar)) < 1e-5 ? sum : Double(scored.loss.scalar)
            }
        }
        model.score(Self.batch, scale: scale, context: ForwardContext()).loss.backward()
        var largest = 0.0
        for parameter in adapter.parameters {
            let gradient = try #require(parameter.gradient).values, value = parameter.tensor.values
            let length = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            largest = max(largest, length)
            guard length > 1e-3 else { continue }
            func moved(_ step: Double) -> Double {
                let values = zip(value, gradient).map { Float(Double($0) + step * Double($1) / length) }
                parameter.assign(Tensor(values, shape: parameter.tensor.shape))
                return loss()
            }
            func slope(_ step: Double) -> Double { (moved(step) - moved(-step)) / (2 * step) }
            // Of two steps, without the term in h² (Richardson); where the slope is steep, smaller ones.
            let step = 2e-3 / max(length, 0.5)
            var difference = (4 * slope(step / 2) - slope(step)) / 3
            if model.expertShare < 1, abs(difference - length) >= 0.02 * length + 2e-4 {
                // Where a token changes its experts the loss jumps; on the other side it is smooth.
                let start = moved(0)
                let sides = [step, -step].map { (4 * moved($0 / 2) - moved($0) - 3 * start) / $0 }
                difference = sides.min { abs($0 - length) < abs($1 - length) } ?? difference
            }
            parameter.assign(Tensor(value, shape: parameter.tensor.shape))
            #expect(abs(difference - length) < 0.02 * length + 2e-4, "\(parameter.name): \(difference), \(length)")
        }
        #expect(largest > 0.01)
    }

    @Test(arguments: variants) func trainsNothingButItself(variant: Variant) throws {
        let model = try variant.load()
        for parameter in model.parameters { parameter.isTrainable = true }
        let adapter = try variant.attach(to: model)
        disturb(adapter)
        let frozen = bits(model.parameters), before = bits(adapter.parameters)
        let adamW = ReferenceAdamW(adapter.parameters, learningRate: 1e-2, decay: 0)
        // Measured without dropout, whose masks differ from step to step.
        func measured() -> Float {
            let scale = 1 / Float(Self.batch.targetCount)
            return Autograd.withoutGradients {
                model.score(Self.batch, scale: scale, context: ForwardContext()).loss.scalar
            }
        }
        let first = measured()
        for step in 0..<4 {
            let context = ForwardContext(dropout: RandomStream(seed: 5).substream(step))
            let loss = model.score(Self.batch, scale: 1 / Float(Self.batch.targetCount), context: context).loss
            loss.backward()
            #expect(model.parameters.allSatisfy { $0.gradient == nil })
            #expect(adapter.parameters.allSatisfy { $0.gradient != nil })
            adamW.update()
        }
        #expect(bits(model.parameters) == frozen, "frozen weights keep every bit")
        #expect(zip(bits(adapter.parameters), before).allSatisfy { $0 != $1 })
        #expect(measured() < first)
    }

    @Test(arguments: variants) func mergedIsUnmerged(variant: Variant) throws {
        let model = try variant.load()
        let adapter = try variant.attach(to: model)
        disturb(adapter)
        let adapted = logits(model, Self.batch), weights = bits(model.parameters)
        let merged = adapter.mergedWeights()
        let own = adapter.modules.filter { $0.projection !== model.tie?.head }
        #expect(merged.count == own.count + adapter.embeddings.count + adapter.saved.flatMap(\.parameters).count)
        #expect(bits(model.parameters) == weights, "merging into new tensors leaves the base as it is")
        for parameter in model.parameters {
            let values = adapter.mergedValues(of: parameter).values
            #expect(values == merged[parameter.name]?.values ?? parameter.tensor.values)
        }
        let scale = adapted.reduce(1) { max($0, abs($1)) }
        adapter.mergeIntoBase()
        #expect(model.projections.allSatisfy { $0.adaptation == nil })
        #expect(largestDifference(logits(model, Self.batch), adapted) < 1e-5 * scale)
    }

    @Test(arguments: variants) func savedIsLoaded(variant: Variant) throws {
        let folder = try TemporaryFolder()
        let model = try variant.load()
        let adapter = try variant.attach(to: model)
        disturb(adapter)
        try PEFTFolder.write(adapter, to: folder.url, baseModelNameOrPath: "some/base")
        let other = try variant.load()
        let loaded = try PEFTFolder.read(folder.url, attachingTo: other)
        #expect(loaded.storedParameters.map(\.name) == adapter.storedParameters.map(\.name))
        #expect(bits(loaded.storedParameters) == bits(adapter.storedParameters))
        #expect(loaded.modules.map(\.projection.path) == adapter.modules.map(\.projection.path))
        #expect(logits(other, Self.batch) == logits(model, Self.batch))
        let configuration = try PEFTFolder.configuration(in: folder.url)
        #expect(configuration.baseModelNameOrPath == "some/base" && configuration.taskType == other.task.peftTaskType)
        #expect(configuration.method.peftFields == adapter.method.peftFields)

        // The same adapter gives the same bytes.
        let again = try TemporaryFolder()
        try PEFTFolder.write(loaded, to: again.url, baseModelNameOrPath: "some/base")
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            let bytes = try Data(contentsOf: folder.url.appending(path: name))
            #expect(try Data(contentsOf: again.url.appending(path: name)) == bytes, "\(name)")
        }
    }

    @Test(arguments: variants) func seedDecidesTheStart(variant: Variant) throws {
        func start(_ seed: UInt64) throws -> [[UInt32]] {
            bits(try variant.attach(to: variant.load(), seed: seed).parameters)
        }
        #expect(try start(1) == start(1))
        #expect(try start(1) != start(2))
    }

    @Test(arguments: variants) func oneAdapterAtATime(variant: Variant) throws {
        let model = try variant.load()
        let adapter = try variant.attach(to: model)
        let error = #expect(throws: AdapterError.self) { try variant.attach(to: model) }
        #expect(error?.code == .alreadyAttached)
        #expect(throws: AdapterError.self) { try FullTraining(model) }
        adapter.detach()
        let second = try variant.attach(to: model)
        adapter.detach()
        #expect(second.modules.allSatisfy { $0.projection.adaptation === $0.adaptation }, "another's adapter stays")
    }
}
