import Layers

/// Qwen3-MoE (arXiv 2505.09388): Qwen3 with many small experts and no shared one; checked against transformers'
/// `Qwen3MoeForCausalLM`.
enum Qwen3MoE: ModelArchitecture {
    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try DecoderDesign.limits(configuration, contextLength: 32768)
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        try configuration.require("hidden_act", in: ["silu", "swish"])
        var design = try DecoderDesign(configuration, contextLength: 32768)
        design.hasHeadNorms = true
        design.queryKeyValueBias = try configuration.flag("attention_bias", default: false)
        design.outputBias = design.queryKeyValueBias
        try design.addQwenExperts(configuration, defaultCount: 128, perToken: 8, inner: 768)
        // Every layer has the window, or none.
        if try configuration.flag("use_sliding_window", default: false), configuration.has("sliding_window") {
            try design.slide(configuration, window: configuration.size("sliding_window")) { _ in true }
        }
        return try Decoder(design, weights)
    }
}
