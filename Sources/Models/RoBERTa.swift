import Foundation
import Layers

/// RoBERTa (Liu et al. 2019, arXiv 1907.11692): BERT whose positions begin behind the padding id's and do not count padding,
/// and whose head has a layer of its own; checked against transformers' `RobertaForSequenceClassification` and
/// `RobertaForMaskedLM`.
enum RoBERTa: Architecture {
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
        var design = try EncoderDesign(
            bertLike: configuration, names: EncoderDesign.Names(bertLikeBelow: "roberta."),
            heads: EncoderDesign.Heads(
                sequence: [
                    .init(path: "classifier.dense", activation: .tanh),
                    .init(path: "classifier.out_proj", activation: .none),
                ],
                token: "classifier", maskedTransform: "lm_head.dense", maskedNorm: "lm_head.layer_norm",
                maskedOutput: "lm_head.decoder", maskedBias: "lm_head.bias", pooler: "pooler.dense"))
        let pad = try configuration.tokenID("pad_token_id") ?? 1
        guard pad >= 0 else {
            throw ModelError(.configuration, "\(configuration.file.path): pad_token_id \(pad) is not a token id")
        }
        design.uncountedID = pad
        design.firstPosition = Int(pad) + 1
        return design
    }
}
