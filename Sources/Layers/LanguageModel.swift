package import TensorCore

/// A decoder that predicts the next token: what training, evaluation and generation see of an architecture.
package protocol LanguageModel: AnyObject {
    /// `model_type` of the configuration, such as `gpt2`.
    var modelType: String { get }
    var vocabularySize: Int { get }
    /// The longest sequence it has positions for.
    var contextLength: Int { get }
    /// Layers, and the elements of one token's keys in each: the shape of its key/value cache.
    var keyValueShape: (layers: Int, columns: Int) { get }
    /// Every linear map an adapter may attach to, from the input upwards, without the output head.
    var projections: [Projection] { get }
    /// Every weight once, under the name the reference implementation gives it in memory.
    var parameters: [Parameter] { get }
    /// The matrix of the output head `[V, C]`; the embedding itself when the two are tied.
    var outputHead: Parameter { get }
    /// `c` of a model whose logits are `c · tanh(logits / c)`.
    var logitCap: Float? { get }
    /// What PEFT adapts in this architecture when nothing else is said.
    var defaultTargets: [String] { get }

    /// The states after the last norm, `[N, C]`, one row a token.
    func hiddenStates(of batch: TokenBatch, context: ForwardContext) -> Tensor
}

extension LanguageModel {
    /// Most models have none.
    package var logitCap: Float? { nil }

    /// The logits of every row of `hidden [N, C]`: `[N, V]`.
    package func logits(_ hidden: Tensor) -> Tensor {
        let logits = hidden.linear(outputHead.tensor)
        return logitCap.map { logits.softCapped($0) } ?? logits
    }

    /// The loss of a batch, `scale` times the sum over its targets, and each target's negative log-likelihood.
    package func score(_ batch: TokenBatch, scale: Float, context: ForwardContext) -> ScoredTokens {
        hiddenStates(of: batch, context: context)
            .crossEntropy(head: outputHead.tensor, targets: batch.targets, scale: scale, cap: logitCap)
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
