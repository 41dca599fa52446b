import Foundation
import Layers

/// DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT without token types and pooler; checked against transformers'
/// `DistilBertForSequenceClassification` and `DistilBertForMaskedLM`.
enum DistilBERT: Architecture {
    static let defaultTask = ModelTask.featureExtraction

    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try ModelLimits(design(configuration))
    }

    static func model(
        _ configuration: ModelConfiguration, _ weights: WeightReader, for task: ModelTask
    ) throws -> any SequenceModel {
        try EncoderModel(design(configuration), for: task, weights)
    }

    private static func design(_ configuration: ModelConfiguration) throws -> EncoderDesign {
        EncoderDesign(
            modelType: "distilbert", file: configuration.file.path,
            vocabularySize: try configuration.size("vocab_size", default: 30522),
            positionCount: try configuration.size("max_position_embeddings", default: 512),
            width: try configuration.size("dim", default: 768),
            inner: try configuration.size("hidden_dim", default: 3072),
            heads: try configuration.size("n_heads", default: 12),
            layers: try configuration.size("n_layers", default: 6), eps: 1e-12,
            spread: Float(try configuration.number("initializer_range", default: 0.02)),
            isTied: try configuration.flag("tie_word_embeddings", default: true),
            activation: try EncoderDesign.activation(configuration, key: "activation"),
            names: EncoderDesign.Names(
                body: "distilbert.", layer: "transformer.layer", query: "attention.q_lin", key: "attention.k_lin",
                value: "attention.v_lin", attentionOutput: "attention.out_lin", attentionNorm: "sa_layer_norm",
                inner: "ffn.lin1", output: "ffn.lin2", outputNorm: "output_layer_norm"),
            headNames: EncoderDesign.Heads(
                sequence: [
                    .init(path: "pre_classifier", activation: .relu), .init(path: "classifier", activation: .none),
                ],
                token: "classifier", maskedTransform: "vocab_transform", maskedNorm: "vocab_layer_norm",
                maskedOutput: "vocab_projector", maskedBias: "vocab_projector.bias", pooler: nil),
            // PEFT has no default for it; these are the maps that its default for BERT names.
            defaultTargets: ["q_lin", "v_lin"])
    }
}
