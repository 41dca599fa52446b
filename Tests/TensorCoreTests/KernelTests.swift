import CKernels
import Foundation
import Testing

@testable import TensorCore

/// A table of kernels that this processor can run.
struct KernelVariant: Sendable, CustomTestStringConvertible {
    static let all = ["avx512", "avx2", "plain"].map { KernelVariant(name: $0) }.filter {
        ck_kernels_named($0.name) != nil
    }
    /// Below, at and above a vector of 16, none at all, and many with a rest.
    static let sizes = [0, 1, 15, 16, 17, 1000]

    let name: String
    var testDescription: String { name }
    var table: ck_table { ck_kernels_named(name)!.pointee }
}

/// Floats, not aligned to a vector, between margins that are not numbers: what is read from them spoils the result, and
/// what is written to them is found.
final class Guarded {
    private static let margin = 17
    private let memory: UnsafeMutablePointer<Float>
    private let count: Int
    /// The margins' bits: a NaN of its own for each buffer, since arithmetic passes on that of an operand.
    private let mark: UInt32

    init(_ values: [Float], number: Int) {
        count = values.count
        mark = 0x7fc0_0000 | UInt32(number + 1)
        memory = .allocate(capacity: count + 2 * Self.margin)
        memory.initialize(repeating: Float(bitPattern: mark), count: count + 2 * Self.margin)
        for (index, value) in values.enumerated() { pointer[index] = value }
    }

    deinit { memory.deallocate() }

    var pointer: UnsafeMutablePointer<Float> { memory + Self.margin }

    var values: [Float] {
        let areIntact = (0..<Self.margin).allSatisfy {
            memory[$0].bitPattern == mark && pointer[count + $0].bitPattern == mark
        }
        #expect(areIntact, "written beyond the buffer")
        return Array(UnsafeBufferPointer(start: pointer, count: count))
    }
}

/// Every function of every table against its formula in double precision.
@Suite struct KernelTests {
    private let random = RandomStream(seed: 20)
    private let buffers = Buffers()

    /// Keeps every buffer of a test until the test is over: nothing else holds one whose pointer is all that is used.
    private final class Buffers {
        var all: [Guarded] = []
    }

    private func buffer(_ values: [Float]) -> Guarded {
        let buffer = Guarded(values, number: buffers.all.count)
        buffers.all.append(buffer)
        return buffer
    }

    /// A buffer that holds no number until it is written.
    private func unset(_ count: Int) -> Guarded { buffer([Float](repeating: .nan, count: count)) }

    private func numbers(_ name: String, _ count: Int, _ range: ClosedRange<Float> = -3...3) -> [Float] {
        let stream = random.substream(name).substream(count)
        return (0..<count).map {
            range.lowerBound + (range.upperBound - range.lowerBound) * Float(stream.bits(at: $0) >> 40) * 0x1p-24
        }
    }

    private func expect(
        _ actual: [Float], _ expected: [Double], within tolerance: Double = 1e-6,
        at place: SourceLocation = #_sourceLocation
    ) {
        #expect(actual.count == expected.count, sourceLocation: place)
        let scale = max(1, expected.map(abs).max() ?? 1)
        for (index, (x, y)) in zip(actual, expected).enumerated() where !(abs(Double(x) - y) <= tolerance * scale) {
            Issue.record("element \(index) of \(expected.count): \(x), expected \(y)", sourceLocation: place)
            return
        }
    }

    @Test(arguments: KernelVariant.all, KernelVariant.sizes)
    func elementwise(_ variant: KernelVariant, n: Int) {
        let k = variant.table
        let x = numbers("x", n), y = numbers("y", n)
        let (dx, dy) = (x.map(Double.init), y.map(Double.init))

        let sum = buffer(y)
        k.axpy(n, 0.7, buffer(x).pointer, sum.pointer)
        expect(sum.values, zip(dx, dy).map { Double(Float(0.7)) * $0 + $1 })
        let scaled = buffer(x)
        k.scale(n, -1.3, scaled.pointer, scaled.pointer)
        expect(scaled.values, dx.map { Double(Float(-1.3)) * $0 })
        let added = buffer(y)
        k.add(n, buffer(x).pointer, added.pointer, added.pointer)
        expect(added.values, zip(dx, dy).map { $0 + $1 })
        let softmaxed = buffer(y)
        k.softmax_row_backward(n, 0.5, 0.25, buffer(x).pointer, softmaxed.pointer, softmaxed.pointer)
        expect(softmaxed.values, zip(dx, dy).map { $0 * ($1 - 0.25) * 0.5 })
    }

