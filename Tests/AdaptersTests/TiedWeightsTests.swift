import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// Adapters that change one end of a matrix which an embedding and a head share.
@Suite struct TiedWeightsTests {
    static let batch = TokenBatch([[3, 14, 15, 9, 26, 5], [35, 8, 9]])

    /// What is adapted or saved on which model, and whether head and embedding part by it.
    struct Case: Sendable, CustomTestStringConvertible {
        var model = "gpt2"
        var task = ModelTask.causalLM
        var targets = ["c_attn"]
        var saved: [String] = []
        var parts: Bool
        /// What the base's files hold.
        var stored = DType.float32

        var testDescription: String { "\(model) in \(stored), targets \(targets), saved \(saved)" }
    }

    static let cases = [
        Case(parts: false), Case(targets: ["c_attn", "wte"], parts: true), Case(targets: ["lm_head"], parts: true),
        Case(targets: ["wte", "lm_head"], parts: true), Case(saved: ["wte"], parts: true),
        Case(saved: ["lm_head"], parts: true), Case(targets: ["wpe"], parts: false),
        Case(model: "bert_mlm", task: .maskedLM, targets: ["query"], parts: false),
        Case(model: "bert_mlm", task: .maskedLM, targets: ["word_embeddings"], parts: true),
        Case(model: "bert_mlm", task: .maskedLM, targets: ["query"], saved: ["decoder"], parts: true),
        Case(model: "llama", targets: ["embed_tokens", "lm_head"], parts: false),
        Case(parts: false, stored: .bfloat16), Case(targets: ["c_attn", "wte"], parts: true, stored: .bfloat16),
        Case(saved: ["lm_head"], parts: true, stored: .bfloat16),
        Case(model: "llama", targets: ["q_proj", "embed_tokens"], parts: false, stored: .bfloat16),
        Case(model: "mixtral", targets: ["q_proj", "w1"], parts: false, stored: .bfloat16),
    ]

    /// - Parameter copy: where a base goes that is stored otherwise than the fixture.
    private func attach(_ one: Case, copy: URL? = nil) throws
        -> (model: any SequenceModel, adapter: AttachedAdapter, base: URL)
    {
        var base = try Fixtures.folder("golden/\(one.model)")
        if let copy {
            try CheckpointWriter.write(
                ModelRegistry.load(folder: base, for: one.task), to: copy, base: base, dtype: one.stored)
            base = copy
        }
        let model = try ModelRegistry.load(folder: base, for: one.task)
        // Matrices are multiplied as they lie in the file.
        #expect(model.projections.allSatisfy { $0.weight.tensor.dtype == one.stored })
        #expect(model.projections.allSatisfy { $0.weight.tensor.products == .float32 })
        let adapter = try AttachedAdapter(
            LoRA(rank: 2, alpha: 4), targets: .list(one.targets), to: model, modulesToSave: one.saved, seed: 3)
        let random = RandomStream(seed: 11)
        for parameter in adapter.parameters {
            let noise = random.substream(parameter.name).normal(parameter.tensor.shape, standardDeviation: 0.3)
            parameter.assign(Tensor.sum(parameter.tensor.detached(), noise))
        }
        return (model, adapter, base)
    }

    @Test(arguments: cases) func aMergedCheckpointComputesWhatTheAdapterComputes(one: Case) throws {
        let copies = try TemporaryFolder()
        let (model, adapter, base) = try attach(one, copy: one.stored == .float32 ? nil : copies.url)
        let adapted = logits(model, Self.batch)
        #expect((adapter.untiedHead != nil) == one.parts)
        let untied = adapter.untiedHead.map { head in
            (name: "\(head.path).weight", values: { adapter.mergedWeight(of: head) })
        }
        let folder = try TemporaryFolder()
        try CheckpointWriter.write(model, to: folder.url, base: base, untiedHead: untied) {
            adapter.mergedValues(of: $0)
        }
        let configuration = try JSONValue(Data(contentsOf: folder.url.appending(path: "config.json")), file: "")
        let wasTied = !["llama", "mixtral"].contains(one.model)
        #expect(configuration["tie_word_embeddings"] == .bool(wasTied && !one.parts))
        let merged = try ModelRegistry.load(folder: folder.url, for: one.task)
        #expect((merged.tie == nil) == (one.parts || !wasTied))
        let scale = adapted.reduce(1) { max($0, abs($1)) }
        #expect(largestDifference(logits(merged, Self.batch), adapted) < 1e-5 * scale)

        adapter.mergeIntoBase()
        #expect(largestDifference(logits(model, Self.batch), adapted) < 1e-5 * scale)
    }

