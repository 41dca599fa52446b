package import TensorCore

/// A decoder that predicts the next token: what generation sees of an architecture.
package protocol LanguageModel: SequenceModel {
    /// Layers, and the elements of one token's keys in each: the shape of its key/value cache.
    var keyValueShape: (layers: Int, columns: Int) { get }
    /// The map from states to logits. Its matrix is the embedding's own when the two are tied.
    var outputProjection: Projection { get }
    /// `c` of a model whose logits are `c · tanh(logits / c)`.
    var logitCap: Float? { get }
    /// The weight of the loss that keeps all experts of a mixture in use; `nil` when the model has none.
    var balanceLossWeight: Float? { get }

    /// The states after the last norm, `[N, C]`, one row a token.
    func hiddenStates(of batch: TokenBatch, context: ForwardContext) -> Tensor
}

extension LanguageModel {
    package var task: ModelTask { .causalLM }

    package var heads: [Projection] { [outputProjection] }

    /// Most models have none.
    package var logitCap: Float? { nil }
    package var balanceLossWeight: Float? { nil }

    /// The matrix of the output head `[V, C]`, without an adapter; the embedding itself when the two are tied.
    package var outputHead: Parameter { outputProjection.weight }

    /// The logits of every row of `hidden [N, C]`: `[N, V]`.
    package func logits(_ hidden: Tensor, context: ForwardContext = ForwardContext()) -> Tensor {
        let logits = outputProjection(hidden, context)
        return logitCap.map { logits.softCapped($0) } ?? logits
    }

    package func outputs(of batch: TokenBatch, context: ForwardContext) -> Tensor {
        logits(hiddenStates(of: batch, context: context), context: context)
    }

    /// The loss of a batch; see ``SequenceModel/score(_:scale:context:)``.
    ///
    /// A mixture of experts that asks for it adds its balance loss, once for each target as well, so that the losses of
    /// the parts of a step add up to that of the step.
    package func score(_ batch: TokenBatch, scale: Float, context: ForwardContext) -> ScoredTokens {
        guard let weight = balanceLossWeight else { return scoreTokens(batch, scale: scale, context: context) }
        let record = RoutingRecord()
        var context = context
        context.routings = record
        let scored = scoreTokens(batch, scale: scale, context: context)
        guard !record.routings.isEmpty else { return scored }
        let balance = ExpertRouting.balanceLoss(record.routings).scaled(by: weight * scale * Float(batch.targetCount))
        return ScoredTokens(
            loss: Tensor.sum(scored.loss, balance), negativeLogLikelihoods: scored.negativeLogLikelihoods,
            predictions: scored.predictions)
    }

    private func scoreTokens(_ batch: TokenBatch, scale: Float, context: ForwardContext) -> ScoredTokens {
        let states = hiddenStates(of: batch, context: context)
        guard outputProjection.adaptation == nil, outputProjection.bias == nil else {
            return states.crossEntropy(targets: batch.targets, scale: scale) { logits($0, context: context) }
        }
        return states.crossEntropy(
            head: outputProjection.current.weight.tensor, targets: batch.targets, scale: scale, cap: logitCap)
    }

    /// An empty cache for a sequence of at most `capacity` tokens.
    package func makeCache(capacity: Int) -> KeyValueCache {
        KeyValueCache(layers: keyValueShape.layers, columns: keyValueShape.columns, capacity: capacity)
    }

    /// Which rows attend to which: within each sequence, and to the cache's tokens when one is given.
    package func attentionLayout(_ batch: TokenBatch, _ context: ForwardContext) -> AttentionLayout {
        guard let cache = context.cache else { return AttentionLayout(rows: batch.sequences, isCausal: true) }
        precondition(batch.sequences.count == 1, "a key/value cache holds one sequence")
        let rows = batch.ids.count
        return AttentionLayout(sequences: [.init(queries: 0..<rows, keys: 0..<cache.length + rows)], isCausal: true)
    }
}
