import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// Folders that are nearly right: PEFT loads many of them with a warning and computes something else.
@Suite struct PEFTFolderTests {
    private let folder: TemporaryFolder
    private let model: any LanguageModel
    private let weights: URL
    private let configuration: URL

    /// A sound copy of an adapter, to be spoilt.
    init() throws {
        folder = try TemporaryFolder()
        weights = folder.url.appending(path: "adapter_model.safetensors")
        configuration = folder.url.appending(path: "adapter_config.json")
        let source = try Fixtures.folder("golden/peft-adapters/llama_default")
        model = try ModelRegistry.load(folder: source.appending(path: "base"))
        for file in [weights, configuration] {
            try FileManager.default.copyItem(at: source.appending(path: "adapter/\(file.lastPathComponent)"), to: file)
        }
    }

    /// The tensors of the file after `change`, written back.
    private func rewrite(as dtype: DType = .float32, _ change: (inout [String: Tensor]) -> Void) throws {
        let file = try SafetensorsFile(weights)
        var tensors = Dictionary(uniqueKeysWithValues: try file.names.map { ($0, try file.tensor($0).copied()) })
        change(&tensors)
        try SafetensorsWriter.write(
            tensors.map { $1.weightSource($0, as: dtype) }, metadata: ["format": "pt"], to: weights)
    }

    /// The configuration with one key set.
    private func configure(_ key: String, _ value: JSONValue?) throws {
        guard case .object(var members) = try JSONValue(Data(contentsOf: configuration), file: "") else { return }
        members.removeAll { $0.key == key }
        if let value { members.append(JSONValue.Member(key, value)) }
        try Data(JSONValue.object(members).text.utf8).write(to: configuration)
    }

    private func expectFailure(_ code: AdapterError.Code, naming words: String..., line: Int = #line) {
        let location = SourceLocation(fileID: #fileID, filePath: #filePath, line: line, column: 1)
        let error = #expect(throws: AdapterError.self, sourceLocation: location) {
            try PEFTFolder.read(folder.url, attachingTo: model)
        }
        #expect(error?.code == code, sourceLocation: location)
        for word in words {
            #expect(error?.description.contains(word) == true, "\(error?.description ?? "")", sourceLocation: location)
        }
        #expect(model.projections.allSatisfy { $0.adaptation == nil }, "a failure leaves the model alone")
    }

    private let first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"

    @Test func soundCopyLoads() throws {
        #expect(try PEFTFolder.read(folder.url, attachingTo: model).modules.count == 4)
    }

    @Test func missingTensor() throws {
        try rewrite { $0[first] = nil }
        expectFailure(.missingTensor, naming: first, folder.url.path)
    }

    @Test func extraTensor() throws {
        try rewrite { $0["base_model.model.lm_head.weight"] = Tensor([1], shape: [1, 1]) }
        expectFailure(.unexpectedTensor, naming: "base_model.model.lm_head.weight")
    }

    @Test func misshapenTensor() throws {
        try rewrite { $0[first] = Tensor(zeros: [4, 15]) }
        expectFailure(.shape, naming: first, "[4, 15]", "[4, 16]")
    }

    @Test func transposedTensor() throws {
        try rewrite { $0[first] = $0[first]?.reshaped([16, 4]) }
        expectFailure(.shape, naming: first)
    }

    @Test(arguments: ["base_model.model.model.", "model.", "", "base_model.model."])
    func wrongPrefix(prefix: String) throws {
        let all = "base_model.model.model."
        try rewrite { tensors in
            let pairs = tensors.map { (prefix + $0.dropFirst(all.count), $1) }
            tensors = Dictionary(uniqueKeysWithValues: pairs)
        }
        if prefix == all {
            _ = try PEFTFolder.read(folder.url, attachingTo: model)
        } else {
            expectFailure(.missingTensor, naming: first, "prefix", prefix + first.dropFirst(all.count))
        }
    }

    @Test func wrongRank() throws {
        try configure("r", .number(5))
        expectFailure(.shape, naming: first, "[5, 16]")
    }

    @Test func unknownMethod() throws {
        try configure("peft_type", .string("LOHA"))
        expectFailure(.unsupported, naming: "LOHA", "LORA")
        try configure("peft_type", nil)
        expectFailure(.configuration, naming: "peft_type", configuration.path)
    }

