import Layers

/// Qwen3 (arXiv 2505.09388): norms over each head of queries and keys, a head size of its own; checked against transformers'
/// `Qwen3ForCausalLM`.
enum Qwen3: ModelArchitecture {
    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try DecoderDesign.limits(configuration, contextLength: 32768)
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        try configuration.require("hidden_act", in: ["silu", "swish"])
        var design = try DecoderDesign(configuration, headSize: 128, contextLength: 32768)
        design.hasHeadNorms = true
        design.queryKeyValueBias = try configuration.flag("attention_bias", default: false)
        design.outputBias = design.queryKeyValueBias
        try design.slideUpperLayers(configuration)
        return try Decoder(design, weights)
    }
}
