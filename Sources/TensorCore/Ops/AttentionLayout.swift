/// Which rows of a batch attend to which: sequences lie one after another without padding.
package struct AttentionLayout {
    /// One sequence: its query rows, and the key rows it sees.
    package struct Sequence {
        package let queries: Range<Int>
        package let keys: Range<Int>

        package init(queries: Range<Int>, keys: Range<Int>) {
            self.queries = queries
            self.keys = keys
        }
    }

    package let sequences: [Sequence]
    /// Whether the last query sees every key of its sequence, the one before it all but one, and so on.
    package let isCausal: Bool
    /// How many keys a query sees at most, its own the last of them; all by default. Only with `isCausal`.
    package var window: Int?

    package init(sequences: [Sequence], isCausal: Bool) {
        self.sequences = sequences
        self.isCausal = isCausal
    }

    /// The same with a sliding window.
    ///
    /// - Precondition: the layout is causal.
    package func windowed(_ window: Int?) -> AttentionLayout {
        precondition(isCausal || window == nil, "a window needs a causal layout")
        var layout = self
        layout.window = window
        return layout
    }

    /// Sequences that attend within themselves.
    package init(rows: [Range<Int>], isCausal: Bool) {
        self.init(sequences: rows.map { Sequence(queries: $0, keys: $0) }, isCausal: isCausal)
    }
}

/// Query rows of a sequence, and the pieces of their scores: what is in memory at once.
///
/// A piece has at most some 70,000 scores, so that they stay in the second cache from the product that makes them to the one
/// that reads them, however long the context. The keys that every row sees are cut into stretches for all rows, since a
/// product first rearranges its right side, which takes as long for 64 rows as for 256. What only some see, near the
/// diagonal and at the edge of a window, belongs to strips of fewer rows, which leave less of it to be thrown away.
struct AttentionBlock: Equatable {
    /// One product's worth; counted within the sequence.
    struct Piece: Equatable {
        let rows: Range<Int>
        /// What any of the rows sees, or a stretch of it.
        let keys: Range<Int>
        /// Whether no piece before it has these rows.
        let isFirst: Bool
    }

    /// Rows of a block and of a strip: as many as the kernels of the products like.
    static func heights(_ products: DType) -> (block: Int, strip: Int) {
        products == .bfloat16 ? (280, 70) : (256, 64)
    }

    /// Keys of a piece that has all rows of a block.
    private static let stretch = 256

    /// Query rows.
    let rows: Range<Int>
    /// Every score that a row sees is in one of them.
    let pieces: [Piece]

    /// Scores of its largest piece.
    var area: Int { pieces.reduce(0) { max($0, $1.rows.count * $1.keys.count) } }

    init(_ layout: AttentionLayout, _ sequence: AttentionLayout.Sequence, rows: Range<Int>, _ products: DType) {
        let (height, strip) = Self.heights(products)
        var pieces: [Piece] = []
        // Fewer rows may have more keys. Equal parts, of whole vectors.
        func add(_ keys: Range<Int>, _ rows: Range<Int>, isFirst: Bool) {
            let most = max(Self.stretch, height * Self.stretch / rows.count / 32 * 32)
            let parts = (keys.count + most - 1) / most
            let width = parts > 1 ? ((keys.count + parts - 1) / parts + 31) / 32 * 32 : most
            for low in stride(from: keys.lowerBound, to: keys.upperBound, by: width) {
                let part = low..<min(low + width, keys.upperBound)
                pieces.append(Piece(rows: rows, keys: part, isFirst: isFirst && low == keys.lowerBound))
            }
        }
        let first = layout.visibleKeys(sequence, row: rows.lowerBound)
        let last = layout.visibleKeys(sequence, row: rows.upperBound - 1)
        // What every row sees; in multiples of a strip where later rows see more.
        var common = last.lowerBound..<max(last.lowerBound, first.upperBound)
        if last.upperBound > common.upperBound {
            common = common.lowerBound..<common.lowerBound + common.count / strip * strip
        }
        if rows.count <= strip { common = last.lowerBound..<last.lowerBound }
        add(common, rows, isFirst: true)
        for low in stride(from: rows.lowerBound, to: rows.upperBound, by: strip) {
            let rows = low..<min(low + strip, rows.upperBound)
            let seen =
                layout.visibleKeys(sequence, row: rows.lowerBound)
                .lowerBound..<layout.visibleKeys(sequence, row: rows.upperBound - 1).upperBound
            if common.isEmpty {
                add(seen, rows, isFirst: true)
            } else {
                add(seen.lowerBound..<common.lowerBound, rows, isFirst: false)
                add(common.upperBound..<seen.upperBound, rows, isFirst: false)
            }
        }
        self.rows = rows
        self.pieces = pieces
    }
}

extension AttentionLayout {
    /// The keys of its sequence that query row `row` sees, both counted within the sequence.
    func visibleKeys(_ sequence: Sequence, row: Int) -> Range<Int> {
        guard isCausal else { return 0..<sequence.keys.count }
        let end = sequence.keys.count - sequence.queries.count + row + 1
        return max(0, end - (window ?? end))..<end
    }

    /// The blocks of a sequence, for products of a type.
    func blocks(_ sequence: Sequence, _ products: DType) -> [AttentionBlock] {
        let count = sequence.queries.count, height = AttentionBlock.heights(products).block
        return stride(from: 0, to: count, by: height).map {
            AttentionBlock(self, sequence, rows: $0..<min($0 + height, count), products)
        }
    }
}
