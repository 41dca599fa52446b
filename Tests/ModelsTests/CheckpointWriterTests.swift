import Foundation
import Layers
import TensorCore
import TestSupport
import Testing

@testable import Models

@Suite struct CheckpointWriterTests {
    private func written(_ folder: URL) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    }

    /// Loaded and written without a change, a checkpoint has the bytes transformers gave it.
    @Test(arguments: ["gpt2", "llama", "mixtral"]) func writesWhatTransformersWrites(name: String) throws {
        let base = try Fixtures.folder("golden/\(name)")
        let target = try TemporaryFolder()
        let folder = target.url.appending(path: "new/folder")
        try CheckpointWriter.write(ModelRegistry.load(folder: base), to: folder, base: base)
        #expect(try written(folder) == ["config.json", "generation_config.json", "model.safetensors"])
        for file in try written(folder) {
            let bytes = try Data(contentsOf: base.appending(path: file))
            #expect(try Data(contentsOf: folder.appending(path: file)) == bytes, "\(file)")
        }
    }

    @Test func headOfATiedModelIsLeftOutAndOfAnUntiedOneKept() throws {
        for (name, hasHead) in [("gpt2", false), ("llama", true)] {
            let base = try Fixtures.folder("golden/\(name)"), target = try TemporaryFolder()
            try CheckpointWriter.write(ModelRegistry.load(folder: base), to: target.url, base: base)
            let file = try SafetensorsFile(target.url.appending(path: "model.safetensors"))
            #expect(file.contains("lm_head.weight") == hasHead)
        }
    }

    @Test(arguments: [(DType.float16, "float16"), (.bfloat16, "bfloat16")])
    func shorterTypesAreRoundedAndRecorded(dtype: DType, word: String) throws {
        let base = try Fixtures.folder("golden/llama"), target = try TemporaryFolder()
        let model = try ModelRegistry.load(folder: base)
        try CheckpointWriter.write(model, to: target.url, base: base, dtype: dtype)
        let file = try SafetensorsFile(target.url.appending(path: "model.safetensors"))
        #expect(try file.names.allSatisfy { try file.entry($0).dtype == dtype })
        let again = try ModelRegistry.load(folder: target.url)
        let relative: Float = dtype == .float16 ? 0x1p-11 : 0x1p-8
        for (old, new) in zip(model.parameters, again.parameters) {
            #expect(zip(old.tensor.values, new.tensor.values).allSatisfy { abs($0 - $1) <= relative * abs($0) + 1e-7 })
        }
        let configuration = try JSONValue(Data(contentsOf: target.url.appending(path: "config.json")), file: "")
        #expect(configuration["dtype"] == .string(word) && configuration["torch_dtype"] == nil)
    }

    @Test func shardsLoadAsOneFile() throws {
        let base = try Fixtures.folder("golden/gpt2"), target = try TemporaryFolder()
        let model = try ModelRegistry.load(folder: base)
        try CheckpointWriter.write(model, to: target.url, base: base, maximumShardByteCount: 8000)
        let files = try written(target.url)
        #expect(
            files.contains("model.safetensors.index.json") && files.contains("model-00002-of-00006.safetensors"),
            "\(files)")
        #expect(!files.contains("model.safetensors"))
        let again = try ModelRegistry.load(folder: target.url)
        for (old, new) in zip(model.parameters, again.parameters) {
            #expect(old.name == new.name && old.tensor.values == new.tensor.values)
        }
    }

    @Test func givenValuesTakeThePlaceOfTheModels() throws {
        let base = try Fixtures.folder("golden/gpt2"), target = try TemporaryFolder()
        let model = try ModelRegistry.load(folder: base)
        let changed = "transformer.h.0.attn.c_attn.weight"
        try CheckpointWriter.write(model, to: target.url, base: base) { parameter in
            parameter.name == changed ? Tensor(zeros: parameter.tensor.shape) : parameter.tensor
        }
        for parameter in try ModelRegistry.load(folder: target.url).parameters where parameter.name == changed {
            #expect(parameter.tensor.values.allSatisfy { $0 == 0 })
        }
        #expect(model.parameters.contains { $0.name == changed && $0.tensor.values.contains { $0 != 0 } })
    }

    @Test func tokenizersComeAlongAndNumbersKeepTheirSpelling() throws {
        let source = try TemporaryFolder(), target = try TemporaryFolder()
        let original = try Fixtures.folder("golden/gpt2")
        try FileManager.default.copyItem(
            at: original.appending(path: "model.safetensors"), to: source.url.appending(path: "model.safetensors"))
        var text = try String(contentsOf: original.appending(path: "config.json"), encoding: .utf8)
        text = text.replacing("  \"dtype\": \"float32\",\n", with: "")
        text = text.replacing(
            "\"attn_pdrop\": 0.1", with: "\"attn_pdrop\": 0.10, \"unknown\": [1e-05, {\"ü\": 12345678901234567890}]")
        try Data(text.utf8).write(to: source.url.appending(path: "config.json"))
        for name in ["tokenizer.json", "merges.txt", "chat_template.jinja", "notes.txt", "optimizer.pt"] {
            try Data(name.utf8).write(to: source.url.appending(path: name))
        }
        let templates = source.url.appending(path: "additional_chat_templates")
        try FileManager.default.createDirectory(at: templates, withIntermediateDirectories: false)
        try Data("t".utf8).write(to: templates.appending(path: "tool.jinja"))

        let model = try ModelRegistry.load(folder: source.url)
        for _ in 0..<2 { try CheckpointWriter.write(model, to: target.url, base: source.url) }
        #expect(
            try written(target.url) == [
                "additional_chat_templates", "chat_template.jinja", "config.json", "merges.txt", "model.safetensors",
                "tokenizer.json",
            ])
        let new = try String(contentsOf: target.url.appending(path: "config.json"), encoding: .utf8)
        #expect(new.contains("\"attn_pdrop\": 0.10,") && new.contains("1e-05") && new.contains("12345678901234567890"))
        #expect(new.contains("\"torch_dtype\": \"float32\"") && new.contains("\\u00fc"))
    }

    @Test func basesThatCannotBeCopiedAreRefused() throws {
        let base = try Fixtures.folder("golden/gpt2"), target = try TemporaryFolder()
        let model = try ModelRegistry.load(folder: base)
        #expect(throws: ModelError.self) { try CheckpointWriter.write(model, to: target.url, base: target.url) }
        #expect(throws: ModelError.self) {
            try CheckpointWriter.write(model, to: target.url, base: base, dtype: .int32)
        }
        #expect(try written(target.url).isEmpty, "a refusal leaves nothing behind")
    }
}
