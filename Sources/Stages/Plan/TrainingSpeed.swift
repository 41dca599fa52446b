import TensorCore
import Training

/// How fast a model will train here: as fast as trainings of its size did, or as its operations and a product that is timed for
/// a moment say.
package struct TrainingSpeed: Codable, Sendable, Equatable {
    /// Counted operations a second in training.
    package let gigaflops: Double
    package let tokensPerSecond: Double
    /// How many earlier trainings it is known from; `nil` when a product was timed.
    package let runs: Int?

    /// What a step reaches of the speed of its products alone: the rest is attention, norms, activations and the update.
    private static let efficiency = 0.75

    /// - Parameters:
    ///   - rows: tokens computed at once.
    ///   - known: what is remembered of trainings of models of this size, from the operations of a token.
    init(_ operations: TrainingOperations, rows: Int, known: (Double) throws -> KnownSpeed?) rethrows {
        if let known = try known(operations.perToken) {
            gigaflops = known.gigaflops
            runs = known.runs
        } else {
            let (inputs, outputs) = operations.largestProduct
            let products = Self.measure(rows: min(max(rows, 16), 512), inputs: inputs, outputs: outputs)
            gigaflops = Self.efficiency * products / 1e9
            runs = nil
        }
        tokensPerSecond = gigaflops * 1e9 / operations.perToken
    }

    /// Times a product for about half a second; the best of its runs.
    private static func measure(rows: Int, inputs: Int, outputs: Int) -> Double {
        let x = RandomStream(seed: 1).uniform([rows, inputs], low: -1, high: 1)
        let weight = RandomStream(seed: 2).uniform([outputs, inputs], low: -1, high: 1)
        let end = Trainer.monotonicSeconds() + 0.5
        var best = Double.infinity
        repeat {
            let start = Trainer.monotonicSeconds()
            withExtendedLifetime(x.linear(weight)) {}
            best = min(best, Trainer.monotonicSeconds() - start)
        } while Trainer.monotonicSeconds() < end
        return 2 * Double(rows) * Double(inputs) * Double(outputs) / max(best, 1e-9)
    }
}

/// What is remembered of earlier trainings.
package struct KnownSpeed: Sendable, Equatable {
    package var gigaflops: Double
    package var runs: Int

    package init(gigaflops: Double, runs: Int) {
        self.gigaflops = gigaflops
        self.runs = runs
    }
}
