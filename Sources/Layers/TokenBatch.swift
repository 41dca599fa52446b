package import TensorCore

/// Token sequences laid one after another, without padding: the input of a decoder.
package struct TokenBatch: Sendable {
    /// Token ids of all sequences, `[N]`.
    package var ids: [Int32]
    /// Each token's position in its sequence.
    package var positions: [Int32]
    /// The rows of each sequence. No token sees another sequence.
    package var sequences: [Range<Int>]
    /// The id each row is to predict, or a negative number where nothing is asked.
    package var targets: [Int32]

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

    /// How many rows have a target.
    package var targetCount: Int { targets.count { $0 >= 0 } }
}

/// What a forward pass knows besides its input.
package struct ForwardContext {
    /// Where dropout draws from; `nil` outside training. Each use takes the substream of its own name.
    package var dropout: RandomStream?
    /// Keys and values of earlier tokens, when text is generated one token at a time.
    package var cache: KeyValueCache?

    package init(dropout: RandomStream? = nil, cache: KeyValueCache? = nil) {
        self.dropout = dropout
        self.cache = cache
    }
}
