import CKernels
import Foundation
import Testing

@testable import TensorCore

/// Products with matrices of bf16, against their formula in double precision on operands that are rounded alike.
@Suite struct HalfProductTests {
    private let random = RandomStream(seed: 31)

    private func matrix(_ rows: Int, _ columns: Int, _ name: String) -> Tensor {
        random.substream(name).uniform([rows, columns], low: -1, high: 1)
    }

    /// `x op(w)` of the rounded values.
    private func expected(_ x: Tensor, _ w: Tensor, transposed: Bool) -> [Double] {
        let (m, k) = (x.rows, x.columns), n = transposed ? w.rows : w.columns
        let a = x.converted(to: .bfloat16).values, b = w.values
        return (0..<m * n).map { index in
            let (row, column) = (index / n, index % n)
            return (0..<k).reduce(0.0) {
                $0 + Double(a[row * k + $1]) * Double(b[transposed ? column * k + $1 : $1 * n + column])
            }
        }
    }

    private typealias Product = (
        Int, Int, Int, Float, UnsafePointer<Float>?, Int, Int32, UnsafePointer<UInt16>?, Int, Int32, Int32,
        UnsafeMutablePointer<Float>?, Int, UnsafePointer<ck_low_rank>?, UnsafeMutableRawPointer?
    ) -> Void

    /// Sizes that fill blocks, and that leave a rest in each direction.
    static let sizes = [
        [1, 1, 1], [3, 33, 35], [14, 32, 32], [17, 31, 2], [15, 70, 641], [29, 64, 1283], [530, 40, 50], [13, 16, 7],
    ]

