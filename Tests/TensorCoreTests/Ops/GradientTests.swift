import Testing

@testable import TensorCore

/// Checks `op`'s backward pass by finite differences on seeded random parameters of the given shapes.
///
/// The loss is a fixed random combination of the outputs, so that no symmetry of the op hides a mistake.
func expectGradient(
    of shapes: [[Int]], spread: Float = 1, tolerance: Double = 5e-3, sourceLocation: SourceLocation = #_sourceLocation,
    op: ([Tensor]) -> Tensor
) {
    let random = RandomStream(seed: 7)
    let parameters = shapes.enumerated().map { index, shape in
        Parameter("input \(index)", random.substream(index).normal(shape, standardDeviation: spread), isTrainable: true)
    }
    let report = GradientCheck.run(parameters) {
        let y = op(parameters.map(\.tensor))
        let weights = random.substream("loss").normal([y.count, 1], standardDeviation: 1)
        return y.reshaped([1, y.count]).linear(weights, layout: .inputByOutput)
    }
    #expect(report.largestError < tolerance, "\(report.place)", sourceLocation: sourceLocation)
}

@Suite struct GradientTests {
    @Test(arguments: [WeightLayout.outputByInput, .inputByOutput])
    func linear(layout: WeightLayout) {
        let weight = layout == .outputByInput ? [4, 5] : [5, 4]
        expectGradient(of: [[3, 5], weight, [4], [3, 4]]) {
            $0[0].linear($0[1], bias: $0[2], layout: layout, scale: 0.7, adding: $0[3])
        }
    }

    /// With one input for both, with two, and where nothing wants the input's gradient.
    @Test(arguments: [WeightLayout.outputByInput, .inputByOutput], [1, 9])
    func linearWithAnUpdateOfLowRank(layout: WeightLayout, rank: Int) {
        let weight = RandomStream(seed: 3).normal(layout == .outputByInput ? [4, 5] : [5, 4], standardDeviation: 1)
        func update(_ z: Tensor, _ inputs: [Tensor]) -> LowRankUpdate {
            LowRankUpdate(input: z, a: inputs[1], b: inputs[2], scale: 0.7)
        }
        let shapes = [[3, 5], [rank, 5], [4, rank]]
        expectGradient(of: shapes) {
            $0[0].linear(weight, bias: nil, layout: layout, lowRank: update($0[0], $0))
        }
        expectGradient(of: shapes) {
            $0[0].linear(weight, bias: nil, layout: layout, lowRank: update($0[0].scaled(by: -0.4), $0))
        }
        let frozen = RandomStream(seed: 4).normal([3, 5], standardDeviation: 1)
        expectGradient(of: shapes) { frozen.linear(weight, bias: nil, layout: layout, lowRank: update(frozen, $0)) }
    }

    @Test func sum() {
        expectGradient(of: [[3, 4], [3, 4]]) { Tensor.sum($0[0], $0[1]) }
        expectGradient(of: [[3, 4]]) { Tensor.sum($0[0], $0[0]) }
    }

    @Test func scale() { expectGradient(of: [[3, 4]]) { $0[0].scaled(by: -1.7) } }

    @Test func layerNorm() {
        expectGradient(of: [[3, 8], [8], [8]]) { $0[0].layerNorm(weight: $0[1], bias: $0[2], eps: 1e-5) }
    }

    @Test func rmsNorm() {
        expectGradient(of: [[3, 8], [8]]) { $0[0].rmsNorm(weight: $0[1], eps: 1e-5) }
        expectGradient(of: [[3, 8], [8]]) { $0[0].rmsNorm(weight: $0[1], eps: 1e-5, offset: 1) }
    }

    /// The gradient of a value in another shape reaches the op that made it in that op's own, as norms over heads need.
    @Test func reshaping() {
        expectGradient(of: [[3, 5], [8, 5], [4]]) {
            $0[0].linear($0[1]).reshaped([6, 4]).rmsNorm(weight: $0[2], eps: 1e-5).reshaped([3, 8])
        }
    }

    @Test func geluTanh() { expectGradient(of: [[3, 8]]) { $0[0].geluTanh() } }

    @Test func geluErf() { expectGradient(of: [[3, 8]]) { $0[0].gelu() } }

    @Test func activations() {
        expectGradient(of: [[3, 8]]) { $0[0].tanh() }
        // No element of this seed lies within a step of the corner.
        expectGradient(of: [[3, 8]]) { $0[0].relu() }
    }

