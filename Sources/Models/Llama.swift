import Layers

/// LLaMA 1 to 3 (Touvron et al. 2023, arXiv 2302.13971), SmolLM, TinyLlama; checked against transformers' `LlamaForCausalLM`.
enum Llama: ModelArchitecture {
    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try DecoderDesign.limits(configuration)
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        try configuration.require("hidden_act", in: ["silu", "swish"])
        var design = try DecoderDesign(configuration)
        design.queryKeyValueBias = try configuration.flag("attention_bias", default: false)
        design.outputBias = design.queryKeyValueBias
        design.feedForwardBias = try configuration.flag("mlp_bias", default: false)
        return try Decoder(design, weights)
    }
}
