import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// Adapter folders written by PEFT: read, compared with PEFT's own output, and written again.
@Suite struct PEFTAdapterTests {
    static let cases = [
        "bert_seqcls", "distilbert_seqcls", "gpt2_all_linear", "gpt2_default", "gpt2_modules_to_save",
        "gpt2_no_task_type",
        "gpt2_rslora", "llama_default", "llama_embed_lm_head", "llama_patterns", "llama_regex", "roberta_seqcls",
    ]

    /// What is not read yet, and the word by which it is refused.
    static let unread = [
        "gpt2_bias_lora_only": "bias", "gpt2_dora": "use_dora", "gpt2_lora_bias": "lora_bias",
        "gpt2_token_rows": "trainable_token_indices", "llama_adalora": "ADALORA", "llama_vera": "VERA",
    ]

    /// Folders whose inputs are no token ids; `VisionTests` reads them.
    static let images = ["vit", "vit_names_v4"]

    /// Every folder of the test data but those that are listed as unread.
    static let others: [String] = {
        let folder = TestData.root.appending(path: "golden/peft-adapters")
        let all = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return all.filter { unread[$0] == nil && !images.contains($0) && !cases.contains($0) }.sorted()
    }()

    private func compare(_ folder: URL) throws {
        let model = try ModelRegistry.load(folder: folder.appending(path: "base"), for: nil)
        let file = try SafetensorsFile(folder.appending(path: "expected.safetensors"))
        let input = try GoldenInput(file, for: model.task)
        let base = logits(model, input.batch)
        #expect(largestDifference(base, try input.rows(of: "out.base", in: file)) < 1e-5)

        let adapter = try PEFTFolder.read(folder.appending(path: "adapter"), attachingTo: model)
        let adapted = logits(model, input.batch)
        #expect(largestDifference(adapted, try input.rows(of: "out.adapter", in: file)) < 1e-5)
        #expect(largestDifference(adapted, base) > 1e-4, "the adapter does something")
        adapter.isEnabled = false
        #expect(logits(model, input.batch) == base)

        let copy = try TemporaryFolder()
        try PEFTFolder.write(adapter, to: copy.url, baseModelNameOrPath: nil)
        let again = try ModelRegistry.load(folder: folder.appending(path: "base"), for: nil)
        _ = try PEFTFolder.read(copy.url, attachingTo: again)
        #expect(logits(again, input.batch) == adapted, "written and read again, it computes the same bits")
        let weights = "adapter_model.safetensors"
        let original = try SafetensorsFile(folder.appending(path: "adapter/\(weights)"))
        let written = try SafetensorsFile(copy.url.appending(path: weights))
        #expect(written.names == original.names && written.metadata == original.metadata)
        for name in original.names {
            #expect(try Array(written.bytes(of: name)) == Array(original.bytes(of: name)), "\(name)")
        }

        adapter.isEnabled = true
        adapter.mergeIntoBase()
        #expect(largestDifference(logits(model, input.batch), try input.rows(of: "out.merged", in: file)) < 1e-5)
    }

    @Test(arguments: cases) func computesWhatPEFTComputes(name: String) throws {
        try compare(Fixtures.folder("golden/peft-adapters/\(name)"))
    }

    /// Adapters of attention, router and experts, in the layouts of both releases of transformers.
    @Test(arguments: [
        "mixtral_attention", "mixtral_experts", "mixtral_router", "mixtral_names_v4", "qwen2_moe", "qwen3_moe",
        "qwen3_moe_names_v4",
    ])
    func computesWhatPEFTComputesWithExperts(name: String) throws {
        try compare(Fixtures.folder("experts/adapters/\(name)"))
    }

    @Test(arguments: others) func computesWhatPEFTComputesElsewhere(name: String) throws {
        guard let folder = try TestData.folder("golden/peft-adapters/\(name)") else { return }
        try compare(folder)
    }

    @Test func everyFolderIsReadOrListed() throws {
        guard let folder = try TestData.folder("golden/peft-adapters") else { return }
        let all = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        let listed = Set(Self.cases + Self.others + Self.unread.keys + Self.images)
        #expect(Set(all) == listed && all.count >= 38)
    }

    /// What each of these asks for changes the mathematics, and is refused by its name.
    @Test(arguments: unread.keys.sorted()) func refusesByName(name: String) throws {
        let word = try #require(Self.unread[name])
        guard let folder = try TestData.folder("golden/peft-adapters/\(name)") else { return }
        let base = name.hasPrefix("gpt2") ? "gpt2" : "llama"
        let model = try ModelRegistry.load(folder: Fixtures.folder("golden/\(base)"))
        let error = #expect(throws: AdapterError.self) {
            try PEFTFolder.read(folder.appending(path: "adapter"), attachingTo: model)
        }
        #expect(
            error?.code == .unsupported && error?.description.contains(word) == true, "\(String(describing: error))")
        #expect(model.projections.allSatisfy { $0.adaptation == nil })
    }

    /// Saved by PEFT straight after creation, so B is zero: the output is the base's, bit for bit.
    @Test(arguments: ["gpt2", "llama"]) func untrainedAdapterIsTheBase(name: String) throws {
        let folder = try Fixtures.folder("golden/\(name)")
        let model = try ModelRegistry.load(folder: folder)
        let batch = TokenBatch([[1, 5, 9, 2], [7, 3]])
        let base = logits(model, batch)
        _ = try PEFTFolder.read(folder.appending(path: "adapter"), attachingTo: model)
        #expect(logits(model, batch) == base)
    }
}
