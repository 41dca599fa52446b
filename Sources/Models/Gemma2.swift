import Foundation
import Layers

/// Gemma 2 (arXiv 2408.00118): Gemma with norms also behind each block, caps on scores and logits, and a window on every other
/// layer, beginning with the first; checked against transformers' `Gemma2ForCausalLM`.
enum Gemma2: ModelArchitecture {
    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try DecoderDesign.limits(configuration, contextLength: 8192)
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        var design = try DecoderDesign(gemma: configuration, contextLength: 8192)
        design.hasOutputNorms = true
        design.attentionScale = 1 / Float(try configuration.number("query_pre_attn_scalar", default: 256)).squareRoot()
        design.attentionCap = try configuration.cap("attn_logit_softcapping", default: 50)
        design.logitCap = try configuration.cap("final_logit_softcapping", default: 30)
        try design.slide(configuration, window: configuration.size("sliding_window", default: 4096)) { $0 % 2 == 0 }
        return try Decoder(design, weights)
    }
}

extension ModelConfiguration {
    /// A soft cap: a positive number, or `null` for none.
    func cap(_ key: String, default fallback: Double?) throws -> Float? {
        guard !isNull(key), has(key) || fallback != nil else { return nil }
        let cap = Float(try number(key, default: fallback ?? 0))
        guard cap > 0, cap.isFinite else {
            throw ModelError(.configuration, "\(file.path): \(key) must be a positive number or null, not \(cap)")
        }
        return cap
    }
}