    /// Only the trained end changes: PEFT computes so live, and a merge must not do otherwise.
    @Test func theOtherEndKeepsItsValues() throws {
        let base = try ModelRegistry.load(folder: Fixtures.folder("golden/gpt2"))
        let table = base.outputHead.tensor.values
        for (targets, saved) in [(["wte"], []), (["c_attn"], ["wte"])] as [([String], [String])] {
            let (model, adapter, _) = try attach(Case(targets: targets, saved: saved, parts: true))
            let head = try #require(adapter.untiedHead)
            #expect(adapter.mergedWeight(of: head).values == table)
            #expect(adapter.mergedValues(of: head.weight).values != table)
            #expect(model.heads[0].current.weight.tensor.values == table)
        }
        for (targets, saved) in [(["lm_head"], []), (["c_attn"], ["lm_head"])] as [([String], [String])] {
            let (model, adapter, _) = try attach(Case(targets: targets, saved: saved, parts: true))
            let head = try #require(adapter.untiedHead)
            #expect(adapter.mergedWeight(of: head).values != table)
            #expect(adapter.mergedValues(of: head.weight).values == table)
            #expect(model.embeddings[0].currentWeight.tensor.values == table)
        }
    }

    @Test func savedModulesAreCopiesThatTrainWholeAndGoWithTheAdapter() throws {
        let (model, adapter, _) = try attach(Case(saved: ["wte"], parts: true))
        let key = "base_model.model.transformer.wte.weight"
        #expect(adapter.parameters.map(\.name).contains(key) && adapter.storedParameters.map(\.name).contains(key))
        let adapted = logits(model, Self.batch)
        model.score(Self.batch, scale: 1, context: ForwardContext()).loss.backward()
        #expect(adapter.parameters.allSatisfy { $0.gradient != nil })
        #expect(model.parameters.allSatisfy { !$0.isTrainable && $0.gradient == nil })
        adapter.isEnabled = false
        let base = try ModelRegistry.load(folder: Fixtures.folder("golden/gpt2"))
        #expect(logits(model, Self.batch) == logits(base, Self.batch))
        adapter.isEnabled = true
        #expect(logits(model, Self.batch) == adapted)
    }

    @Test func whatCannotBeSavedIsNamed() throws {
        let model = try ModelRegistry.load(folder: Fixtures.folder("golden/gpt2"))
        func error(_ saved: [String], _ targets: [String] = ["c_attn"]) throws -> AdapterError? {
            #expect(throws: AdapterError.self) {
                try AttachedAdapter(LoRA(), targets: .list(targets), to: model, modulesToSave: saved, seed: 1)
            }
        }
        #expect(try error(["ln_f"])?.code == .unsupported)
        #expect(try error(["nothing"])?.code == .noMatchingModule)
        #expect(try error(["c_attn"])?.code == .noMatchingModule, "what is saved whole is not adapted")
        #expect(model.projections.allSatisfy { $0.adaptation == nil && $0.substitute == nil })
    }

    /// PEFT stores the base's matrices beside an adapter of embeddings; a vocabulary that was trained on has others.
    @Test func anotherBaseMatrixInTheFolderComputes() throws {
        let source = try Fixtures.folder("golden/peft-adapters/llama_embed_lm_head"), copy = try TemporaryFolder()
        let files = FileManager.default
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            try files.copyItem(at: source.appending(path: "adapter/\(name)"), to: copy.url.appending(path: name))
        }
        let original = try SafetensorsFile(source.appending(path: "adapter/adapter_model.safetensors"))
        func load() throws -> any SequenceModel {
            try ModelRegistry.load(folder: source.appending(path: "base"), for: nil)
        }
        let plain = try load()
        let adapter = try PEFTFolder.read(source.appending(path: "adapter"), attachingTo: plain)
        #expect(plain.heads[0].substitute == nil, "equal matrices are the base's own")
        func rewrite(_ change: (String, Tensor) -> Tensor?) throws {
            try SafetensorsWriter.write(
                original.names.compactMap { name in
                    try change(name, original.tensor(name).copied()).map { $0.weightSource(name) }
                }, metadata: ["format": "pt"], to: copy.url.appending(path: "adapter_model.safetensors"))
        }
        try rewrite { name, tensor in
            name.hasSuffix("lm_head.base_layer.weight") ? tensor.scaled(by: 2) : tensor
        }
        let model = try load()
        let changed = try PEFTFolder.read(copy.url, attachingTo: model)
        let head = try #require(model.heads.first)
        #expect(head.current.weight.tensor.values == head.weight.tensor.values.map { 2 * $0 })
        #expect(logits(model, Self.batch) != logits(plain, Self.batch))
        #expect(
            changed.mergedWeight(of: head).values != adapter.mergedWeight(of: plain.heads[0]).values)
        changed.detach()
        #expect(head.substitute == nil)
        // Older folders do not have them.
        try rewrite { name, tensor in name.contains("base_layer") ? nil : tensor }
        let third = try load()
        _ = try PEFTFolder.read(copy.url, attachingTo: third)
        #expect(logits(third, Self.batch) == logits(plain, Self.batch))
    }
}
