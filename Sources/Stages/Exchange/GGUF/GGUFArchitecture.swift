import Foundation
import Layers
import Models
import TensorCore

/// How an architecture is written in a GGUF file: names of tensors, order of rows, and what the reader must know.
///
/// After ggml-org/llama.cpp's `conversion` and `src/models`: LLaMA's queries and keys lie there in pairs of neighbours,
/// where Hugging Face has two halves, so their rows change places; Qwen's do not. GPT-2's matrices are turned round.
struct GGUFArchitecture {
    /// The name in the file.
    let name: String
    /// What the reader does otherwise.
    private(set) var notes: [String] = []
    private let configuration: ModelConfiguration
    private let values: [String: Any]
    private let isGPT2: Bool
    private let permutesHeads: Bool
    private let rotaryKind: String

    /// - Throws: ``StageError`` for an architecture, or a setting of one, that is not written.
    init(_ configuration: ModelConfiguration) throws {
        self.configuration = configuration
        values = configuration.values
        let type = try configuration.word("model_type", default: "")
        let names = ["llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gpt2": "gpt2"]
        guard let name = names[type] else {
            throw Self.refusal("\(type) is not written; written are \(names.keys.sorted().joined(separator: ", "))")
        }
        self.name = name
        isGPT2 = type == "gpt2"
        permutesHeads = name == "llama"
        let parameters = (values["rope_parameters"] ?? values["rope_scaling"]) as? [String: Any] ?? [:]
        rotaryKind = isGPT2 ? "none" : (parameters["rope_type"] ?? parameters["type"]) as? String ?? "default"
        try checkOptions(type)
    }

    private static func refusal(_ why: String) -> StageError {
        StageError("unsupported_export", "this base cannot be written for llama.cpp: \(why)")
    }

    /// Adds what else the reader must be told.
    mutating func note(_ text: String?) {
        if let text { notes.append(text) }
    }

    /// Refuses what the reader would compute otherwise.
    private mutating func checkOptions(_ type: String) throws {
        if isGPT2 {
            guard flag("scale_attn_weights", true), !flag("scale_attn_by_inverse_layer_idx", false) else {
                throw Self.refusal("its attention is scaled in a way that GPT-2 has not there")
            }
            return
        }
        guard ["default", "linear"].contains(rotaryKind) || rotaryKind == "llama3" && name == "llama" else {
            throw Self.refusal("rotary embeddings of the kind \(rotaryKind) are not written for \(type)")
        }
        if let window = number("sliding_window"), type == "mistral" || flag("use_sliding_window", false) {
            notes.append(
                "llama.cpp looks back over the whole text with this base, which has a window of \(Int(window)) tokens: "
                    + "the two are alike up to that length")
        }
    }

    // MARK: The configuration

    private func number(_ key: String) -> Double? { (values[key] as? NSNumber)?.doubleValue }
    private func flag(_ key: String, _ fallback: Bool) -> Bool { values[key] as? Bool ?? fallback }

    private func size(_ key: String, _ fallback: Int? = nil) throws -> Int {
        guard let value = number(key).map({ Int($0) }) ?? fallback else {
            throw Self.refusal("\(configuration.file.path) does not say \(key)")
        }
        return value
    }

    private func heads() throws -> Int { try size(isGPT2 ? "n_head" : "num_attention_heads", isGPT2 ? 12 : nil) }
    private func keyHeads() throws -> Int { try isGPT2 ? heads() : size("num_key_value_heads", heads()) }
    private func headSize() throws -> Int {
        try isGPT2 ? size("n_embd", 768) / heads() : size("head_dim", size("hidden_size") / heads())
    }

