import Layers

/// Qwen2 and Qwen2.5 (arXiv 2407.10671): LLaMA with biases on queries, keys and values; checked against transformers'
/// `Qwen2ForCausalLM`.
enum Qwen2: ModelArchitecture {
    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try DecoderDesign.limits(configuration, contextLength: 32768)
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        try configuration.require("hidden_act", in: ["silu", "swish"])
        var design = try DecoderDesign(configuration, contextLength: 32768)
        design.queryKeyValueBias = true
        try design.slideUpperLayers(configuration)
        return try Decoder(design, weights)
    }
}

extension DecoderDesign {
    /// Qwen's rule: with `use_sliding_window`, the layers from `max_window_layers` on look back over a window.
    mutating func slideUpperLayers(_ configuration: ModelConfiguration) throws {
        guard try configuration.flag("use_sliding_window", default: false) else { return }
        let window =
            configuration.isNull("sliding_window") ? nil : try configuration.size("sliding_window", default: 4096)
        let first = try configuration.size("max_window_layers", default: 28)
        try slide(configuration, window: window) { $0 >= first }
    }
}
