import Adapters
import Artifacts
import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Stages

/// What other programs read, compared with what the adapter computes here.
@Suite struct ExportTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func source(_ golden: URL, merge: String? = nil) -> ExportSource {
        ExportSource(
            folder: golden.appending(path: "adapter"), name: "tone", version: 3, digest: "sha256:0",
            base: golden.appending(path: "base"), baseName: "bases/one", merge: merge)
    }

    /// Writes an export and returns its folder.
    private func export(
        _ golden: URL, for program: String, merge: String? = nil, as name: String = "out"
    ) throws -> (folder: URL, notes: [String]) {
        let target = folder.url.appending(path: name)
        try FileManager.default.createDirectory(at: target, withIntermediateDirectories: true)
        return (target, try ExportRegistry.write(source(golden, merge: merge), for: program, to: target))
    }

    private func fixture(_ name: String) throws -> URL { try Fixtures.folder("golden/peft-adapters/\(name)") }

    /// What the adapter adds to each map, `[out, in]`, by path.
    private func deltas(_ golden: URL) throws -> [String: (values: [Float], shape: [Int])] {
        let model = try ModelRegistry.load(folder: golden.appending(path: "base"), for: nil)
        let adapter = try PEFTFolder.read(golden.appending(path: "adapter"), attachingTo: model)
        return Dictionary(
            uniqueKeysWithValues: try adapter.lowRankPairs().map { pair in
                let delta = pair.b.linear(pair.a, layout: .inputByOutput, scale: Float(pair.scale))
                return (pair.path, (delta.values, delta.shape))
            })
    }

    /// `scale · B A` of a file's tensors.
    private func product(_ b: [Float], _ a: [Float], rank: Int, scale: Double) -> [Float] {
        let outputs = b.count / rank, inputs = a.count / rank
        var result = [Float](repeating: 0, count: outputs * inputs)
        for row in 0..<outputs {
            for column in 0..<inputs {
                var sum = 0.0
                for index in 0..<rank { sum += Double(b[row * rank + index]) * Double(a[index * inputs + column]) }
                result[row * inputs + column] = Float(sum * scale)
            }
        }
        return result
    }

    private func difference(_ a: [Float], _ b: [Float]) -> Float {
        #expect(a.count == b.count)
        return zip(a, b).reduce(0) { $1.0 - $1.1 == $1.0 - $1.1 ? max($0, abs($1.0 - $1.1)) : .infinity }
    }

    /// Rows of a map of `heads` heads, from two halves to pairs of neighbours, as ggml's rotary embedding has them.
    private func paired(_ rows: [Float], heads: Int, width: Int) -> [Float] {
        let size = rows.count / width / heads
        return (0..<heads).flatMap { head in
            (0..<size).flatMap { index in
                let from = head * size + index / 2 + (index % 2) * (size / 2)
                return Array(rows[from * width..<(from + 1) * width])
            }
        }
    }

    // MARK: GGUF adapters

    private static let names = [
        "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate",
        "up_proj": "ffn_up", "down_proj": "ffn_down", "c_attn": "attn_qkv", "c_fc": "ffn_up",
    ]

    private func ggufName(_ path: String) -> String {
        let parts = path.split(separator: ".").map(String.init)
        let layer = parts.first { Int($0) != nil } ?? ""
        let last = parts[parts.count - 1]
        if last == "c_proj" { return "blk.\(layer).\(path.contains("mlp") ? "ffn_down" : "attn_output").weight" }
        return "blk.\(layer).\(Self.names[last] ?? last).weight"
    }

    /// What the reader computes from file and rank is what the adapter adds here: also with patterns and root scales.
    @Test(arguments: [
        "gpt2_default", "gpt2_rslora", "gpt2_all_linear", "llama_default", "llama_regex", "llama_patterns",
    ])
    func aGGUFAdapterAddsTheSame(name: String) throws {
        let golden = try fixture(name)
        let (out, notes) = try export(golden, for: "llama.cpp")
        let file = try GGUFReader(out.appending(path: "tone-3-lora.gguf"))
        #expect(notes[0].contains("--lora tone-3/tone-3-lora.gguf"))
        #expect(file.metadata["general.type"] == .text("adapter") && file.metadata["adapter.type"] == .text("lora"))
        #expect(file.metadata["general.architecture"] == .text(name.hasPrefix("gpt2") ? "gpt2" : "llama"))
        guard case .number(let alpha)? = file.metadata["adapter.lora.alpha"] else {
            Issue.record("no alpha")
            return
        }
        let deltas = try deltas(golden)
        #expect(file.tensors.count == 2 * deltas.count)
        for (path, delta) in deltas {
            let a = try #require(file.tensors["\(ggufName(path)).lora_a"], "\(path)")
            let b = try #require(file.tensors["\(ggufName(path)).lora_b"], "\(path)")
            let rank = a.shape[0]
            #expect(a.shape == [rank, delta.shape[1]] && b.shape == [delta.shape[0], rank])
            // The reader's rule: alpha over the rank, which is B's innermost size.
            let read = product(b.values, a.values, rank: rank, scale: alpha / Double(rank))
            var expected = delta.values
            if path.hasSuffix("q_proj") { expected = paired(expected, heads: 4, width: delta.shape[1]) }
            if path.hasSuffix("k_proj") { expected = paired(expected, heads: 2, width: delta.shape[1]) }
            #expect(difference(read, expected) < 1e-6, "\(path)")
            #expect(expected.contains { abs($0) > 1e-5 }, "\(path) does something")
        }
    }

    @Test func whatGGUFAdaptersCannotHoldIsRefused() throws {
        for name in ["gpt2_modules_to_save", "llama_embed_lm_head"] {
            let error = #expect(throws: StageError.self) { try export(fixture(name), for: "llama.cpp", as: name) }
            #expect(error?.code == "unsupported_export" && error?.description.contains("--merge") == true)
        }
        let error = #expect(throws: StageError.self) {
            try export(fixture("bert_seqcls"), for: "llama.cpp", as: "bert")
        }
        #expect(error?.description.contains("bert") == true)
    }

    // MARK: GGUF models

    @Test(arguments: ["llama_default", "gpt2_all_linear", "gpt2_modules_to_save", "llama_embed_lm_head"])
    func aMergedModelHoldsTheMergedWeights(name: String) throws {
        let golden = try fixture(name)
        let model = try ModelRegistry.load(folder: golden.appending(path: "base"), for: nil)
        let adapter = try PEFTFolder.read(golden.appending(path: "adapter"), attachingTo: model)
        let turned = Set(model.projections.filter { $0.layout == .inputByOutput }.map { "\($0.path).weight" })
        for merge in ["f32", "f16", "q8_0"] {
            let (out, _) = try export(golden, for: "llama.cpp", merge: merge, as: merge)
            let file = try GGUFReader(out.appending(path: "tone-3-\(merge).gguf"))
            let architecture = try GGUFArchitecture(ModelConfiguration(folder: golden.appending(path: "base")))
            let untied = adapter.untiedHead == nil ? 0 : 1
            #expect(file.tensors.count == model.parameters.count + untied)
            for parameter in model.parameters {
                let tensor = try #require(file.tensors[try architecture.tensorName(parameter.name)])
                let merged = adapter.mergedValues(of: parameter)
                var expected = merged.values
                if turned.contains(parameter.name) {
                    let (rows, columns) = (merged.shape[0], merged.shape[1])
                    expected = (0..<columns).flatMap { c in (0..<rows).map { merged.values[$0 * columns + c] } }
                    #expect(tensor.shape == [columns, rows])
                } else {
                    #expect(tensor.shape == merged.shape)
                }
                if parameter.name.contains("q_proj") { expected = paired(expected, heads: 4, width: merged.shape[1]) }
                if parameter.name.contains("k_proj") { expected = paired(expected, heads: 2, width: merged.shape[1]) }
                let largest = expected.reduce(0) { max($0, abs($1)) }
                // A type's own rounding: F16 has 11 bits; Q8_0 half a step of max / 127, and its scale's own rounding.
                let tolerance: Float =
                    tensor.type == 0
                    ? 0 : tensor.type == 1 ? largest * 0x1p-11 : largest * (0.5 / 127 + 0x1p-11) * 1.001
                #expect(difference(tensor.values, expected) <= tolerance, "\(parameter.name) as \(merge)")
                let isVector = parameter.tensor.shape.count == 1 || parameter.name.contains("wpe")
                // These bases have rows of 16, which blocks of 32 do not divide, and of 64, which they do.
                let type = isVector || merge == "f32" ? 0 : merge == "q8_0" && tensor.shape[1] % 32 == 0 ? 8 : 1
                #expect(tensor.type == type, "\(parameter.name) as \(merge)")
            }
            #expect(file.metadata["tokenizer.ggml.model"] == .text("none"), "this base has no tokenizer")
        }
    }

    @Test func whatTheReaderMustKnowOfABaseIsThere() throws {
        let llama = try export(fixture("llama_default"), for: "llama.cpp", merge: "f16", as: "llama").folder
        let file = try GGUFReader(llama.appending(path: "tone-3-f16.gguf"))
        func number(_ key: String) -> Double? {
            guard case .number(let number)? = file.metadata["llama.\(key)"] else { return nil }
            return number
        }
        #expect(number("vocab_size") == 50 && number("context_length") == 32 && number("embedding_length") == 16)
        #expect(number("block_count") == 2 && number("feed_forward_length") == 24)
        #expect(number("attention.head_count") == 4 && number("attention.head_count_kv") == 2)
        #expect(number("attention.key_length") == 4 && number("rope.dimension_count") == 4)
        #expect(number("rope.freq_base") == 10000)
        #expect(abs((number("attention.layer_norm_rms_epsilon") ?? 0) - 1e-6) < 1e-12)
        #expect(file.metadata["general.file_type"] == .number(1))
    }

    @Test func stretchedPositionsAreWrittenOrRefused() throws {
        guard let golden = try TestData.folder("golden/peft-adapters") else { return }
        let linear = try export(golden.appending(path: "llama_rope_linear"), for: "llama.cpp", merge: "f32", as: "a")
            .folder
        let file = try GGUFReader(linear.appending(path: "tone-3-f32.gguf"))
        #expect(file.metadata["llama.rope.scaling.type"] == .text("linear"))
        let three = try export(golden.appending(path: "llama_rope_llama3"), for: "llama.cpp", merge: "f32", as: "b")
            .folder
        let factors = try #require(
            try GGUFReader(three.appending(path: "tone-3-f32.gguf")).tensors["rope_freqs.weight"])
        #expect(factors.values.allSatisfy { $0 >= 1 } && (factors.values.last ?? 0) > 1, "\(factors.values)")
        for name in ["llama_rope_dynamic", "llama_rope_yarn"] {
            let error = #expect(throws: StageError.self) {
                try export(golden.appending(path: name), for: "llama.cpp", as: name)
            }
            #expect(error?.code == "unsupported_export")
        }
        let (_, notes) = try export(golden.appending(path: "mistral_sliding_window"), for: "llama.cpp", as: "m")
        #expect(notes.contains { $0.contains("window") }, "\(notes)")
    }

    @Test func tokenizersBecomeMetadata() throws {
        guard let stories = try TestData.folder("models/stories260K"),
            let gpt2 = try TestData.folder("models/gpt2-shakespeare-trained-here"),
            let tokenizers = try TestData.folder("tokenizers")
        else { return }
        func metadata(_ folder: URL, _ size: Int) throws -> [String: GGUFFile.Value] {
            Dictionary(
                uniqueKeysWithValues: try GGUFTokenizer(folder: folder, vocabularySize: size).metadata.map {
                    ($0.key, $0.value)
                })
        }
        let spm = try metadata(stories, 514)
        #expect(spm["tokenizer.ggml.model"] == .string("llama") && spm["tokenizer.ggml.add_bos_token"] == .bool(true))
        guard case .strings(let tokens)? = spm["tokenizer.ggml.tokens"],
            case .int32s(let kinds)? = spm["tokenizer.ggml.token_type"],
            case .float32s(let scores)? = spm["tokenizer.ggml.scores"]
        else {
            Issue.record("lists are missing")
            return
        }
        #expect(tokens.count == 514 && kinds.count == 514 && scores.count == 514)
        #expect(Array(kinds[0..<5]) == [2, 3, 3, 6, 6] && Array(kinds.suffix(2)) == [5, 5])
        #expect(
            String(decoding: tokens[3], as: UTF8.self) == "<0x00>"
                && String(decoding: tokens[513], as: UTF8.self) == "[PAD513]")
        let bpe = try metadata(gpt2, 512)
        #expect(bpe["tokenizer.ggml.model"] == .string("gpt2") && bpe["tokenizer.ggml.pre"] == .string("gpt-2"))
        #expect(bpe["tokenizer.ggml.add_bos_token"] == .bool(false) && bpe["tokenizer.ggml.eos_token_id"] == .uint32(0))
        let qwen = try metadata(tokenizers.appending(path: "qwen3"), 151_936)
        #expect(qwen["tokenizer.ggml.pre"] == .string("qwen2") && qwen["tokenizer.chat_template"] != nil)
        #expect(
            try metadata(tokenizers.appending(path: "llama3.2"), 128_256)["tokenizer.ggml.pre"] == .string("llama-bpe"))
        let error = #expect(throws: StageError.self) { try metadata(tokenizers.appending(path: "t5-unigram"), 32_128) }
        #expect(error?.code == "unsupported_export")
    }

    // MARK: Other programs

    @Test func aModelfileNamesTheMergedModel() throws {
        guard let stories = try TestData.folder("models/stories260K") else { return }
        let golden = folder.url.appending(path: "golden")
        try FileManager.default.createDirectory(at: golden, withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(at: golden.appending(path: "base"), withDestinationURL: stories)
        let model = try ModelRegistry.load(folder: stories)
        let adapter = try AttachedAdapter(LoRA(rank: 2), targets: TargetModules(.allLinear), to: model, seed: 1)
        try PEFTFolder.write(adapter, to: golden.appending(path: "adapter"), baseModelNameOrPath: nil)
        let (out, notes) = try export(golden, for: "ollama", merge: "q8_0")
        let text = try String(contentsOf: out.appending(path: "Modelfile"), encoding: .utf8)
        #expect(text.contains("FROM ./tone-3-q8_0.gguf\n") && text.contains("PARAMETER stop \"</s>\""), "\(text)")
        #expect(notes[0].hasPrefix("ollama create tone"))
        let file = try GGUFReader(out.appending(path: "tone-3-q8_0.gguf"))
        #expect(file.metadata["tokenizer.ggml.tokens"]?.texts.count == 512)
        #expect(file.tensors["blk.0.attn_q.weight"]?.type == 8 && file.tensors["blk.0.ffn_down.weight"]?.type == 1)
    }

    @Test(arguments: ["llama_default", "llama_patterns", "gpt2_rslora"])
    func mlxFactorsAddTheSame(name: String) throws {
        let golden = try fixture(name)
        let (out, _) = try export(golden, for: "mlx")
        let file = try SafetensorsFile(out.appending(path: "adapters.safetensors"))
        let configuration = try JSONValue(Data(contentsOf: out.appending(path: "adapter_config.json")), file: "")
        let parameters = try #require(configuration["lora_parameters"])
        guard case .number(let digits)? = parameters["scale"], let scale = Double(digits),
            case .number(let rankDigits)? = parameters["rank"], let rank = Int(rankDigits),
            case .array(let keys)? = parameters["keys"]
        else {
            Issue.record("\(configuration)")
            return
        }
        #expect(configuration["fine_tune_type"] == .string("lora"))
        #expect(configuration["num_layers"] == .number(name.hasPrefix("gpt2") ? 1 : 2))
        let deltas = try deltas(golden)
        #expect(file.names.count == 2 * deltas.count)
        for (path, delta) in deltas {
            let mlx = path.hasPrefix("transformer.") ? "model" + path.dropFirst("transformer".count) : path
            let (a, b) = (try file.tensor("\(mlx).lora_a"), try file.tensor("\(mlx).lora_b"))
            #expect(a.shape == [delta.shape[1], rank] && b.shape == [rank, delta.shape[0]])
            // (x a) b for each unit vector x: the transpose of what is added.
            let rows = a.linear(b, layout: .inputByOutput, scale: Float(scale))
            let turned = rows.turned()
            #expect(difference(turned.values, delta.values) < 1e-6, "\(path)")
            #expect(keys.contains { mlx.hasSuffix($0.string ?? "?") }, "\(path)")
        }
    }

    @Test func vllmGetsOneRankAndOneScale() throws {
        let golden = try fixture("llama_patterns")
        let (out, notes) = try export(golden, for: "vllm")
        let configuration = try PEFTFolder.configuration(in: out)
        let lora = try #require(configuration.method as? LoRA)
        #expect(lora.rankPattern.patterns.isEmpty && lora.alphaPattern.patterns.isEmpty && !lora.useRSLoRA)
        #expect(lora.alpha == Double(lora.rank) && notes.contains { $0.contains("--max-lora-rank 8") }, "\(notes)")
        // Loaded here it computes the same.
        let input = TokenBatch([[1, 5, 7, 9, 11, 2, 40]])
        func logits(_ adapter: URL) throws -> [Float] {
            let model = try ModelRegistry.load(folder: golden.appending(path: "base"))
            _ = try PEFTFolder.read(adapter, attachingTo: model)
            return Autograd.withoutGradients { model.outputs(of: input, context: ForwardContext()).values }
        }
        #expect(difference(try logits(out), try logits(golden.appending(path: "adapter"))) < 1e-5)

        let (same, told) = try export(fixture("gpt2_rslora"), for: "vllm", as: "same")
        let before = try Data(contentsOf: fixture("gpt2_rslora").appending(path: "adapter/adapter_config.json"))
        #expect(try Data(contentsOf: same.appending(path: "adapter_config.json")) == before && told.count == 1)
        let error = #expect(throws: StageError.self) {
            try export(fixture("gpt2_modules_to_save"), for: "vllm", as: "no")
        }
        #expect(error?.description.contains("modules_to_save") == true)
    }

    @Test func anImageLayoutIsWholeAndTheSameEveryTime() throws {
        let golden = try fixture("llama_default")
        let first = try export(golden, for: "oci", as: "one").folder.appending(path: "tone-3.oci.tar")
        let second = try export(golden, for: "oci", as: "two").folder.appending(path: "tone-3.oci.tar")
        #expect(try Data(contentsOf: first) == Data(contentsOf: second))
        let files = try Self.unpack(Data(contentsOf: first))
        func object(_ name: String) throws -> JSONValue { try JSONValue(try #require(files[name]), file: name) }
        func blob(_ descriptor: JSONValue) throws -> Data {
            let digest = try #require(descriptor["digest"]?.string)
            let data = try #require(files["blobs/sha256/\(digest.dropFirst(7))"], "\(digest)")
            #expect(Digest.sha256(data) == digest && descriptor["size"] == .number(data.count))
            return data
        }
        #expect(try object("oci-layout")["imageLayoutVersion"]?.string == "1.0.0")
        guard case .array(let manifests)? = try object("index.json")["manifests"], manifests.count == 1 else {
            Issue.record("one manifest is expected")
            return
        }
        let manifest = try JSONValue(blob(manifests[0]), file: "manifest")
        #expect(manifest["artifactType"]?.string == "application/vnd.cncf.model.manifest.v1+json")
        _ = try blob(try #require(manifest["config"]))
        guard case .array(let layers)? = manifest["layers"] else { return }
        #expect(layers.count == 2 && files.count == 2 + 2 + layers.count)
        for layer in layers {
            let name = try #require(layer["annotations"]?["org.cncf.model.filepath"]?.string)
            #expect(try blob(layer) == Data(contentsOf: golden.appending(path: "adapter/\(name)")))
        }
    }

    /// The files of a tar archive.
    private static func unpack(_ data: Data) throws -> [String: Data] {
        var files: [String: Data] = [:]
        var offset = 0
        while offset < data.count, data[offset] != 0 {
            let header = Array(data[offset..<offset + 512])
            func field(_ range: Range<Int>) -> String {
                String(decoding: header[range].prefix { $0 != 0 && $0 != 0x20 }, as: UTF8.self)
            }
            let sum = header.enumerated().reduce(0) { $0 + (148..<156 ~= $1.offset ? 32 : Int($1.element)) }
            #expect(Int(field(148..<156), radix: 8) == sum && field(257..<263) == "ustar")
            let size = Int(field(124..<136), radix: 8) ?? -1
            if header[156] == UInt8(ascii: "0") { files[field(0..<100)] = data[offset + 512..<offset + 512 + size] }
            offset += 512 + (size + 511) / 512 * 512
        }
        return files
    }

    @Test func everyFormatWritesSomethingAndSaysSomething() throws {
        let golden = try fixture("llama_default")
        for name in ExportRegistry.names {
            let (out, notes) = try export(golden, for: name, as: name)
            #expect(try !FileManager.default.contentsOfDirectory(atPath: out.path).isEmpty && !notes.isEmpty)
        }
        let error = #expect(throws: StageError.self) {
            try ExportRegistry.write(source(golden), for: "wordperfect", to: folder.url)
        }
        #expect(error?.code == "unknown_format")
        let orphan = ExportSource(
            folder: golden.appending(path: "adapter"), name: "tone", version: 3, digest: "", base: nil, baseName: "gone"
        )
        let missing = #expect(throws: StageError.self) { try ExportRegistry.write(orphan, for: "mlx", to: folder.url) }
        #expect(missing?.code == "no_base" && missing?.description.contains("--base") == true)
    }
}