    @Test func optionsThatChangeTheMathematics() throws {
        for (key, value) in [
            ("use_dora", JSONValue.bool(true)), ("bias", .string("all")),
            ("lora_bias", .bool(true)),
            ("trainable_token_indices", .array([.number(1)])),
            ("layer_replication", .array([.array([.number(0), .number(1)])])),
            ("alora_invocation_tokens", .array([.number(1)])), ("use_qalora", .bool(true)),
            ("use_bdlora", .object([.init("a", .null)])),
            ("task_type", .string("SEQ_CLS")), ("init_lora_weights", .string("pissa_niter_4")),
            ("a_key_of_tomorrow", .bool(true)),
        ] {
            let before = try Data(contentsOf: configuration)
            try configure(key, value)
            expectFailure(.unsupported, naming: key, configuration.path)
            try before.write(to: configuration)
        }
    }

    @Test func valuesThatCannotBe() throws {
        for (key, value) in [
            ("r", JSONValue.string("4")), ("r", .number("4.5")), ("r", .number(0)), ("lora_alpha", .bool(true)),
            ("lora_dropout", .number(1)), ("use_rslora", .number(1)), ("rank_pattern", .array([.number(1)])),
            ("rank_pattern", .object([.init("q_proj", .string("x"))])), ("peft_type", .number(1)),
        ] {
            let before = try Data(contentsOf: configuration)
            try configure(key, value)
            expectFailure(.configuration)
            try before.write(to: configuration)
        }
    }

    /// What says nothing about the result may have any value, and PEFT's newest keys at rest are no reason to refuse.
    @Test func whatChangesNothingLoads() throws {
        let reference = try PEFTFolder.read(folder.url, attachingTo: model)
        let batch = TokenBatch([[3, 14, 15]])
        let expected = logits(model, batch)
        reference.detach()
        for (key, value) in [
            ("fan_in_fan_out", JSONValue.bool(true)), ("lora_alpha", .number("8.0")),
            ("peft_version", .string("0.9.0")),
            ("inference_mode", .bool(false)), ("a_key_of_tomorrow", .null), ("another", .object([])),
            ("init_lora_weights", .string("gaussian")), ("task_type", nil), ("bias", nil), ("use_rslora", nil),
            ("auto_mapping", .object([.init("base_model_class", .string("LlamaForCausalLM"))])),
        ] {
            try configure(key, value)
            let adapter = try PEFTFolder.read(folder.url, attachingTo: model)
            #expect(logits(model, batch) == expected, "\(key)")
            adapter.detach()
        }
    }

