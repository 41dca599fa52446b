import Layers

/// Mistral (Jiang et al. 2023, arXiv 2310.06825): LLaMA with a sliding window over all layers; checked against transformers'
/// `MistralForCausalLM`.
enum Mistral: ModelArchitecture {
    private static let contextLength = 131_072

    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try DecoderDesign.limits(configuration, contextLength: contextLength)
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        try configuration.require("hidden_act", in: ["silu", "swish"])
        var design = try DecoderDesign(configuration, contextLength: contextLength)
        // The window is on unless it is null: a file that does not say has the first release's.
        let window =
            configuration.isNull("sliding_window") ? nil : try configuration.size("sliding_window", default: 4096)
        try design.slide(configuration, window: window) { _ in true }
        return try Decoder(design, weights)
    }
}