    @Test func pooling() {
        expectGradient(of: [[6, 4]]) { $0[0].meanRows(of: [0..<2, 2..<3, 4..<6]) }
        expectGradient(of: [[3, 4]]) { $0[0].normalizedRows() }
    }

    @Test func columns() {
        expectGradient(of: [[3, 5]]) { $0[0].gatheringColumns([4, 0, 4, 2]) }
    }

    @Test(arguments: [GateActivation.silu, .geluTanh])
    func gatedUnit(activation: GateActivation) {
        expectGradient(of: [[3, 8], [3, 8]]) { Tensor.gatedUnit(activation, gate: $0[0], up: $0[1]) }
        expectGradient(of: [[3, 10]]) { Tensor.gatedUnit(activation, fused: $0[0]) }
    }

    @Test func softCap() { expectGradient(of: [[3, 8]]) { $0[0].softCapped(1.5) } }

    @Test func embedding() {
        expectGradient(of: [[5, 3]]) { $0[0].gatheringRows([4, 0, 4, 2]) }
    }

    @Test func dropout() {
        expectGradient(of: [[6, 8]]) { $0[0].dropout(0.4, stream: RandomStream(seed: 3)) }
    }

    @Test func rotaryEmbedding() {
        let angles = RotaryAngles(positions: [0, 3, 11], inverseFrequencies: [1, 0.1], attentionFactor: 1.2)
        expectGradient(of: [[3, 12]]) { $0[0].rotated(by: angles, headDimension: 6) }
        expectGradient(of: [[3, 18]]) { $0[0].rotated(by: angles, headDimension: 6, heads: 2) }
    }

    @Test(arguments: [true, false])
    func groupedAttention(isCausal: Bool) {
        let layout = AttentionLayout(rows: [0..<3, 3..<8], isCausal: isCausal)
        expectGradient(of: [[8, 12], [8, 6], [8, 6]]) {
            Tensor.attention(
                query: $0[0], key: $0[1], value: $0[2], heads: 4, keyValueHeads: 2, scale: 0.6, layout: layout)
        }
    }

    @Test func fusedAttention() {
        let layout = AttentionLayout(rows: [0..<2, 2..<7], isCausal: true)
        expectGradient(of: [[7, 18]]) { Tensor.attention(fused: $0[0], heads: 2, scale: 0.6, layout: layout) }
    }

    @Test func fusedGroupedAttention() {
        let layout = AttentionLayout(rows: [0..<2, 2..<7], isCausal: true)
        expectGradient(of: [[7, 24]]) {
            Tensor.attention(fused: $0[0], heads: 4, keyValueHeads: 2, scale: 0.6, layout: layout)
        }
    }

    @Test(arguments: [nil, 1, 3], [nil, 2] as [Float?])
    func attentionWithWindowAndCap(window: Int?, cap: Float?) {
        let layout = AttentionLayout(rows: [0..<3, 3..<10], isCausal: true).windowed(window)
        expectGradient(of: [[10, 12], [10, 6], [10, 6]]) {
            Tensor.attention(
                query: $0[0], key: $0[1], value: $0[2], heads: 4, keyValueHeads: 2, scale: 0.6, cap: cap,
                layout: layout)
        }
    }

    @Test func windowOverSeveralTiles() {
        let layout = AttentionLayout(rows: [0..<150], isCausal: true).windowed(20)
        expectGradient(of: [[150, 6]], tolerance: 2e-2) {
            Tensor.attention(fused: $0[0], heads: 1, scale: 0.7, layout: layout)
        }
    }

    @Test func attentionOverSeveralTiles() {
        let layout = AttentionLayout(rows: [0..<130], isCausal: true)
        expectGradient(of: [[130, 6]], tolerance: 2e-2) {
            Tensor.attention(fused: $0[0], heads: 1, scale: 0.7, layout: layout)
        }
    }

    /// The chosen experts must not change within a step of the differences: the logits are far apart.
    private static var routerLogits: Tensor {
        Tensor(
            [2, 0.5, -1, 1, -0.4, 0.3, 1.6, -2, 0.9, -0.8, 0.1, -1.7, 0.4, 1.9, -0.2, 1.1, -1.5, 2.2, 0.7, 0],
            shape: [5, 4])
    }

    @Test(arguments: [1, 2, 3], [true, false]) func expertRouting(k: Int, isNormalised: Bool) {
        expectGradient(of: [[5, 4]], spread: 0.05) {
            Tensor.sum($0[0], Self.routerLogits).routed(to: k, isNormalised: isNormalised).weights
        }
        expectGradient(of: [[5, 4], [5, 4]], spread: 0.05) { inputs in
            ExpertRouting.balanceLoss(
                inputs.map { Tensor.sum($0, Self.routerLogits).routed(to: k, isNormalised: isNormalised) })
        }
    }