    /// PEFT's own minimum: the type and the targets, for a rank and an alpha of 8.
    @Test func defaultsArePEFTs() throws {
        let configuration = try PEFTConfiguration(
            Data(#"{"peft_type": "LORA", "target_modules": ["c_attn"]}"#.utf8), file: "adapter_config.json")
        let method = try #require(configuration.method as? LoRA)
        #expect(method.rank == 8 && method.alpha == 8 && method.dropout == 0 && !method.useRSLoRA)
    }

    @Test(arguments: [DType.float16, .bfloat16]) func shortTypesLoad(dtype: DType) throws {
        let reference = try PEFTFolder.read(folder.url, attachingTo: model)
        let exact = Dictionary(uniqueKeysWithValues: reference.storedParameters.map { ($0.name, $0.tensor.values) })
        reference.detach()
        try rewrite(as: dtype) { _ in }
        let adapter = try PEFTFolder.read(folder.url, attachingTo: model)
        let relative: Float = dtype == .float16 ? 0x1p-11 : 0x1p-8
        for parameter in adapter.storedParameters {
            let expected = try #require(exact[parameter.name])
            #expect(zip(parameter.tensor.values, expected).allSatisfy { abs($0 - $1) <= relative * abs($1) + 1e-7 })
        }
    }

    @Test func integersDoNotLoad() throws {
        let file = try SafetensorsFile(weights)
        let sources = try file.names.map { name in
            let shape = try file.entry(name).shape
            return WeightSource(name: name, dtype: .int32, shape: shape, bytes: try file.bytes(of: name))
        }
        let other = folder.url.appending(path: "other.safetensors")
        try SafetensorsWriter.write(sources, to: other)
        try FileManager.default.removeItem(at: weights)
        try FileManager.default.moveItem(at: other, to: weights)
        #expect(throws: WeightFileError.self) { try PEFTFolder.read(folder.url, attachingTo: model) }
        #expect(model.projections.allSatisfy { $0.adaptation == nil })
    }

    @Test func missingFiles() throws {
        try FileManager.default.moveItem(at: weights, to: folder.url.appending(path: "adapter_model.bin"))
        expectFailure(.pickle, naming: "adapter_model.bin", "save_pretrained")
        try FileManager.default.removeItem(at: folder.url.appending(path: "adapter_model.bin"))
        expectFailure(.incomplete, naming: "adapter_model.safetensors")
        try FileManager.default.removeItem(at: configuration)
        expectFailure(.incomplete, naming: "adapter_config.json")
    }

    @Test func brokenConfiguration() throws {
        try Data(#"{"peft_type": "LORA", "#.utf8).write(to: configuration)
        #expect(throws: WeightFileError.self) { try PEFTFolder.read(folder.url, attachingTo: model) }
        try Data("[]".utf8).write(to: configuration)
        expectFailure(.configuration, naming: configuration.path)
        try Data(#"{"peft_type": "LORA", "peft_type": "LORA"}"#.utf8).write(to: configuration)
        #expect(throws: WeightFileError.self) { try PEFTFolder.read(folder.url, attachingTo: model) }
    }

    @Test func configurationIsWrittenAsPEFTWritesIt() throws {
        let gpt2 = try ModelRegistry.load(folder: Fixtures.folder("golden/gpt2"))
        let adapter = try AttachedAdapter(
            LoRA(rank: 4, alpha: 16, dropout: 0.05), targets: TargetModules(.allLinear), to: gpt2, seed: 1)
        try PEFTFolder.write(adapter, to: folder.url, baseModelNameOrPath: "models/Größe \"x\"")
        #expect(
            try String(contentsOf: configuration, encoding: .utf8) == #"""
                {
                  "alpha_pattern": {},
                  "auto_mapping": null,
                  "base_model_name_or_path": "models/Gr\u00f6\u00dfe \"x\"",
                  "bias": "none",
                  "fan_in_fan_out": true,
                  "inference_mode": true,
                  "init_lora_weights": true,
                  "layers_pattern": null,
                  "layers_to_transform": null,
                  "lora_alpha": 16,
                  "lora_dropout": 0.05,
                  "modules_to_save": null,
                  "peft_type": "LORA",
                  "peft_version": "0.21.2",
                  "r": 4,
                  "rank_pattern": {},
                  "revision": null,
                  "target_modules": [
                    "c_attn",
                    "c_fc",
                    "c_proj"
                  ],
                  "task_type": "CAUSAL_LM",
                  "use_rslora": false
                }
                """#)
    }

    /// A method that says something else of itself than it is.
    private struct Misleading: AdapterMethod {
        static let name = "misleading"
        static let peftType = "LORA"
        var inner: LoRA
        var peftFields: [String: JSONValue]

        init(_ inner: LoRA, _ change: (inout [String: JSONValue]) -> Void) {
            self.inner = inner
            peftFields = inner.peftFields
            change(&peftFields)
        }

        init(_ options: AdapterOptions) throws { self.init(try LoRA(options)) { _ in } }
        init(peft fields: inout PEFTFields) throws { self.init(try LoRA(peft: &fields)) { _ in } }

        func adaptations(for projections: [Projection], random: RandomStream) throws -> [any Adaptation] {
            try inner.adaptations(for: projections, random: random)
        }
    }

    @Test func whatDoesNotReadBackIsNotAccepted() throws {
        for (code, method) in [
            (AdapterError.Code.shape, Misleading(try LoRA(rank: 3)) { $0["r"] = .number(2) }),
            (.verification, Misleading(try LoRA(rank: 3)) { $0["use_rslora"] = nil }),
        ] {
            let adapter = try AttachedAdapter(method, targets: TargetModules(.allLinear), to: model, seed: 1)
            let error = #expect(throws: AdapterError.self) {
                try PEFTFolder.write(adapter, to: folder.url, baseModelNameOrPath: nil)
            }
            #expect(error?.code == code)
            adapter.detach()
        }
    }

    @Test func writingInAPlaceThatCannotBeWrittenFails() throws {
        let adapter = try PEFTFolder.read(folder.url, attachingTo: model)
        let file = folder.url.appending(path: "file")
        try Data().write(to: file)
        #expect(throws: (any Error).self) {
            try PEFTFolder.write(adapter, to: file.appending(path: "below"), baseModelNameOrPath: nil)
        }
        // A value that is not a number is stored as it is; hiding it is not the writer's business.
        let parameter = adapter.parameters[0]
        parameter.assign(Tensor([Float](repeating: .nan, count: parameter.tensor.count), shape: parameter.tensor.shape))
        try PEFTFolder.write(adapter, to: folder.url, baseModelNameOrPath: nil)
    }
}
