import Layers

/// BERT (Devlin et al. 2019, arXiv 1810.04805) and what has its layout, such as MiniLM; checked against transformers'
/// `BertForSequenceClassification`, `BertForTokenClassification` and `BertForMaskedLM`.
enum BERT: Architecture {
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
        try EncoderDesign(
            bertLike: configuration, names: EncoderDesign.Names(bertLikeBelow: "bert."),
            heads: EncoderDesign.Heads(
                sequence: [
                    .init(path: "bert.pooler.dense", activation: .tanh, isBody: true),
                    .init(path: "classifier", activation: .none),
                ],
                token: "classifier", maskedTransform: "cls.predictions.transform.dense",
                maskedNorm: "cls.predictions.transform.LayerNorm", maskedOutput: "cls.predictions.decoder",
                maskedBias: "cls.predictions.bias", pooler: "pooler.dense"))
    }
}

extension EncoderDesign.Names {
    /// What BERT and RoBERTa call the modules of a layer.
    init(bertLikeBelow body: String) {
        self.init(
            body: body, layer: "encoder.layer", query: "attention.self.query", key: "attention.self.key",
            value: "attention.self.value", attentionOutput: "attention.output.dense",
            attentionNorm: "attention.output.LayerNorm", inner: "intermediate.dense", output: "output.dense",
            outputNorm: "output.LayerNorm")
    }
}

extension ModelLimits {
    /// The limits of an encoder.
    init(_ design: EncoderDesign) throws {
        try design.validate()
        self.init(vocabularySize: design.vocabularySize, contextLength: design.contextLength)
    }
}
