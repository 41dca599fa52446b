import Layers
import TensorCore

/// Gemma (arXiv 2403.08295): scaled embeddings, norms with weights stored as their distance from one, GEGLU, a tied head;
/// checked against transformers' `GemmaForCausalLM`.
enum Gemma: ModelArchitecture {
    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try DecoderDesign.limits(configuration, contextLength: 8192)
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        try Decoder(DecoderDesign(gemma: configuration, contextLength: 8192), weights)
    }
}

extension DecoderDesign {
    /// What all Gemmas share.
    init(gemma configuration: ModelConfiguration, contextLength: Int, theta: Double = 10000) throws {
        // Early files say "gelu" in hidden_act and mean the tanh form, which transformers uses whatever they say.
        if configuration.has("hidden_activation") {
            try configuration.require("hidden_activation", in: ["gelu_pytorch_tanh", "gelu_new"])
        } else {
            try configuration.require("hidden_act", in: ["gelu_pytorch_tanh", "gelu_new", "gelu"])
        }
        for key in ["use_bidirectional_attention"] where configuration.has(key) {
            try configuration.require(key, false)
        }
        try self.init(configuration, headSize: 256, contextLength: contextLength, isTied: true, theta: theta)
        activation = .geluTanh
        normOffset = 1
        embeddingScale = Float(width).squareRoot()
        queryKeyValueBias = try configuration.flag("attention_bias", default: false)
        outputBias = queryKeyValueBias
    }
}
