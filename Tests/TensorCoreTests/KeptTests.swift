import Testing

@testable import TensorCore

/// What ops keep as bf16: gradients are those at the rounded place, and nothing else changes.
@Suite struct KeptTests {
    private let random = RandomStream(seed: 47)

    private func parameter(_ shape: [Int], _ name: String, isRounded: Bool = false) -> Parameter {
        let values = random.substream(name).uniform(shape, low: -1.5, high: 1.5)
        let parameter = Parameter(
            name, isRounded ? values.converted(to: .bfloat16).converted(to: .float32) : values)
        parameter.isTrainable = true
        return parameter
    }

    /// An op of some tensors with a gradient, and their shapes.
    private struct Case {
        let name: String
        let shapes: [[Int]]
        let body: ([Tensor]) -> Tensor
    }

    /// Rows and columns that leave a rest of every piece, and that are more than one of them.
    private static var cases: [Case] {
        let (n, c) = (37, 230)
        let layout = AttentionLayout(rows: [0..<20, 20..<37], isCausal: true)
        let frozen = RandomStream(seed: 3).uniform([c, c], low: -0.1, high: 0.1)
        return [
            Case(name: "gelu", shapes: [[n, c]]) { $0[0].gelu(.erf) },
            Case(name: "gelu, tanh", shapes: [[n, c]]) { $0[0].gelu(.tanh) },
            Case(name: "quick gelu", shapes: [[n, c]]) { $0[0].quickGELU() },
            Case(name: "gated unit", shapes: [[n, c], [n, c]]) { .gatedUnit(.silu, gate: $0[0], up: $0[1]) },
            Case(name: "gated unit of one tensor", shapes: [[n, 2 * c]]) { .gatedUnit(.geluTanh, fused: $0[0]) },
            Case(name: "layer norm", shapes: [[n, c], [c], [c]]) {
                $0[0].layerNorm(weight: $0[1], bias: $0[2], eps: 1e-5)
            },
            Case(name: "layer norm, frozen", shapes: [[n, c], [c]]) {
                $0[0].layerNorm(weight: $0[1].detached(), bias: $0[1].detached(), eps: 1e-5)
            },
            Case(name: "root mean square", shapes: [[n, c], [c]]) { $0[0].rmsNorm(weight: $0[1], eps: 1e-5) },
            Case(name: "root mean square, frozen", shapes: [[n, c], [c]]) {
                $0[0].rmsNorm(weight: $0[1].detached(), eps: 1e-5)
            },
            Case(name: "trained map", shapes: [[n, c], [40, c]]) { $0[0].linear($0[1]) },
            Case(name: "low rank", shapes: [[n, c], [8, c], [c, 8]]) {
                let update = LowRankUpdate(input: $0[0], a: $0[1], b: $0[2], scale: 2)
                return $0[0].linear(frozen, bias: nil, layout: .outputByInput, lowRank: update)
            },
            Case(name: "attention", shapes: [[n, 64], [n, 32], [n, 32]]) {
                .attention(
                    query: $0[0], key: $0[1], value: $0[2], heads: 4, keyValueHeads: 2, scale: 0.25, layout: layout,
                    products: .bfloat16)
            },
            Case(name: "attention with a cap", shapes: [[n, 64], [n, 32], [n, 32]]) {
                .attention(
                    query: $0[0], key: $0[1], value: $0[2], heads: 4, keyValueHeads: 2, scale: 0.25, cap: 2,
                    layout: layout, products: .bfloat16)
            },
            Case(name: "fused attention", shapes: [[n, 96]]) {
                .attention(fused: $0[0], heads: 2, scale: 0.25, layout: layout, products: .bfloat16)
            },
        ]
    }

    /// The result of an op, and the gradients of its inputs for an arbitrary gradient of the result.
    private func run(_ op: Case, as type: DType, isRounded: Bool = false) -> (result: [Float], gradients: [[Float]]) {
        let inputs = op.shapes.enumerated().map { parameter($1, "\(op.name) \($0)", isRounded: isRounded) }
        return Autograd.keeping(type) {
            let result = op.body(inputs.map(\.tensor))
            result.sendBack(random.substream("gradient").uniform(result.shape, low: -1, high: 1))
            return (result.values, inputs.map { $0.gradient?.values ?? [] })
        }
    }

    private static func error(_ a: [Float], _ b: [Float]) -> Float {
        let largest = a.map(abs).max() ?? 0
        return zip(a, b).map { abs($0 - $1) }.max().map { $0 / max(largest, 1e-9) } ?? 0
    }

    @Test(arguments: cases.indices) func gradientsAreNear(_ index: Int) {
        let op = Self.cases[index]
        let (exact, kept) = (run(op, as: .float32), run(op, as: .bfloat16))
        #expect(exact.result == kept.result, "\(op.name): the forward pass sees no difference")
        #expect(exact.gradients != kept.gradients, "\(op.name): nothing was rounded")
        for (one, other) in zip(exact.gradients, kept.gradients) {
            #expect(Self.error(one, other) < 0.02, "\(op.name)")
        }
    }

    /// Where rounding changes nothing, neither does keeping what was rounded.
    @Test(arguments: cases.indices) func roundedInputsHaveTheGradientsOfFloats(_ index: Int) {
        let op = Self.cases[index]
        let (exact, kept) = (run(op, as: .float32, isRounded: true), run(op, as: .bfloat16, isRounded: true))
        #expect(exact.result == kept.result, "\(op.name)")
        // What attention made of them is rounded all the same.
        let limit: Float = op.name.contains("attention") ? 0.02 : 0
        for (one, other) in zip(exact.gradients, kept.gradients) {
            #expect(Self.error(one, other) <= limit, "\(op.name)")
        }
    }

    /// More rows than are widened at a time.
    @Test func manyRowsAreReadInBlocks() {
        let op = Case(name: "long", shapes: [[2100, 64], [8, 64], [64, 8]]) {
            let frozen = Tensor(zeros: [64, 64])
            return $0[0].linear(
                frozen, bias: nil, layout: .outputByInput,
                lowRank: LowRankUpdate(input: $0[0], a: $0[1], b: $0[2], scale: 2))
        }
        let (exact, kept) = (run(op, as: .float32, isRounded: true), run(op, as: .bfloat16, isRounded: true))
        for (one, other) in zip(exact.gradients, kept.gradients) { #expect(Self.error(one, other) < 1e-5) }
    }

    @Test func whatSeveralKeepIsRoundedOnce() {
        let x = parameter([4, 8], "x").tensor
        Autograd.keeping(.bfloat16) {
            let one = Kept(x), two = Kept(x)
            #expect(one.isRounded && one.tensor.storage === two.tensor.storage)
            #expect(one.tensor.storage === x.storage.rounded)
        }
        #expect(x.storage.rounded == nil, "nobody keeps it any more")
        #expect(Kept(x).tensor.storage === x.storage, "as it is, unless asked for")
    }

    /// A sum in the place of what was kept leaves what was kept, and is rounded itself.
    @Test func whatIsWrittenOverIsRoundedAnew() {
        Autograd.keeping(.bfloat16) {
            var x = Tensor([1, 2, 3, 4], shape: [4])
            let before = Kept(x)
            let place = x.pointer
            // Held here too, so that the sum cannot go there.
            let ones = Tensor([1, 1, 1, 1], shape: [4])
            x = Tensor.sum(consume x, ones)
            #expect(x.pointer == place && ones.values == [1, 1, 1, 1])
            let after = Kept(x)
            #expect(before.widened().values == [1, 2, 3, 4])
            #expect(after.widened().values == [2, 3, 4, 5])
        }
    }
}
