package import TensorCore

/// Token sequences laid one after another, without padding: the input of a model over tokens.
package struct TokenBatch: Sendable {
    /// Token ids of all sequences, `[N]`.
    package var ids: [Int32]
    /// Each token's position in its sequence.
    package var positions: [Int32]
    /// The rows of each sequence. No token sees another sequence.
    package var sequences: [Range<Int>]
    /// The id or class each row is to predict, or a negative number where nothing is asked.
    package var targets: [Int32]
    /// The class of each sequence, where whole sequences are judged; for embeddings, the sequence that belongs to each; its
    /// own index where a number is wanted; else empty.
    package var labels: [Int32] = []
    /// The number that each sequence is to give, or NaN where nothing is asked; empty where no numbers are.
    package var values: [Float] = []
    /// Which text of a pair each row belongs to, for models that are told; empty when there are no pairs.
    package var tokenTypes: [Int32] = []

    package init(ids: [Int32], positions: [Int32], sequences: [Range<Int>], targets: [Int32]) {
        self.ids = ids
        self.positions = positions
        self.sequences = sequences
        self.targets = targets
    }

    /// Sequences that predict their own next token.
    ///
    /// - Parameter scored: for each token of each sequence, whether predicting *it* counts; the first token of a sequence is
    ///   never predicted. By default all count.
    package init(_ sequences: [[Int32]], scored: [[Bool]]? = nil) {
        self.init(ids: [], positions: [], sequences: [], targets: [])
        for (index, tokens) in sequences.enumerated() {
            let start = ids.count
            ids += tokens
            positions += (0..<tokens.count).map(Int32.init)
            self.sequences.append(start..<ids.count)
            for next in 1..<(tokens.count + 1) {
                let counts = next < tokens.count && (scored?[index][next] ?? true)
                targets.append(counts ? tokens[next] : -1)
            }
        }
    }

    /// Sequences that belong to classes.
    ///
    /// - Parameter tokenTypes: for each token of each sequence, which text of a pair it belongs to.
    /// - Precondition: a label for each sequence; as many types as tokens.
    package init(_ sequences: [[Int32]], labels: [Int32], tokenTypes: [[Int32]]? = nil) {
        precondition(
            labels.count == sequences.count, "TokenBatch: \(labels.count) labels, \(sequences.count) sequences")
        self.init(sequences)
        targets = [Int32](repeating: -1, count: ids.count)
        self.labels = labels
        self.tokenTypes = tokenTypes?.flatMap { $0 } ?? []
        precondition(
            self.tokenTypes.isEmpty || self.tokenTypes.count == ids.count, "TokenBatch: types and tokens differ")
    }

    /// How many rows or sequences have a target.
    package var targetCount: Int { (labels.isEmpty ? targets : labels).count { $0 >= 0 } }
}

/// What a forward pass knows besides its input.
package struct ForwardContext {
    /// Where dropout draws from; `nil` outside training. Each use takes the substream of its own name.
    package var dropout: RandomStream?
    /// Keys and values of earlier tokens, when text is generated one token at a time.
    package var cache: KeyValueCache?
    /// Gathers where the layers of a mixture of experts send their tokens, for the loss that keeps experts in use.
    package var routings: RoutingRecord?
    /// Whether the backward pass computes each layer again instead of keeping its values.
    package var recomputesLayers = false

    package init(dropout: RandomStream? = nil, cache: KeyValueCache? = nil) {
        self.dropout = dropout
        self.cache = cache
    }

    /// `body` of `x`, one layer of a model, whose values are kept or computed again as ``recomputesLayers`` says.
    ///
    /// What routers decided is part of a loss outside of the layers, so those that are gathered are kept.
    package func layer(_ x: consuming Tensor, _ body: @escaping (consuming Tensor) -> Tensor) -> Tensor {
        guard recomputesLayers, routings == nil else { return body(x) }
        return x.recomputed { body($0) }
    }
}

/// What the routers of a model decided in one forward pass, layer by layer.
package final class RoutingRecord {
    package private(set) var routings: [ExpertRouting] = []

    package init() {}

    package func append(_ routing: ExpertRouting) { routings.append(routing) }
}
