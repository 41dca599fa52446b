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
            try ModelRegistry.load(folder: Fixtures.folder("golden/\(model)"), for: nil)
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

    static let variants: [Variant] = AdapterRegistry.methods.flatMap { method in
        models.keys.sorted().flatMap { model in
            [
                (AdapterOptions(rank: 2, alpha: 4), TargetModules.Selection.architectureDefault),
                (AdapterOptions(rank: 3, alpha: 5, useRSLoRA: true), .allLinear),
                (AdapterOptions(rank: 4, alpha: 8, dropout: 0.2), .allLinear),
                (AdapterOptions(rank: 2, alpha: 4), .names(.list(models[model] ?? []))),
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
