import Foundation
import Testing

@testable import TensorCore

/// Attention in pieces: what the pieces are, and that their sum is attention as it is written.
@Suite struct AttentionTests {
    struct Case: CustomTestStringConvertible {
        let testDescription: String
        let layout: AttentionLayout
        var cap: Float?

        static let all = [
            Case(testDescription: "one row", layout: AttentionLayout(rows: [0..<1], isCausal: true)),
            Case(testDescription: "causal", layout: AttentionLayout(rows: [0..<600], isCausal: true)),
            Case(
                testDescription: "several", layout: AttentionLayout(rows: [0..<40, 40..<41, 41..<330], isCausal: true)),
            Case(testDescription: "capped", layout: AttentionLayout(rows: [0..<330], isCausal: true), cap: 1.5),
            Case(testDescription: "both ways", layout: AttentionLayout(rows: [0..<30, 30..<631], isCausal: false)),
            Case(
                testDescription: "narrow window", layout: AttentionLayout(rows: [0..<600], isCausal: true).windowed(20)),
            Case(
                testDescription: "wide window", layout: AttentionLayout(rows: [0..<900], isCausal: true).windowed(500)),
            Case(
                testDescription: "capped window",
                layout: AttentionLayout(rows: [0..<600], isCausal: true).windowed(300), cap: 2),
            Case(testDescription: "behind what is cached", layout: cached(queries: 300, keys: 777)),
            Case(testDescription: "one behind what is cached", layout: cached(queries: 1, keys: 1000)),
            Case(testDescription: "a few behind what is cached", layout: cached(queries: 70, keys: 2100)),
        ]

        private static func cached(queries: Int, keys: Int) -> AttentionLayout {
            AttentionLayout(sequences: [.init(queries: 0..<queries, keys: 0..<keys)], isCausal: true)
        }
    }

    @Test(arguments: Case.all, [DType.float32, .bfloat16])
    func everyScoreIsInOnePiece(_ test: Case, products: DType) {
        for sequence in test.layout.sequences {
            let blocks = test.layout.blocks(sequence, products)
            #expect(blocks.map(\.rows).reduce(0) { $0 == $1.lowerBound ? $1.upperBound : -1 } == sequence.queries.count)
            for block in blocks {
                var seen = block.rows.map { _ in [Int](repeating: 0, count: sequence.keys.count) }
                for piece in block.pieces {
                    #expect(!piece.keys.isEmpty && piece.rows.count * piece.keys.count <= block.area)
                    let before = piece.rows.map { seen[$0 - block.rows.lowerBound].contains(1) }
                    #expect(before.allSatisfy { $0 != piece.isFirst }, "\(piece)")
                    for row in piece.rows { for key in piece.keys { seen[row - block.rows.lowerBound][key] += 1 } }
                }
                let heights = AttentionBlock.heights(products)
                #expect(block.area <= heights.block * 256)
                for (row, counts) in zip(block.rows, seen) {
                    let visible = test.layout.visibleKeys(sequence, row: row)
                    #expect(counts[visible].allSatisfy { $0 == 1 } && counts.allSatisfy { $0 <= 1 }, "row \(row)")
                }
            }
        }
    }

    /// What lies above the diagonal is computed in vain; a quarter more in the first block, next to nothing far down.
    @Test(arguments: [DType.float32, .bfloat16])
    func littleIsComputedInVain(products: DType) {
        func share(_ rows: Int) -> Double {
            let layout = AttentionLayout(rows: [0..<rows], isCausal: true)
            let pieces = layout.blocks(layout.sequences[0], products).flatMap(\.pieces)
            return pieces.reduce(0) { $0 + Double($1.rows.count * $1.keys.count) } / Double(rows * (rows + 1) / 2)
        }
        #expect(share(256) < 1.3 && share(1024) < 1.1 && share(8192) < 1.02)
    }