    @Test(arguments: sizes)
    func everyVariantMatchesTheFormula(_ size: [Int]) {
        let (m, n, k) = (size[0], size[1], size[2])
        var products: [(String, Product)] = KernelVariant.all.map { ($0.name, $0.table.bf16_product) }
        products.append(
            ("chosen", { ck_bf16_product($0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) }))
        let (scratch, scratchSize) = BufferPool.take(Int(CK_BF16_SCRATCH))
        defer { BufferPool.give(scratch, scratchSize) }
        let x = matrix(m, k, "x"), flipped = Tensor(uninitialized: [k, m])
        for row in 0..<m { for column in 0..<k { flipped.pointer[column * m + row] = x.pointer[row * k + column] } }
        for transposed in [false, true] {
            let w = matrix(transposed ? n : k, transposed ? k : n, "w").converted(to: .bfloat16)
            let wanted = expected(x, w, transposed: transposed)
            for (name, product) in products {
                for (adds, isFlipped) in [(false, false), (true, false), (false, true), (true, true)] {
                    let left = isFlipped ? flipped : x
                    // Rows lie further apart than they are long; what is between them is not touched.
                    var c = [Float](repeating: 7, count: m * (n + 3))
                    if !adds { for row in 0..<m { for j in 0..<n { c[row * (n + 3) + j] = .nan } } }
                    product(
                        m, n, k, -1.5, left.pointer, left.columns, isFlipped ? 1 : 0, w.halves, w.columns,
                        transposed ? 1 : 0, adds ? 1 : 0, &c, n + 3,
                        nil, scratch)
                    var worst = 0.0
                    for row in 0..<m {
                        for j in 0..<n {
                            let difference = abs(
                                Double(c[row * (n + 3) + j]) - (adds ? 7 : 0) + 1.5 * wanted[row * n + j])
                            worst = difference <= worst ? worst : difference
                        }
                        #expect(c[row * (n + 3) + n..<(row + 1) * (n + 3)].allSatisfy { $0 == 7 })
                    }
                    #expect(
                        worst <= 2e-6 * Double(k).squareRoot() + 2e-6,
                        "\(name) \(size) \(transposed) \(adds) \(isFlipped)")
                }
            }
        }
        withExtendedLifetime((x, flipped)) {}
    }

    /// A matrix that is only stored as bf16 gives what its floats give, by the kernels of AVX-512 and by stretches for BLAS,
    /// of sizes beyond one block and one stretch too.
    @Test(arguments: sizes + [[270, 40, 800], [30, 2100, 100], [600, 70, 1600]])
    func storedHalvesAreMultipliedAsFloats(_ size: [Int]) {
        let (m, n, k) = (size[0], size[1], size[2])
        let x = matrix(m, k, "x"), start = matrix(m, n, "start")
        let addend = LowRankAddend(left: matrix(m, 8, "left"), right: matrix(8, n, "right"))
        for transposed in [false, true] {
            let w = matrix(transposed ? n : k, transposed ? k : n, "w").converted(to: .bfloat16, products: .float32)
            #expect(w.dtype == .bfloat16 && w.products == .float32)
            let floats = w.converted(to: .float32)
            for (beta, added) in [(Float(0), false), (1, false), (0, true), (1, true)] {
                func product(_ weight: Tensor) -> Tensor {
                    let c = start.copied()
                    Gemm.multiply(
                        m, n, k, alpha: -1.5, x.pointer, lda: k, weight: weight, transposed: transposed, beta: beta,
                        c.pointer, ldc: n, adding: added ? addend : nil)
                    return c
                }
                let bound = Float(2e-6 * Double(k).squareRoot() + 4e-6), wanted = product(floats)
                #expect(product(w).largestDifference(from: wanted) <= bound, "\(size) \(transposed) \(beta) \(added)")
                guard !added else { continue }
                let c = start.copied()
                Gemm.multiplyWidened(
                    m, n, k, alpha: -1.5, x.pointer, lda: k, w, transposed: transposed, beta: beta, c.pointer, ldc: n)
                #expect(c.largestDifference(from: wanted) <= bound, "by stretches: \(size) \(transposed) \(beta)")
            }
        }
        withExtendedLifetime(x) {}
    }

    @Test(arguments: KernelVariant.all, [[1, 1], [4, 16], [7, 33], [130, 1000]])
    func oneRowMatchesTheFormula(_ variant: KernelVariant, size: [Int]) {
        let k = variant.table
        let (rows, columns) = (size[0], size[1])
        let full = matrix(rows, columns, "w"), half = full.converted(to: .bfloat16)
        let long = matrix(1, columns, "long"), short = matrix(1, rows, "short")
        func check(_ got: [Float], _ wanted: [Double]) {
            #expect(zip(got, wanted).allSatisfy { abs(Double($0.0) - $0.1) < 1e-4 }, "\(variant.name) \(size)")
        }
        for isHalf in [false, true] {
            let values = (isHalf ? half : full).values
            var dots = [Float](repeating: 1, count: rows), sums = [Float](repeating: 1, count: columns)
            if isHalf {
                k.dot_rows_bf16(rows, columns, 2, half.halves, columns, long.pointer, &dots)
                k.sum_rows_bf16(rows, columns, 2, half.halves, columns, short.pointer, &sums)
            } else {
                k.dot_rows(rows, columns, 2, full.pointer, columns, long.pointer, &dots)
                k.sum_rows(rows, columns, 2, full.pointer, columns, short.pointer, &sums)
            }
            let a = (0..<columns).map { Double(long.pointer[$0]) }, b = (0..<rows).map { Double(short.pointer[$0]) }
            var wantedDots = [Double](repeating: 1, count: rows), wantedSums = [Double](repeating: 1, count: columns)
            for row in 0..<rows {
                for column in 0..<columns {
                    let value = 2 * Double(values[row * columns + column])
                    wantedDots[row] += value * a[column]
                    wantedSums[column] += value * b[row]
                }
            }
            check(dots, wantedDots)
            check(sums, wantedSums)
        }
        withExtendedLifetime((full, half, long, short)) {}
    }

    /// Through the ops, with a gradient; also one row, which has kernels of its own.
    @Test(arguments: [1, 40, 700], [WeightLayout.outputByInput, .inputByOutput])
    func linearMapsOfBF16(rows: Int, layout: WeightLayout) {
        let (inputs, outputs) = (96, 160)
        let x = Parameter("x", matrix(rows, inputs, "x"), isTrainable: true)
        let shape = layout == .outputByInput ? (outputs, inputs) : (inputs, outputs)
        let weight = matrix(shape.0, shape.1, "w").converted(to: .bfloat16)
        let floats = weight.converted(to: .float32)
        let y = x.tensor.linear(weight, layout: layout, scale: 0.5)
        // One row keeps its own digits.
        let input =
            rows == 1 ? x.tensor.detached() : x.tensor.detached().converted(to: .bfloat16).converted(to: .float32)
        #expect(y.detached().largestDifference(from: input.linear(floats, layout: layout, scale: 0.5)) < 2e-5)
        let dy = matrix(rows, outputs, "dy")
        // The sum of y · dy, whose gradient is dy.
        y.reshaped([1, rows * outputs]).linear(dy.reshaped([1, rows * outputs])).reshaped([]).backward()
        let outer = rows == 1 ? dy : dy.converted(to: .bfloat16).converted(to: .float32)
        let wanted = outer.linear(
            floats, layout: layout == .outputByInput ? .inputByOutput : .outputByInput, scale: 0.5)
        #expect(x.gradient.map { $0.largestDifference(from: wanted) < 2e-5 } == true)
    }

    /// The same as the map and the update by themselves; also with a rank of two blocks, and a rest beside them.
    @Test(arguments: [1, 8, 19], [DType.bfloat16, .float32])
    func anUpdateOfLowRankIsAddedToAMap(rank: Int, dtype: DType) {
        for (rows, layout) in [(1, WeightLayout.outputByInput), (150, .outputByInput), (33, .inputByOutput)] {
            let (inputs, outputs) = (650, 70)
            let weight =
                (layout == .outputByInput ? matrix(outputs, inputs, "w") : matrix(inputs, outputs, "w"))
                .converted(to: dtype)
            let x = Parameter("x", matrix(rows, inputs, "x"), isTrainable: true)
            let a = Parameter("a", matrix(rank, inputs, "a"), isTrainable: true)
            let b = Parameter("b", matrix(outputs, rank, "b"), isTrainable: true)
            let bias = matrix(1, outputs, "bias").reshaped([outputs])
            let dy = matrix(rows, outputs, "dy").reshaped([1, rows * outputs])
            func results(_ y: Tensor) -> [[Float]] {
                y.reshaped([1, rows * outputs]).linear(dy).reshaped([]).backward()
                defer { for parameter in [x, a, b] { parameter.zeroGradient() } }
                return [y.values] + [x, a, b].map { $0.gradient?.values ?? [] }
            }
            let together = results(
                x.tensor.linear(
                    weight, bias: bias, layout: layout,
                    lowRank: LowRankUpdate(input: x.tensor, a: a.tensor, b: b.tensor, scale: 0.3)))
            let apart = results(
                x.tensor.linear(a.tensor).linear(
                    b.tensor, scale: 0.3, adding: x.tensor.linear(weight, bias: bias, layout: layout)))
            for (index, (one, other)) in zip(together, apart).enumerated() {
                let largest = other.reduce(0) { max($0, abs($1)) }
                let worst = zip(one, other).reduce(Float(0)) { abs($1.0 - $1.1) <= $0 ? $0 : abs($1.0 - $1.1) }
                #expect(one.count == other.count && worst <= 1e-5 * largest, "\(index) of rank \(rank), \(rows) rows")
            }
        }
    }

    /// Rounding operands moves results by about what it moves them; over several tiles, groups of heads and windows.
    @Test(arguments: [nil, 90], [1, 3])
    func attentionOfBF16StaysNearThatOfFloats(window: Int?, group: Int) {
        let (rows, size) = (230, 24)
        let layout = AttentionLayout(rows: [0..<30, 30..<rows], isCausal: true).windowed(window)
        let q = Parameter("q", matrix(rows, 2 * group * size, "q"), isTrainable: true)
        let k = Parameter("k", matrix(rows, 2 * size, "k"), isTrainable: true)
        let v = Parameter("v", matrix(rows, 2 * size, "v"), isTrainable: true)
        let dy = matrix(rows, 2 * group * size, "dy").reshaped([1, rows * 2 * group * size])
        func results(_ products: DType) -> [[Float]] {
            let y = Tensor.attention(
                query: q.tensor, key: k.tensor, value: v.tensor, heads: 2 * group, keyValueHeads: 2, scale: 0.4,
                layout: layout, products: products)
            y.reshaped([1, y.count]).linear(dy).reshaped([]).backward()
            defer { for parameter in [q, k, v] { parameter.zeroGradient() } }
            return [y.values] + [q, k, v].map { $0.gradient?.values ?? [] }
        }
        for (index, (half, full)) in zip(results(.bfloat16), results(.float32)).enumerated() {
            let largest = full.reduce(0) { max($0, abs($1)) }
            let worst = zip(half, full).reduce(Float(0)) { abs($1.0 - $1.1) <= $0 ? $0 : abs($1.0 - $1.1) }
            #expect(half.count == full.count && worst < 1e-2 * largest && worst > 0, "\(index): \(worst) of \(largest)")
        }
    }

    @Test func tablesOfBF16AreLookedUpAndTrainedAsFloats() {
        let table = matrix(20, 33, "table").converted(to: .bfloat16)
        let floats = table.converted(to: .float32)
        #expect(table.gatheringRows([3, 19, 0]).values == floats.gatheringRows([3, 19, 0]).values)
        let states = matrix(5, 33, "states")
        func loss(_ head: Tensor) -> Float {
            states.crossEntropy(head: head, targets: [1, 2, -1, 19, 0], scale: 0.2).loss.scalar
        }
        // The states are rounded, too, where the head is bf16.
        let difference = abs(loss(table) - loss(floats))
        #expect(difference < 1e-2 && difference > 0)
        let trained = Parameter("w", table, isTrainable: true)
        #expect(trained.tensor.dtype == .float32 && trained.tensor.values == floats.values)
    }
}
