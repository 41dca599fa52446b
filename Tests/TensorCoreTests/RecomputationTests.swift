import Testing

@testable import TensorCore

/// Values that are computed again instead of kept change no number.
@Suite struct RecomputationTests {
    private let weights = (0..<3).map {
        Parameter("w\($0)", RandomStream(seed: UInt64($0)).normal([8, 8], standardDeviation: 0.5))
    }

    /// A row of layers `x + gelu(x W)`, each kept or computed again.
    private func loss(_ x: Tensor, recomputed: Bool, _ calls: (() -> Void)? = nil) -> Tensor {
        var x = x
        for weight in weights {
            let layer = { (x: Tensor) -> Tensor in
                calls?()
                return Tensor.sum(x, x.linear(weight.tensor).geluTanh())
            }
            x = recomputed ? x.recomputed(layer) : layer(x)
        }
        return x.squaredError(targets: [Float](repeating: 0, count: x.count), scale: 1).loss
    }

    private func gradients(_ body: () -> Tensor) -> [[Float]] {
        for weight in weights {
            weight.isTrainable = true
            weight.zeroGradient()
        }
        body().backward()
        return weights.map { $0.gradient?.values ?? [] }
    }

    @Test func gradientsAreTheSameToTheBit() {
        let x = RandomStream(seed: 9).normal([5, 8], standardDeviation: 1)
        let kept = gradients { loss(x, recomputed: false) }
        #expect(kept.allSatisfy { $0.contains { $0 != 0 } })
        #expect(gradients { loss(x, recomputed: true) } == kept)
    }

    @Test func gradientsAreThoseOfDifferences() {
        let x = RandomStream(seed: 9).normal([2, 8], standardDeviation: 1)
        let report = GradientCheck.run(weights) { loss(x, recomputed: true) }
        #expect(report.largestError < 2e-2, "\(report)")
    }

    /// A gradient goes on to what lies before; below what is trained nothing is computed twice.
    @Test func onlyWhatIsNeededIsComputedAgain() {
        let x = RandomStream(seed: 9).normal([5, 8], standardDeviation: 1)
        var calls = 0
        for (index, weight) in weights.enumerated() {
            weight.isTrainable = index == 1
            weight.zeroGradient()
        }
        loss(x, recomputed: true) { calls += 1 }.backward()
        #expect(calls == 5, "three forwards, and the last two again")
        #expect(weights.map { $0.gradient != nil } == [false, true, false])
        calls = 0
        _ = Autograd.withoutGradients { loss(x, recomputed: true) { calls += 1 } }
        #expect(calls == 3)
    }
}
