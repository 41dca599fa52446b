import Layers

/// Mixtral (Jiang et al. 2024, arXiv 2401.04088): Mistral with eight experts a layer, two of them for each token; checked
/// against transformers' `MixtralForCausalLM`.
///
/// The noise that `router_jitter_noise` adds is for pretraining and is not applied.
enum Mixtral: ModelArchitecture {
    private static let contextLength = 131_072

    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try DecoderDesign.limits(configuration, contextLength: contextLength)
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        try configuration.require("hidden_act", in: ["silu", "swish"])
        var design = try DecoderDesign(configuration, contextLength: contextLength, theta: 1_000_000)
        design.formerNames = FormerNames([".mlp.": ".block_sparse_moe."])
        weights.formerNames = design.formerNames
        design.experts = try ExpertDesign(
            configuration, counts: ["num_local_experts", "num_experts"], defaultCount: 8, perToken: 2,
            inner: design.inner, isNormalised: true, names: ExpertDesign.Names(gate: "w1", up: "w3", down: "w2"))
        for index in design.layers.indices { design.layers[index].isSparse = true }
        if configuration.has("sliding_window") {
            try design.slide(configuration, window: configuration.size("sliding_window")) { _ in true }
        }
        return try Decoder(design, weights)
    }
}