    @Test(arguments: KernelVariant.all, KernelVariant.sizes)
    func reductions(_ variant: KernelVariant, n: Int) {
        let k = variant.table
        let x = numbers("x", n), y = numbers("y", n)
        let squares = x.reduce(0.0) { $0 + Double($1) * Double($1) }
        #expect(abs(k.sum_of_squares(n, buffer(x).pointer) - squares) <= 1e-12 * max(squares, 1))
        let product = zip(x, y).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        #expect(abs(Double(k.dot(n, buffer(x).pointer, buffer(y).pointer)) - product) <= 1e-6 * Double(9 * n))
        #expect(k.all_finite(n, buffer(x).pointer) == 1)
        for broken in [Float.nan, .infinity, -.infinity] where n > 0 {
            for place in Set([0, n / 2, n - 1]) {
                var values = x
                values[place] = broken
                #expect(k.all_finite(n, buffer(values).pointer) == 0)
                #expect(!k.sum_of_squares(n, buffer(values).pointer).isFinite)
            }
        }
        for rows in [0, 1, 5] {
            let matrix = numbers("m", rows * n), biased = buffer(matrix), sums = buffer(y)
            k.add_row(rows, n, buffer(x).pointer, biased.pointer)
            expect(biased.values, matrix.indices.map { Double(matrix[$0]) + Double(x[$0 % n]) })
            k.column_sums(rows, n, buffer(matrix).pointer, sums.pointer)
            expect(
                sums.values, (0..<n).map { c in (0..<rows).reduce(Double(y[c])) { $0 + Double(matrix[$1 * n + c]) } })
        }
    }

    @Test(arguments: KernelVariant.all, KernelVariant.sizes)
    func activations(_ variant: KernelVariant, n: Int) {
        let k = variant.table
        // Far beyond where the exponential is clamped, too.
        let x = numbers("x", n, -12...12).enumerated().map { $0 % 7 == 3 ? $1 * 20 : $1 }
        let u = numbers("u", n), d = numbers("d", n)
        func inner(_ v: Double) -> Double { (2 / Double.pi).squareRoot() * (v + 0.044715 * v * v * v) }
        let gelu = unset(n), dgelu = buffer(d)
        k.gelu_tanh(n, buffer(x).pointer, gelu.pointer)
        expect(gelu.values, x.map { Double($0) / 2 * (1 + tanh(inner(Double($0)))) })
        k.gelu_tanh_backward(n, buffer(x).pointer, dgelu.pointer, dgelu.pointer)
        expect(
            dgelu.values,
            zip(x, d).map { x, d in
                let v = Double(x), t = tanh(inner(v))
                let slope = (2 / Double.pi).squareRoot() * (1 + 3 * 0.044715 * v * v)
                return Double(d) * (0.5 * (1 + t) + 0.5 * v * (1 - t * t) * slope)
            }, within: 4e-6)

        k.gelu_erf(n, buffer(x).pointer, gelu.pointer)
        func normal(_ v: Double) -> Double { 0.5 * (1 + erf(v / 2.squareRoot())) }
        expect(gelu.values, x.map { Double($0) * normal(Double($0)) })
        let slopes = buffer(d)
        k.gelu_erf_backward(n, buffer(x).pointer, slopes.pointer, slopes.pointer)
        expect(
            slopes.values,
            zip(x, d).map { x, d in
                let v = Double(x)
                return Double(d) * (normal(v) + v * exp(-v * v / 2) / (2 * Double.pi).squareRoot())
            }, within: 4e-6)

        func sigmoid(_ v: Double) -> Double { 1 / (1 + exp(-v)) }
        let gated = unset(n), dgate = unset(n), dup = unset(n)
        k.swiglu(n, buffer(x).pointer, buffer(u).pointer, gated.pointer)
        expect(gated.values, zip(x, u).map { Double($0) * sigmoid(Double($0)) * Double($1) })
        k.swiglu_backward(n, buffer(x).pointer, buffer(u).pointer, buffer(d).pointer, dgate.pointer, dup.pointer)
        expect(dup.values, zip(x, d).map { Double($1) * Double($0) * sigmoid(Double($0)) })
        expect(
            dgate.values,
            (0..<n).map { i in
                let g = Double(x[i]), s = sigmoid(g)
                return Double(d[i]) * Double(u[i]) * s * (1 + g * (1 - s))
            })

        let quick = unset(n), dquick = buffer(d)
        k.quick_gelu(n, buffer(x).pointer, quick.pointer)
        expect(quick.values, x.map { Double($0) * sigmoid(1.702 * Double($0)) })
        k.quick_gelu_backward(n, buffer(x).pointer, dquick.pointer, dquick.pointer)
        expect(
            dquick.values,
            zip(x, d).map { x, d in
                let v = Double(x), s = sigmoid(1.702 * v)
                return Double(d) * (s + 1.702 * v * s * (1 - s))
            }, within: 4e-6)

        k.geglu(n, buffer(x).pointer, buffer(u).pointer, gated.pointer)
        expect(gated.values, zip(x, u).map { Double($0) / 2 * (1 + tanh(inner(Double($0)))) * Double($1) })
        k.geglu_backward(n, buffer(x).pointer, buffer(u).pointer, buffer(d).pointer, dgate.pointer, dup.pointer)
        expect(dup.values, zip(x, d).map { Double($1) * Double($0) / 2 * (1 + tanh(inner(Double($0)))) })
        expect(
            dgate.values,
            (0..<n).map { i in
                let v = Double(x[i]), t = tanh(inner(v))
                let slope = (2 / Double.pi).squareRoot() * (1 + 3 * 0.044715 * v * v)
                return Double(d[i]) * Double(u[i]) * (0.5 * (1 + t) + 0.5 * v * (1 - t * t) * slope)
            }, within: 4e-6)

        let capped = buffer(x), dcapped = buffer(d)
        k.soft_cap(n, 0.7, 5, capped.pointer)
        expect(capped.values, x.map { 5 * tanh(0.7 * Double($0) / 5) })
        k.soft_cap_backward(n, 5, capped.pointer, dcapped.pointer)
        expect(
            dcapped.values,
            zip(x, d).map { x, d in
                let t = tanh(0.7 * Double(x) / 5)
                return Double(d) * (1 - t * t)
            }, within: 4e-6)
    }