    @Test(arguments: [1, 2, 4], [true, false]) func expertMixture(k: Int, isNormalised: Bool) {
        // The router's logits, the tokens, and the maps of all four experts below one another.
        expectGradient(of: [[5, 4], [5, 3], [8, 3]], spread: 0.3) { inputs in
            let logits = Tensor.sum(inputs[0].scaled(by: 0.1), Self.routerLogits)
            let routing = logits.routed(to: k, isNormalised: isNormalised)
            return routing.mixed(
                routing.groups.map { group in
                    let rows = 2 * group.expert..<2 * group.expert + 2
                    return inputs[1].gatheringRows(group.tokens).linear(inputs[2].submatrix(rows: rows))
                })
        }
    }

    @Test func sigmoidGate() { expectGradient(of: [[4, 6], [4, 1]]) { $0[0].gated(bySigmoidOf: $0[1]) } }

    @Test func quickGELU() { expectGradient(of: [[3, 8]]) { $0[0].quickGELU() } }

    @Test func patchSequences() {
        expectGradient(of: [[6, 4], [1, 1, 4], [1, 4, 4]]) { $0[0].withClassTokens($0[1], positions: $0[2]) }
    }

    @Test func submatrix() {
        expectGradient(of: [[5, 6]]) { $0[0].submatrix(rows: 1..<4) }
        expectGradient(of: [[5, 6]]) {
            let x = $0[0]
            return Tensor.sum(
                x.submatrix(rows: 0..<3, column: 2, stride: 3), x.submatrix(rows: 2..<5, column: 0, stride: 3))
        }
    }

    @Test func crossEntropy() {
        expectGradient(of: [[6, 4], [9, 4]]) {
            $0[0].crossEntropy(head: $0[1], targets: [1, -1, 8, 0, -100, 3], scale: 0.25).loss
        }
        expectGradient(of: [[6, 4], [9, 4]]) {
            $0[0].crossEntropy(head: $0[1], targets: [1, -1, 8, 0, -100, 3], scale: 0.25, cap: 2).loss
        }
    }

    @Test func rowProducts() {
        expectGradient(of: [[4, 5], [4, 5]]) { $0[0].rowProducts($0[1]) }
        expectGradient(of: [[4, 5]]) { $0[0].rowProducts($0[0]) }
        let products = Tensor([1, 2, 3, 4], shape: [2, 2]).rowProducts(Tensor([5, 6, 7, 8], shape: [2, 2]))
        #expect(products.shape == [2, 1] && products.values == [17, 53])
    }

    @Test func squaredError() {
        let targets: [Float] = [0.5, -1, .nan, .nan, 2, 0.25]
        expectGradient(of: [[3, 2]]) { $0[0].squaredError(targets: targets, scale: 0.7).loss }
        expectGradient(of: [[3, 2]]) {
            $0[0].squaredError(targets: targets, scale: 0.7).loss.scaled(by: 3)
        }
        let scored = Tensor([1, 1, 9, 9, 2, 1.25], shape: [3, 2]).squaredError(targets: targets, scale: 2)
        #expect(scored.negativeLogLikelihoods == [2.125, 0, 0.5] && scored.loss.scalar == 5.25)
    }

    @Test func crossEntropyOfLogits() {
        let targets: [Int32] = [1, -1, 3, 0]
        expectGradient(of: [[4, 5]]) { $0[0].crossEntropy(targets: targets, scale: 0.25).loss }
        expectGradient(of: [[4, 3], [5, 3]]) { inputs in
            inputs[0].crossEntropy(targets: targets, scale: 0.25) { $0.linear(inputs[1]) }.loss
        }
        let random = RandomStream(seed: 3)
        let states = random.normal([4, 3], standardDeviation: 1)
        let head = random.substream(1).normal([5, 3], standardDeviation: 1)
        let whole = states.crossEntropy(head: head, targets: targets, scale: 0.25)
        let rows = states.crossEntropy(targets: targets, scale: 0.25) { $0.linear(head) }
        for (a, b) in zip(whole.negativeLogLikelihoods, rows.negativeLogLikelihoods) { #expect(abs(a - b) < 1e-6) }
        let logits = states.linear(head).values
        for (row, target) in targets.enumerated() {
            let best = (0..<5).max { logits[row * 5 + $0] < logits[row * 5 + $1] }
            #expect(rows.predictions[row] == (target < 0 ? -1 : Int32(best ?? -1)))
        }
    }
}
