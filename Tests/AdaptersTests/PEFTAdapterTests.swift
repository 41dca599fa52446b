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
        "gpt2_default", "gpt2_all_linear", "gpt2_no_task_type", "gpt2_rslora", "llama_default", "llama_regex",
    ]

    private func compare(_ folder: URL) throws {
        let model = try ModelRegistry.load(folder: folder.appending(path: "base"))
        let file = try SafetensorsFile(folder.appending(path: "expected.safetensors"))
        let input = try GoldenInput(file)
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
        let again = try ModelRegistry.load(folder: folder.appending(path: "base"))
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

    @Test(arguments: [
        "llama_patterns", "llama_layers", "llama_rope_linear", "llama_rope_dynamic", "llama_rope_yarn",
        "llama_rope_llama3", "mistral_sliding_window", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3",
        "phi3_rope_longrope",
    ])
    func computesWhatPEFTComputesElsewhere(name: String) throws {
        guard let folder = try TestData.folder("golden/peft-adapters/\(name)") else { return }
        try compare(folder)
    }

    /// What each of these asks for changes the mathematics, and is refused by its name.
    @Test(arguments: [
        ("gpt2_dora", "use_dora"), ("gpt2_lora_bias", "lora_bias"), ("gpt2_bias_lora_only", "bias"),
        ("gpt2_modules_to_save", "modules_to_save"), ("gpt2_token_rows", "trainable_token_indices"),
        ("gpt2_seqcls", "task_type"), ("llama_adalora", "ADALORA"), ("llama_vera", "VERA"),
        ("llama_embed_lm_head", "lm_head"),
    ])
    func refusesByName(name: String, word: String) throws {
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
