import Layers
import TensorCore

/// What stands on the body of an encoder.
protocol EncoderHead {
    /// Linear maps that count as the body's: those between it and what gives the answer.
    var bodyProjections: [Projection] { get }
    /// The maps that are new for each task.
    var heads: [Projection] { get }
    var parameters: [Parameter] { get }
    /// The answers, from the states `[N, C]` of a batch.
    func outputs(_ states: Tensor, _ batch: TokenBatch, _ context: ForwardContext) -> Tensor
    /// The loss of the answers.
    func score(_ states: Tensor, _ batch: TokenBatch, scale: Float, _ context: ForwardContext) -> ScoredTokens
}

/// An encoder with the head of its task.
final class EncoderModel: SequenceModel {
    let task: ModelTask
    let newModules: [String]
    private let body: Encoder
    private let head: any EncoderHead

    /// - Throws: ``ModelError`` with code `unsupported` for a task that encoders do not have.
    init(_ design: EncoderDesign, for task: ModelTask, _ weights: WeightReader) throws {
        self.task = task
        // Checkpoints come with the head they were trained with last.
        let all = ["cls.", "lm_head.", "vocab_", "classifier.", "pre_classifier.", "qa_outputs.", "pooler."]
        weights.passOver(all + [design.names.body + "pooler."])
        body = try Encoder(design, isBare: task == .featureExtraction, weights)
        switch task {
        case .sequenceClassification(let labels):
            head = try ClassificationHead(design, sequencesInto: labels, weights)
        case .sequenceRegression: head = try RegressionHead(design, weights)
        case .tokenClassification(let labels): head = try ClassificationHead(design, tokensInto: labels, weights)
        case .maskedLM: head = try MaskedLMHead(design, words: body.words, weights)
        case .featureExtraction: head = try EmbeddingHead(design, weights)
        case .imageClassification:
            throw ModelError(
                .unsupported, "\(design.file): an encoder of text such as \(design.modelType) sees no images")
        case .causalLM:
            throw ModelError(
                .unsupported, "\(design.file): an encoder such as \(design.modelType) predicts no next token")
        }
        newModules = head.bodyProjections.map(\.path).filter { weights.isNew($0) }
    }

    var modelType: String { body.design.modelType }
    var vocabularySize: Int { body.design.vocabularySize }
    var contextLength: Int { body.design.contextLength }
    var defaultTargets: [String] { body.design.defaultTargets }
    var projections: [Projection] { body.projections + head.bodyProjections }
    var heads: [Projection] { head.heads }
    var embeddings: [Embedding] { body.embeddings }
    var parameters: [Parameter] { body.parameters + head.parameters }

    /// The states of the last layer, `[N, C]`, one row a token.
    func hiddenStates(of batch: TokenBatch, context: ForwardContext) -> Tensor { body(batch, context) }

    func outputs(of batch: TokenBatch, context: ForwardContext) -> Tensor {
        head.outputs(body(batch, context), batch, context)
    }

    func score(_ batch: TokenBatch, scale: Float, context: ForwardContext) -> ScoredTokens {
        head.score(body(batch, context), batch, scale: scale, context)
    }
}
