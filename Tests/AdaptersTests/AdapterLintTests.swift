import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// Folders that PEFT loads, or nearly: the lint says all that is wrong with them.
@Suite struct AdapterLintTests {
    private let folder: TemporaryFolder
    private let model: any SequenceModel
    private let weights: URL
    private let configuration: URL
    private let prefix = "base_model.model.model.layers."

    /// A sound copy of an adapter, to be spoilt, and an outline of its base.
    init() throws {
        folder = try TemporaryFolder()
        weights = folder.url.appending(path: "adapter_model.safetensors")
        configuration = folder.url.appending(path: "adapter_config.json")
        let source = try Fixtures.folder("golden/peft-adapters/llama_default")
        model = try ModelRegistry.outline(ModelConfiguration(folder: source.appending(path: "base")))
        for file in [weights, configuration] {
            try FileManager.default.copyItem(at: source.appending(path: "adapter/\(file.lastPathComponent)"), to: file)
        }
        try configure("base_model_name_or_path", .string("somewhere/llama"))
    }

    private func rewrite(as dtype: DType = .float32, _ change: (inout [String: Tensor]) -> Void) throws {
        let file = try SafetensorsFile(weights)
        var tensors = Dictionary(uniqueKeysWithValues: try file.names.map { ($0, try file.tensor($0).copied()) })
        change(&tensors)
        try SafetensorsWriter.write(
            tensors.map { $1.weightSource($0, as: dtype) }, metadata: ["format": "pt"], to: weights)
    }

    private func configure(_ key: String, _ value: JSONValue?) throws {
        guard case .object(var members) = try JSONValue(Data(contentsOf: configuration), file: "") else { return }
        members.removeAll { $0.key == key }
        if let value { members.append(JSONValue.Member(key, value)) }
        try Data(JSONValue.object(members).text.utf8).write(to: configuration)
    }

    /// The errors, or the warnings, as `code file/member`.
    private func remarks(errors: Bool = true, withBase: Bool = false) -> [String] {
        AdapterLint(of: folder.url, on: withBase ? model : nil).remarks.filter { $0.isError == errors }.map {
            ([$0.code.description] + [$0.file, $0.member].compactMap { $0 }).joined(separator: " ")
        }
    }

    private let file = "adapter_model.safetensors"

    @Test func soundFoldersHaveNoErrors() throws {
        #expect(remarks() == [] && remarks(withBase: true) == [])
        #expect(model.projections.allSatisfy { $0.adaptation == nil }, "the outline is as it was")
        for name in PEFTAdapterTests.cases {
            let golden = try Fixtures.folder("golden/peft-adapters/\(name)/adapter")
            let alone = AdapterLint(of: golden)
            #expect(alone.isSound, "\(name): \(alone.remarks)")
        }
    }

    @Test(arguments: ["gpt2_default", "gpt2_rslora", "gpt2_all_linear", "llama_regex", "llama_embed_lm_head"])
    func soundFoldersFitTheirBase(name: String) throws {
        let golden = try Fixtures.folder("golden/peft-adapters/\(name)")
        let outline = try ModelRegistry.outline(ModelConfiguration(folder: golden.appending(path: "base")))
        let lint = AdapterLint(of: golden.appending(path: "adapter"), on: outline)
        #expect(lint.isSound, "\(lint.remarks)")
        let says = lint.remarks.contains { $0.code == .scaling }
        #expect(says == (name == "gpt2_rslora"), "rank-stabilised scales are worth a word")
    }

    @Test func missingAndForeignFilesAreNamed() throws {
        try FileManager.default.removeItem(at: weights)
        #expect(remarks() == ["missing_file \(file)"])
        for (name, code) in [
            ("pytorch_lora_weights.safetensors", "other_format"), ("adapters.safetensors", "other_format"),
            ("adapter_model.bin", "pickle"), ("adapter_model.safetensors.index.json", "sharded"),
        ] {
            try Data().write(to: folder.url.appending(path: name))
            #expect(remarks() == ["\(code) \(name)"])
        }
        let lint = AdapterLint(of: folder.url).remarks
        #expect(lint.allSatisfy { $0.hint?.contains("save") ?? false }, "\(lint)")
        try Data("{".utf8).write(to: configuration)
        #expect(remarks().first == "syntax adapter_config.json")
        try FileManager.default.removeItem(at: configuration)
        #expect(remarks().first == "missing_file adapter_config.json")
    }