    /// What the reader must know of a whole model, besides the tokenizer.
    func metadata(for model: any SequenceModel) throws -> [(key: String, value: GGUFFile.Value)] {
        var entries: [(String, GGUFFile.Value)] = []
        func add(_ key: String, _ value: Int) { entries.append(("\(name).\(key)", .uint32(UInt32(value)))) }
        func add(_ key: String, _ value: Double) { entries.append(("\(name).\(key)", .float32(Float(value)))) }
        add("vocab_size", model.vocabularySize)
        add("context_length", model.contextLength)
        let width = try isGPT2 ? size("n_embd", 768) : size("hidden_size")
        add("embedding_length", width)
        add("block_count", try isGPT2 ? size("n_layer", 12) : size("num_hidden_layers"))
        add("feed_forward_length", try isGPT2 ? size("n_inner", 4 * width) : size("intermediate_size"))
        add("attention.head_count", try heads())
        guard !isGPT2 else {
            add("attention.layer_norm_epsilon", number("layer_norm_epsilon") ?? 1e-5)
            return entries
        }
        let head = try headSize()
        add("attention.head_count_kv", try keyHeads())
        add("attention.key_length", head)
        add("attention.value_length", head)
        add("attention.layer_norm_rms_epsilon", number("rms_norm_eps") ?? 1e-6)
        add("rope.dimension_count", head)
        let parameters = (values["rope_parameters"] ?? values["rope_scaling"]) as? [String: Any] ?? [:]
        add("rope.freq_base", (parameters["rope_theta"] as? NSNumber)?.doubleValue ?? number("rope_theta") ?? 10000)
        if rotaryKind == "linear", let factor = (parameters["factor"] as? NSNumber)?.doubleValue {
            entries.append(("\(name).rope.scaling.type", .string("linear")))
            add("rope.scaling.factor", factor)
        }
        return entries
    }

    /// By what each pair's angle step is divided, where metadata cannot say it.
    func rotaryFactors() throws -> Tensor? {
        guard rotaryKind == "llama3" else { return nil }
        let variant = try RotaryVariant(configuration: values, headDimension: try headSize())
        var plain = values
        plain["rope_parameters"] = nil
        plain["rope_scaling"] = nil
        let parameters = (values["rope_parameters"] ?? values["rope_scaling"]) as? [String: Any] ?? [:]
        plain["rope_theta"] = parameters["rope_theta"] ?? values["rope_theta"]
        let steps = try RotaryVariant(configuration: plain, headDimension: try headSize()).inverseFrequencies(length: 1)
        let factors = zip(steps, variant.inverseFrequencies(length: 1)).map { Float($0 / $1) }
        return Tensor(factors, shape: [factors.count])
    }

    // MARK: Tensors

    private static let decoderNames = [
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    ]
    private static let gpt2Names = [
        "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
        "ln_1": "attn_norm", "ln_2": "ffn_norm",
    ]
    private static let wholes = [
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
    ]

    /// What the file calls a module of the model.
    ///
    /// - Throws: ``StageError`` for one that the reader's architecture does not have.
    func moduleName(_ path: String) throws -> String {
        if let whole = Self.wholes[path] { return whole }
        let prefix = isGPT2 ? "transformer.h." : "model.layers."
        let rest = path.dropFirst(prefix.count)
        let parts = rest.split(separator: ".", maxSplits: 1)
        guard path.hasPrefix(prefix), parts.count == 2, let layer = Int(parts[0]),
            let known = (isGPT2 ? Self.gpt2Names : Self.decoderNames)[String(parts[1])]
        else { throw Self.refusal("it has no place for \(path)") }
        return "blk.\(layer).\(known)"
    }

    /// What the file calls a parameter, such as `blk.0.attn_q.weight`.
    func tensorName(_ parameter: String) throws -> String {
        let end = parameter.lastIndex(of: ".") ?? parameter.endIndex
        return try moduleName(String(parameter[..<end])) + parameter[end...]
    }

    /// Rows, one an output of the module `path`, in the file's order.
    func arranged(_ rows: Tensor, of path: String) throws -> Tensor {
        guard permutesHeads, path.hasSuffix(".q_proj") || path.hasSuffix(".k_proj") else { return rows }
        let heads = try path.hasSuffix(".q_proj") ? heads() : keyHeads()
        let count = rows.shape[0], size = count / heads, half = size / 2
        let width = rows.count / count
        let result = Tensor(uninitialized: rows.shape)
        for head in 0..<heads {
            for index in 0..<half {
                for part in 0..<2 {
                    let from = (head * size + part * half + index) * width
                    let to = (head * size + 2 * index + part) * width
                    (result.pointer + to).update(from: rows.pointer + from, count: width)
                }
            }
        }
        return withExtendedLifetime(rows) { result }
    }
}
