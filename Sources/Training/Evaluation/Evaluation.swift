import Foundation
package import Layers
import TensorCore

/// How well a model predicts sequences: negative log-likelihoods in nats, without gradients or dropout.
///
/// The first token of a sequence is not scored; every other one that counts is, exactly once. A sequence longer than
/// the context is cut into consecutive windows of context length that share no token as input; the last row of a window
/// predicts the first token of the next.
///
/// Where a model judges whole sequences, each is scored once, by its class.
package struct Evaluation: Sendable, Equatable {
    /// What one sequence contributed.
    package struct Example: Sendable, Equatable {
        /// The sum over its scored tokens, in nats.
        package var negativeLogLikelihood = 0.0
        /// How many tokens were scored, or 1 for the class of the whole.
        package var tokens = 0
        /// For how many of them the model's likeliest token, or class, was the right one.
        package var correct: Int?
        /// What was predicted of the last one.
        package var prediction: Int?
    }

    /// One entry a sequence, in order.
    package let examples: [Example]

    /// Scored tokens.
    package var tokens: Int { examples.reduce(0) { $0 + $1.tokens } }

    /// Nats per scored token; `nil` when none was scored.
    package var meanNegativeLogLikelihood: Double? {
        guard tokens > 0 else { return nil }
        return examples.reduce(0) { $0 + $1.negativeLogLikelihood } / Double(tokens)
    }

    /// The share of tokens or classes that were predicted rightly.
    package var accuracy: Double? {
        guard tokens > 0, examples.contains(where: { $0.correct != nil }) else { return nil }
        return Double(examples.reduce(0) { $0 + ($1.correct ?? 0) }) / Double(tokens)
    }

    /// `exp` of the mean; `nil` when nothing was scored.
    package var perplexity: Double? { meanNegativeLogLikelihood.map { exp($0) } }

    /// Scores a dataset.
    ///
    /// - Parameters:
    ///   - batchTokens: what is computed at once: at most so many tokens, but at least one window. Texts of pairs are told
    ///     from the others of their batch, so there it decides about the result.
    ///   - hiding: how tokens are hidden, for a model that finds them; the same ones every time.
    ///   - onBatch: told after each batch how many tokens are scored; what it throws ends the evaluation.
    /// - Throws: ``TrainingError``: `vocabulary` for an id that the model does not have; for a model that predicts classes,
    ///   `invalidInput` for those it does not have and `tooLong` for a sequence beyond its context.
    package init(
        of model: any SequenceModel, on dataset: TokenDataset, batchTokens: Int, hiding: TokenHiding? = nil,
        onBatch: (_ scoredTokens: Int) throws -> Void = { _ in }
    ) throws {
        try checkVocabulary(dataset.vocabularySize, of: model, in: dataset.path)
        try checkLabels(of: dataset, for: model)
        guard model.task != .maskedLM || hiding != nil else {
            throw TrainingError(.invalidInput, "a model for hidden tokens is judged, and no mask token is given")
        }
        try self.init(model, dataset.count, batchTokens, onBatch) { index, collector in
            let sequence = dataset[index]
            guard model.task == .causalLM else { return try collector.append(dataset, index, hiding) }
            try collector.append(sequence.ids, example: index, scored: sequence.isScored)
        }
    }

    /// Scores sequences in memory.
    ///
    /// - Parameter scored: for each sequence, which of its tokens count; `nil` for all but the first, which never does.
    /// - Throws: as ``init(of:on:batchTokens:onBatch:)``.
    package init(
        of model: any SequenceModel, on sequences: [[Int32]], scored: [[Bool]?]? = nil, batchTokens: Int,
        onBatch: (_ scoredTokens: Int) throws -> Void = { _ in }
    ) throws {
        for (index, ids) in sequences.enumerated() {
            if let worst = ids.first(where: { $0 < 0 }) {
                throw TrainingError(.vocabulary, "sequence \(index): \(worst) is not a token id")
            }
            try checkVocabulary(Int(ids.max() ?? -1) + 1, of: model, in: "sequence \(index)")
        }
        try self.init(model, sequences.count, batchTokens, onBatch) { index, collector in
            let flags = scored?[index]
            try collector.append(sequences[index], example: index, scored: { $0 > 0 && (flags?[$0] ?? true) })
        }
    }

    private init(
        _ model: any SequenceModel, _ count: Int, _ batchTokens: Int, _ onBatch: (Int) throws -> Void,
        _ append: (_ index: Int, _ collector: inout WindowCollector) throws -> Void
    ) throws {
        precondition(batchTokens > 0, "Evaluation: batches of \(batchTokens) tokens")
        examples = try withoutActuallyEscaping(onBatch) { onBatch in
            var collector = WindowCollector(model: model, batchTokens: batchTokens, count: count, onBatch: onBatch)
            for index in 0..<count { try append(index, &collector) }
            try collector.score()
            return collector.examples
        }
    }
}

