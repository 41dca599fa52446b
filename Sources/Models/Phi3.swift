import Layers

/// Phi-3 and Phi-3.5 (arXiv 2404.14219): one map for queries, keys and values, one for gate and up, partly rotated heads, longrope;
/// checked against transformers' `Phi3ForCausalLM`.
enum Phi3: ModelArchitecture {
    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try DecoderDesign.limits(configuration, contextLength: 4096)
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        try configuration.require("hidden_act", in: ["silu", "swish"])
        var design = try DecoderDesign(configuration, contextLength: 4096)
        design.isFused = true
        // PEFT has no default for it.
        design.defaultTargets = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
        if configuration.has("sliding_window") {
            try design.slide(configuration, window: configuration.size("sliding_window")) { _ in true }
        }
        return try Decoder(design, weights)
    }
}