    @Test func everyKeyIsJudgedByItself() throws {
        try configure("use_dora", .bool(true))
        try configure("lora_rank", .number(8))
        try configure("made_up", .bool(true))
        try configure("made_up_too", .bool(false))
        try configure("bias", .string("all"))
        try configure("lora_dropout", .string("a little"))
        try configure("layers_pattern", .string("layers"))
        let found = Set(remarks())
        let file = "adapter_config.json"
        #expect(
            found == [
                "unsupported \(file) use_dora", "unknown_key \(file) lora_rank", "unknown_key \(file) made_up",
                "unsupported \(file) bias", "invalid_value \(file) lora_dropout", "invalid_value \(file)",
            ], "\(found)")
        let hints = AdapterLint(of: folder.url).remarks.compactMap(\.hint)
        #expect(hints.contains("it is called r there"))
    }

    @Test func anotherMethodIsRefused() throws {
        try configure("peft_type", .string("IA3"))
        #expect(remarks().first == "unsupported adapter_config.json peft_type")
        try configure("peft_type", nil)
        #expect(remarks().first == "missing_key adapter_config.json peft_type")
        try configure("lora_parameters", .object([]))
        #expect(remarks().first == "other_format adapter_config.json peft_type")
    }

    @Test func scalesThatNobodyMeansAreQuestioned() throws {
        try configure("lora_alpha", .number(0))
        #expect(remarks() == ["scaling adapter_config.json lora_alpha"])
        try configure("lora_alpha", .number(4096))
        #expect(remarks() == [] && remarks(errors: false) == ["scaling adapter_config.json lora_alpha"])
        try configure("lora_alpha", nil)
        #expect(remarks(errors: false) == ["missing_key adapter_config.json lora_alpha"])
    }

    @Test func patternsThatFitNothingAreNamed() throws {
        try configure("alpha_pattern", .object([.init("k_proj", .number(4))]))
        try configure("rank_pattern", .object([.init("up", .number(4))]))
        #expect(remarks() == [])
        #expect(
            Set(remarks(errors: false)) == [
                "unused_pattern adapter_config.json alpha_pattern", "unused_pattern adapter_config.json rank_pattern",
            ])
        try configure("alpha_pattern", nil)
        try configure("rank_pattern", .object([.init("layers.0.self_attn.q_proj", .number(2))]))
        #expect(remarks() == ["rank_mismatch \(file) \(prefix)0.self_attn.q_proj.lora_A.weight"])
    }

    @Test func namesWithAnotherPrefixAreTold() throws {
        try rewrite { tensors in
            tensors = Dictionary(uniqueKeysWithValues: tensors.map { (String($0.key.dropFirst(11)), $0.value) })
        }
        #expect(remarks() == ["wrong_prefix \(file) model.model.layers.0.self_attn.q_proj.lora_A.weight"])
        let text = AdapterLint(of: folder.url).remarks.map(\.message).joined()
        #expect(text.contains("base_model.model."), "\(text)")
    }

    @Test func halvesAndLayersThatAreMissingAreNamed() throws {
        try rewrite { tensors in
            tensors["\(prefix)0.self_attn.q_proj.lora_B.weight"] = nil
            for key in tensors.keys where key.contains("1.self_attn.v_proj") { tensors[key] = nil }
            tensors["base_model.model.model.norm.weight"] = Tensor(zeros: [4])
        }
        let found = remarks()
        #expect(found.contains("missing_tensor \(file) \(prefix)0.self_attn.q_proj.lora_B.weight"), "\(found)")
        #expect(found.contains("missing_layer \(file) \(prefix)*.self_attn.v_proj"), "\(found)")
        #expect(found.contains("unexpected_tensor \(file) base_model.model.model.norm.weight"), "\(found)")
        #expect(found.count == 3, "\(found)")
    }

    @Test func theBaseTellsWhatTheFolderCannot() throws {
        // The same module is absent from every layer: only the base knows that there are two layers.
        try rewrite { tensors in
            for key in tensors.keys where key.contains("layers.1.") { tensors[key] = nil }
        }
        #expect(remarks() == [])
        let found = remarks(withBase: true)
        #expect(found == ["missing_tensor"], "\(found)")
    }

    @Test func ranksShapesAndValuesAreCompared() throws {
        let first = "\(prefix)0.self_attn.q_proj.lora_A.weight"
        let second = "\(prefix)0.self_attn.v_proj.lora_B.weight"
        try rewrite { tensors in
            guard let a = tensors[first], let b = tensors[second] else { return }
            tensors[first] = a.transposed()
            b.pointer[3] = .nan
        }
        let found = remarks()
        #expect(found == ["non_finite \(file) \(second)", "rank_mismatch \(file) \(first)"], "\(found)")
        try configure("r", .number(3))
        #expect(remarks().count { $0.hasPrefix("rank_mismatch") } > 3)
    }

    @Test func anAdapterThatWasNeverTrainedIsDoubtful() throws {
        try rewrite { tensors in
            for (name, tensor) in tensors where name.hasSuffix("lora_B.weight") {
                for index in 0..<tensor.count { tensor.pointer[index] = 0 }
            }
        }
        #expect(remarks() == [] && remarks(errors: false) == ["untrained \(file)"])
    }

    @Test func otherElementTypesAreRefused() throws {
        try SafetensorsWriter.write(
            [
                WeightSource(name: "\(prefix)0.self_attn.q_proj.lora_A.weight", dtype: .int8, shape: [2, 2]) { sink in
                    try [UInt8](repeating: 1, count: 4).withUnsafeBytes { try sink($0) }
                }
            ], to: weights)
        #expect(remarks().contains("dtype \(file) \(prefix)0.self_attn.q_proj.lora_A.weight"))
    }

    @Test func whatIsNotBuiltIsSaidInEveryLayout() throws {
        for (name, word) in PEFTAdapterTests.unread {
            guard let golden = try TestData.folder("golden/peft-adapters/\(name)/adapter") else { return }
            let lint = AdapterLint(of: golden)
            #expect(!lint.isSound, "\(name)")
            let text = lint.remarks.filter(\.isError).map { "\($0.member ?? "") \($0.message)" }.joined(separator: "\n")
            #expect(text.contains(word), "\(name): \(text)")
        }
    }

    @Test func publishedNamesOfOtherProgramsAreToldApart() throws {
        guard let real = try TestData.folder("models/adapter-roberta-base-lora-mnli/roberta_base_lora_mnli.safetensors")
        else { return }
        try FileManager.default.removeItem(at: weights)
        try FileManager.default.copyItem(at: real, to: weights)
        let found = remarks()
        #expect(found.contains { $0.hasPrefix("wrong_prefix") }, "\(found)")
    }

    @Test func namesOfTransformers4AreRecognised() throws {
        guard let golden = try TestData.folder("golden/peft-adapters/vit_names_v4/adapter") else { return }
        let lint = AdapterLint(of: golden)
        #expect(lint.isSound && lint.dialect == .transformers4, "\(lint.remarks)")
        #expect(lint.remarks.contains { $0.code == .dialect })
    }
}