/// Gathers windows until a batch is full, and scores it.
private struct WindowCollector {
    let model: any SequenceModel
    let batchTokens: Int
    let onBatch: (Int) throws -> Void
    var examples: [Evaluation.Example]
    private var batch = TokenBatch(ids: [], positions: [], sequences: [], targets: [])
    /// The example of each sequence of the batch.
    private var owners: [Int] = []
    private var scoredTokens = 0

    init(model: any SequenceModel, batchTokens: Int, count: Int, onBatch: @escaping (Int) throws -> Void) {
        self.model = model
        self.batchTokens = batchTokens
        self.onBatch = onBatch
        examples = [Evaluation.Example](repeating: Evaluation.Example(), count: count)
    }

    /// Cuts a sequence into windows; one in which nothing counts is left out.
    mutating func append<IDs: RandomAccessCollection<Int32>>(
        _ ids: IDs, example: Int, scored: (Int) -> Bool
    ) throws where IDs.Index == Int {
        for low in stride(from: 0, to: ids.count, by: model.contextLength) {
            let rows = low..<min(low + model.contextLength, ids.count)
            guard rows.contains(where: { $0 + 1 < ids.count && scored($0 + 1) }) else { continue }
            if batch.ids.count + rows.count > batchTokens { try score() }
            batch.append(ids, rows: rows, scored: scored)
            owners.append(example)
        }
    }

    /// Takes a sequence in one piece, with its labels.
    mutating func append(_ dataset: TokenDataset, _ index: Int, _ hiding: TokenHiding?) throws {
        if batch.ids.count + dataset.length(index) > batchTokens { try score() }
        if model.task == .maskedLM, let hiding {
            batch.append(dataset, index, hiding: hiding, Self.hidingStream)
        } else {
            batch.append(dataset, index, for: model.task)
        }
        // A pair is two sequences.
        owners += Array(repeating: index, count: batch.sequences.count - owners.count)
    }

    /// What is hidden when a model is judged is always the same.
    private static let hidingStream = RandomStream(seed: 0).substream("judged")

    /// Adds a batch to its examples and empties it.
    mutating func score() throws {
        guard !batch.ids.isEmpty else { return }
        let scored = Autograd.withoutGradients { model.score(batch, scale: 1, context: ForwardContext()) }
        let judgesSequences = !batch.labels.isEmpty
        let targets = judgesSequences ? batch.labels : batch.targets
        for (sequence, owner) in owners.enumerated() {
            // Likelihoods come one a sequence, or one a token.
            let judged = judgesSequences ? sequence..<(sequence + 1) : batch.sequences[sequence]
            for row in judged where targets[row] >= 0 {
                examples[owner].negativeLogLikelihood += Double(scored.negativeLogLikelihoods[row])
                examples[owner].tokens += 1
                scoredTokens += 1
                guard scored.predictions.count == targets.count else { continue }
                let isCorrect = scored.predictions[row] == targets[row]
                examples[owner].prediction = Int(scored.predictions[row])
                examples[owner].correct = (examples[owner].correct ?? 0) + (isCorrect ? 1 : 0)
            }
        }
        batch = TokenBatch(ids: [], positions: [], sequences: [], targets: [])
        owners = []
        try onBatch(scoredTokens)
    }
}

/// Checks that the model has every id below `needed`.
func checkVocabulary(_ needed: Int, of model: any SequenceModel, in place: String) throws {
    guard needed <= model.vocabularySize else {
        throw TrainingError(
            .vocabulary,
            "\(place): has token id \(needed - 1), but the model's vocabulary ends at \(model.vocabularySize - 1); "
                + "it was tokenised for another base")
    }
}
