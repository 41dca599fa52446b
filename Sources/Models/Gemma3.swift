import Layers

/// Gemma 3, text only (arXiv 2503.19786): Gemma 2 without its caps, with norms over each head of queries and keys, five layers with a
/// window and angles of their own to each one without; checked against transformers' `Gemma3ForCausalLM`.
enum Gemma3: ModelArchitecture {
    private static let contextLength = 131_072

    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try DecoderDesign.limits(configuration, contextLength: contextLength)
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        var design = try DecoderDesign(gemma: configuration, contextLength: contextLength, theta: 1_000_000)
        design.hasOutputNorms = true
        design.hasHeadNorms = true
        design.attentionScale = 1 / Float(try configuration.number("query_pre_attn_scalar", default: 256)).squareRoot()
        design.attentionCap = try configuration.cap("attn_logit_softcapping", default: nil)
        design.logitCap = try configuration.cap("final_logit_softcapping", default: nil)
        // Both spellings are found in the wild.
        let old = try configuration.size("sliding_window_pattern", default: 6)
        let pattern = try configuration.size("_sliding_window_pattern", default: old)
        try design.slide(configuration, window: configuration.size("sliding_window", default: 4096)) {
            ($0 + 1) % pattern != 0
        }
        design.rotaries = [
            try design.rotary(configuration, layers: .full, theta: 1_000_000),
            try design.rotary(configuration, layers: .sliding, theta: 10000),
        ]
        for index in design.layers.indices where design.layers[index].window != nil { design.layers[index].rotary = 1 }
        return try Decoder(design, weights)
    }
}
