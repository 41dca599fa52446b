import Layers

/// Qwen1.5-MoE and Qwen2-MoE (arXiv 2407.10671): Qwen2 with many small experts, and a shared one that every token passes;
/// checked against transformers' `Qwen2MoeForCausalLM`.
enum Qwen2MoE: ModelArchitecture {
    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try DecoderDesign.limits(configuration, contextLength: 32768)
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        try configuration.require("hidden_act", in: ["silu", "swish"])
        var design = try DecoderDesign(configuration, contextLength: 32768)
        design.queryKeyValueBias = try configuration.flag("qkv_bias", default: true)
        try design.addQwenExperts(configuration, defaultCount: 60, perToken: 4, inner: 1408)
        design.experts?.sharedInner = try configuration.size("shared_expert_intermediate_size", default: 5632)
        if try configuration.flag("use_sliding_window", default: false) {
            let window =
                configuration.isNull("sliding_window")
                ? nil : try configuration.size("sliding_window", default: 4096)
            let end = try configuration.size("max_window_layers", default: 28)
            // Of the layers below the limit, every other one: not Qwen2's rule.
            try design.slide(configuration, window: window) { $0 % 2 == 0 && $0 < end }
        }
        return try Decoder(design, weights)
    }
}

extension DecoderDesign {
    /// Reads the experts as Qwen's configurations have them, and which layers have any.
    mutating func addQwenExperts(
        _ configuration: ModelConfiguration, defaultCount: Int, perToken: Int, inner: Int
    ) throws {
        experts = try ExpertDesign(
            configuration, counts: ["num_experts", "num_local_experts"], defaultCount: defaultCount,
            perToken: perToken, inner: configuration.size("moe_intermediate_size", default: inner), isNormalised: nil,
            names: ExpertDesign.Names(gate: "gate_proj", up: "up_proj", down: "down_proj"))
        let step = try configuration.size("decoder_sparse_step", default: 1)
        let dense = try configuration.indices("mlp_only_layers") ?? []
        for index in layers.indices { layers[index].isSparse = (index + 1) % step == 0 && !dense.contains(index) }
    }
}
