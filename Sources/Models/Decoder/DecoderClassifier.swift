import Layers
import TensorCore

/// A decoder that judges whole sequences, as transformers' `…ForSequenceClassification`: a linear map without a bias on the
/// state of the last token that is not padding. It chooses between classes or, with one output, gives a number.
final class DecoderClassifier: SequenceModel {
    let task: ModelTask
    private let body: any LanguageModel
    private let score: Projection
    private let padID: Int32?

    init(body: any LanguageModel, outputs: Int, padID: Int32?, _ weights: WeightReader) throws {
        self.body = body
        self.padID = padID
        task = .judgingSequences(outputs: outputs)
        score = try weights.headProjection(
            "score", body.outputHead.tensor.columns, outputs, hasBias: false, spread: 0.02)
    }

    var modelType: String { body.modelType }
    var vocabularySize: Int { body.vocabularySize }
    var contextLength: Int { body.contextLength }
    var defaultTargets: [String] { body.defaultTargets }
    var expertShare: Double { body.expertShare }
    var projections: [Projection] { body.projections }
    var embeddings: [Embedding] { body.embeddings }
    var heads: [Projection] { [score] }
    var parameters: [Parameter] { body.parameters + score.parameters }

    func outputs(of batch: TokenBatch, context: ForwardContext) -> Tensor {
        let last = batch.sequences.map { rows in
            Int32(rows.last { batch.ids[$0] != padID } ?? rows.lowerBound)
        }
        return score(body.hiddenStates(of: batch, context: context).gatheringRows(last), context)
    }

    func score(_ batch: TokenBatch, scale: Float, context: ForwardContext) -> ScoredTokens {
        let outputs = outputs(of: batch, context: context)
        return task == .sequenceRegression
            ? outputs.squaredError(targets: batch.values, scale: scale)
            : outputs.crossEntropy(targets: batch.labels, scale: scale)
    }
}