    @Test(arguments: KernelVariant.all, KernelVariant.sizes.filter { $0 > 0 })
    func norms(_ variant: KernelVariant, c: Int) {
        let k = variant.table
        let eps = 1e-3
        for rows in [0, 1, 3] {
            let x = numbers("x", rows * c), w = numbers("w", c), b = numbers("b", c), dy = numbers("dy", rows * c)
            let (start1, start2) = (numbers("s1", c), numbers("s2", c))
            var y: [Double] = [], means: [Double] = [], scales: [Double] = [], dx: [Double] = []
            var ry: [Double] = [], rscales: [Double] = [], rdx: [Double] = []
            var (dw, db, rdw) = (start1.map(Double.init), start2.map(Double.init), start1.map(Double.init))
            for r in 0..<rows {
                let row = x[r * c..<(r + 1) * c].map(Double.init), g = dy[r * c..<(r + 1) * c].map(Double.init)
                let gw = zip(g, w).map { $0 * Double($1) }
                func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(c) }
                let m = mean(row), s = 1 / (mean(row.map { ($0 - m) * ($0 - m) }) + eps).squareRoot()
                let unit = row.map { ($0 - m) * s }
                (means, scales) = (means + [m], scales + [s])
                y += (0..<c).map { unit[$0] * Double(w[$0]) + Double(b[$0]) }
                let (mg, mgx) = (mean(gw), mean(zip(gw, unit).map { $0 * $1 }))
                dx += (0..<c).map { s * (gw[$0] - mg - unit[$0] * mgx) }
                let q = 1 / (mean(row.map { $0 * $0 }) + eps).squareRoot()
                rscales.append(q)
                ry += (0..<c).map { row[$0] * q * Double(w[$0]) }
                let along = mean((0..<c).map { gw[$0] * row[$0] * q })
                rdx += (0..<c).map { q * (gw[$0] - row[$0] * q * along) }
                for i in 0..<c {
                    dw[i] += g[i] * unit[i]
                    db[i] += g[i]
                    rdw[i] += g[i] * row[i] * q
                }
            }
            let gx = buffer(x), gw = buffer(w), gdy = buffer(dy)
            let out = unset(rows * c), mean = unset(rows), rstd = unset(rows)
            k.layer_norm(
                rows, c, Float(eps), gx.pointer, gw.pointer, buffer(b).pointer, out.pointer, mean.pointer, rstd.pointer)
            expect(out.values, y, within: 2e-5)
            expect(mean.values, means, within: 1e-5)
            expect(rstd.values, scales, within: 1e-5)
            let back = unset(rows * c), wGradient = buffer(start1), bGradient = buffer(start2)
            k.layer_norm_backward(
                rows, c, gx.pointer, gw.pointer, mean.pointer, rstd.pointer, gdy.pointer, 0, back.pointer,
                wGradient.pointer, bGradient.pointer)
            expect(back.values, dx, within: 2e-5)
            expect(wGradient.values, dw, within: 2e-5)
            expect(bGradient.values, db, within: 2e-5)
            let alone = unset(rows * c), more = buffer(x)
            for (adds, target) in [(Int32(0), alone), (1, more)] {
                k.layer_norm_backward(
                    rows, c, gx.pointer, gw.pointer, mean.pointer, rstd.pointer, gdy.pointer, adds, target.pointer, nil,
                    nil)
            }
            #expect(alone.values == back.values)
            expect(more.values, zip(x, dx).map { Double($0) + $1 }, within: 2e-5)

            let rout = unset(rows * c), rrstd = unset(rows)
            k.rms_norm(rows, c, Float(eps), gx.pointer, gw.pointer, rout.pointer, rrstd.pointer)
            expect(rout.values, ry, within: 2e-5)
            expect(rrstd.values, rscales, within: 1e-5)
            let rback = unset(rows * c), rGradient = buffer(start1)
            k.rms_norm_backward(
                rows, c, gx.pointer, gw.pointer, rrstd.pointer, gdy.pointer, 0, rback.pointer, rGradient.pointer)
            expect(rback.values, rdx, within: 2e-5)
            let rmore = buffer(x)
            k.rms_norm_backward(
                rows, c, gx.pointer, gw.pointer, rrstd.pointer, gdy.pointer, 1, rmore.pointer, nil)
            expect(rmore.values, zip(x, rdx).map { Double($0) + $1 }, within: 2e-5)
            expect(rGradient.values, rdw, within: 2e-5)
        }
    }

    @Test(arguments: KernelVariant.all, KernelVariant.sizes)
    func rotation(_ variant: KernelVariant, half: Int) {
        let k = variant.table
        let (rows, heads, rest) = (2, 3, 1)
        let size = 2 * half + rest, stride = heads * size + 2
        let x = numbers("x", rows * stride), angle = numbers("angle", rows * half)
        let turned = buffer(x)
        let (cosines, sines) = (buffer(angle.map { cos($0) }), buffer(angle.map { sin($0) }))
        k.rotate_halves(rows, heads, size, 2 * half, 1, cosines.pointer, sines.pointer, turned.pointer, stride)
        var expected = x.map(Double.init)
        for r in 0..<rows {
            for h in 0..<heads {
                for i in 0..<half {
                    let low = r * stride + h * size + i,
                        (c, s) = (cos(Double(angle[r * half + i])), sin(Double(angle[r * half + i])))
                    let (u, v) = (Double(x[low]), Double(x[low + half]))
                    (expected[low], expected[low + half]) = (u * c - v * s, v * c + u * s)
                }
            }
        }
        expect(turned.values, expected)
        k.rotate_halves(rows, heads, size, 2 * half, -1, cosines.pointer, sines.pointer, turned.pointer, stride)
        expect(turned.values, x.map(Double.init))
    }

    @Test(arguments: KernelVariant.all, KernelVariant.sizes.filter { $0 > 0 })
    func softmax(_ variant: KernelVariant, n: Int) {
        let k = variant.table
        let scale: Float = 0.37, width = n + 3
        for spread in [Float(2), 60] {
            let x = numbers("x", n, -spread...spread)
            func logSum(_ factor: Double) -> Double {
                let most = x.map { Double($0) * factor }.max()!
                return most + log(x.reduce(0.0) { $0 + exp(Double($1) * factor - most) })
            }
            let lse = logSum(Double(scale))
            let weights = x.map { exp(Double($0) * Double(scale) - lse) } + [0, 0, 0]
            let again = buffer(x + [9, 9, 9])
            // In two stretches, what the first gave is multiplied by what the second returns.
            for cut in Set([0, n / 3, n]) {
                var (maximum, sum) = (-Float.infinity, Float(0))
                let row = buffer(x + [9, 9, 9])
                _ = k.softmax_stretch(cut, cut, scale, &maximum, &sum, row.pointer)
                let factor = k.softmax_stretch(n - cut, width - cut, scale, &maximum, &sum, row.pointer + cut)
                #expect(abs(Double(maximum * scale + log(sum)) - lse) <= 2e-6 * max(1, abs(lse)))
                let values = row.values.enumerated().map { $0 < cut ? $1 * factor / sum : $1 / sum }
                expect(values, weights, within: 4e-6)
            }
            k.softmax_row_from_lse(n, width, scale, Float(lse), again.pointer)
            expect(again.values, weights, within: 8e-6)
            #expect(abs(Double(k.log_sum_exp(n, buffer(x).pointer)) - logSum(1)) <= 2e-6 * max(1, abs(logSum(1))))
            let scaled = buffer(x)
            k.softmax_scaled(n, Float(logSum(1)), 2, scaled.pointer)
            expect(scaled.values, x.map { 2 * exp(Double($0) - logSum(1)) }, within: 1e-5)
            // What is not a number stays visible wherever it stands.
            for place in Set([0, n / 2, n - 1]) {
                var broken = x
                broken[place] = .nan
                #expect(k.log_sum_exp(n, buffer(broken).pointer).isNaN)
                var (maximum, sum) = (-Float.infinity, Float(0))
                _ = k.softmax_stretch(n, n, scale, &maximum, &sum, buffer(broken).pointer)
                #expect(sum.isNaN)
            }
        }
    }

    @Test(arguments: KernelVariant.all, KernelVariant.sizes)
    func randomNumbers(_ variant: KernelVariant, n: Int) {
        let k = variant.table
        let stream = random.substream("draw"), first = 5
        let share = (0..<n).map { Double(stream.bits(at: first + $0) >> 40) * 0x1p-24 }
        let drawn = unset(n)
        k.uniform(n, stream.key, UInt64(first), -2, 6, drawn.pointer)
        expect(drawn.values, share.map { -2 + 8 * $0 })
        for p in [Float(0.3), 0.99] {
            let x = numbers("x", n), kept = buffer(x)
            k.dropout(n, stream.key, UInt64(first), p, kept.pointer, kept.pointer)
            expect(kept.values, zip(x, share).map { $1 < Double(p) - 0x1p-24 ? 0 : Double($0) / (1 - Double(p)) })
        }
    }

    @Test(arguments: KernelVariant.all, KernelVariant.sizes)
    func optimizerStep(_ variant: KernelVariant, n: Int) {
        let k = variant.table
        let (g, w, m) = (numbers("g", n), numbers("w", n), numbers("m", n)), v = numbers("v", n, 0...2)
        let (lr, beta1, beta2, eps, decay, step, root, scale) = (0.01, 0.9, 0.99, 1e-6, 0.1, 0.05, 0.3, 0.5)
        let weights = buffer(w), first = buffer(m), second = buffer(v)
        k.adamw(
            n, Float(lr), Float(beta1), Float(beta2), Float(eps), Float(decay), Float(step), Float(root),
            buffer(g).pointer,
            Float(scale), weights.pointer, first.pointer, second.pointer)
        let gradient = g.map { Double($0) * scale }
        let means = zip(m, gradient).map { Double($0) + (1 - beta1) * ($1 - Double($0)) }
        let squares = zip(v, gradient).map { beta2 * Double($0) + (1 - beta2) * $1 * $1 }
        expect(first.values, means)
        expect(second.values, squares)
        expect(
            weights.values,
            (0..<n).map { i in
                Double(w[i]) * (1 - lr * decay) - step * means[i] / (squares[i].squareRoot() / root + eps)
            }, within: 4e-6)
    }

    @Test func theTableInUseIsTheBestOrTheOneAskedFor() {
        let wish = ProcessInfo.processInfo.environment["LORAJOBS_CPU"]
        let names = KernelVariant.all.map(\.name)
        #expect(names.last == "plain" && ck_kernels_named("mmx") == nil)
        #expect(String(cString: ck_kernels().pointee.name) == (names.contains(wish ?? "") ? wish : names[0]))
        for variant in KernelVariant.all { #expect(String(cString: variant.table.name) == variant.name) }
    }
}