    /// Three query heads and one of keys: with two threads, both passes cut their heads into parts.
    @Test(arguments: Case.all, [DType.float32, .bfloat16])
    func isWhatItIsWrittenAs(_ test: Case, products: DType) {
        let (heads, size, scale) = (3, 24, Float(0.4))
        let rows = test.layout.sequences.map(\.queries.upperBound).max()!
        let keyRows = test.layout.sequences.map(\.keys.upperBound).max()!
        let random = RandomStream(seed: 11)
        func parameter(_ name: String, _ shape: [Int]) -> Parameter {
            Parameter(name, random.substream(name).uniform(shape, low: -1.5, high: 1.5), isTrainable: true)
        }
        let q = parameter("q", [rows, heads * size]), k = parameter("k", [keyRows, size])
        let v = parameter("v", [keyRows, size])
        let dy = random.substream("dy").uniform([rows, heads * size], low: -1, high: 1)
        let y = Tensor.attention(
            query: q.tensor, key: k.tensor, value: v.tensor, heads: heads, keyValueHeads: 1, scale: scale,
            cap: test.cap,
            layout: test.layout, products: products)
        y.reshaped([1, y.count]).linear(dy.reshaped([1, dy.count])).reshaped([]).backward()
        let given = [y.values] + [q, k, v].map { $0.gradient?.values ?? [] }
        let reference = Reference(
            q: q.tensor.values, k: k.tensor.values, v: v.tensor.values, dy: dy.values, heads: heads, size: size,
            scale: Double(scale), cap: test.cap.map(Double.init), layout: test.layout)
        // Operands of bf16 have eight bits.
        let limit = products == .bfloat16 ? 1e-2 : 5e-6
        for (name, (one, other)) in zip(["y", "dq", "dk", "dv"], zip(given, reference.results)) {
            let largest = other.reduce(0) { max($0, abs($1)) }
            let worst = zip(one, other).reduce(0) { max($0, abs(Double($1.0) - $1.1)) }
            #expect(one.count == other.count && worst <= limit * max(largest, 1), "\(name): \(worst) of \(largest)")
        }
    }
}

/// Attention with one key/value head and its gradients, score by score in double precision.
private struct Reference {
    /// Result and gradients of queries, keys and values.
    var results: [[Double]]

    init(
        q: [Float], k: [Float], v: [Float], dy: [Float], heads: Int, size: Int, scale: Double, cap: Double?,
        layout: AttentionLayout
    ) {
        let width = heads * size
        var y = [Double](repeating: 0, count: q.count), dq = y
        var dk = [Double](repeating: 0, count: k.count), dv = dk
        for sequence in layout.sequences {
            for row in 0..<sequence.queries.count {
                let last = sequence.keys.count - sequence.queries.count + row
                let low = layout.isCausal ? max(0, last + 1 - (layout.window ?? last + 1)) : 0
                let keys = low..<(layout.isCausal ? last + 1 : sequence.keys.count)
                for head in 0..<heads {
                    let x = (sequence.queries.lowerBound + row) * width + head * size
                    let places = keys.map { (sequence.keys.lowerBound + $0) * size }
                    func dot(_ a: [Float], _ i: Int, _ b: [Float], _ j: Int) -> Double {
                        (0..<size).reduce(0) { $0 + Double(a[i + $1]) * Double(b[j + $1]) }
                    }
                    let scores = places.map { place in
                        let score = scale * dot(q, x, k, place)
                        return cap.map { $0 * tanh(score / $0) } ?? score
                    }
                    let most = scores.max()!
                    let sum = scores.reduce(0) { $0 + exp($1 - most) }
                    let weights = scores.map { exp($0 - most) / sum }
                    let dWeights = places.map { dot(dy, x, v, $0) }
                    let delta = zip(weights, dWeights).reduce(0) { $0 + $1.0 * $1.1 }
                    for (index, place) in places.enumerated() {
                        let slope = cap.map { 1 - scores[index] * scores[index] / ($0 * $0) } ?? 1
                        let ds = weights[index] * (dWeights[index] - delta) * scale * slope
                        for i in 0..<size {
                            y[x + i] += weights[index] * Double(v[place + i])
                            dv[place + i] += weights[index] * Double(dy[x + i])
                            dq[x + i] += ds * Double(k[place + i])
                            dk[place + i] += ds * Double(q[x + i])
                        }
                    }
                }
            }
        }
        results = [y, dq, dk, dv]
    }
}
