import Layers
import TensorCore
import Training

/// How fast a model will train here, from its operations and a product timed for a moment.
struct TrainingSpeed {
    /// Floating-point operations a second in a large product of the model.
    let productsPerSecond: Double
    let tokensPerSecond: Double

    /// What a step reaches of the speed of its products alone: the rest is attention, norms, activations and the update.
    private static let efficiency = 0.75

    /// - Parameters:
    ///   - model: its shapes.
    ///   - trainedShare: the share of the tokens that go through the head.
    ///   - rows: tokens computed at once.
    ///   - sequence: tokens of a usual sequence.
    init(
        _ model: any SequenceModel, trainedParameters: Int, trainsAll: Bool, trainedShare: Double, rows: Int,
        sequence: Int
    ) {
        let projections = model.projections
        let linear = projections.reduce(0.0) { $0 + Double($1.inputSize) * Double($1.outputSize) }
        let head = model.heads.reduce(0.0) { $0 + Double($1.inputSize) * Double($1.outputSize) } * trainedShare
        let shape = ModelShape(model)
        // Forward and input gradient, two operations a parameter each; what is trained also has a gradient of its own.
        var operations = 4 * (linear + head)
        operations += trainsAll ? 2 * (linear + head) : 6 * Double(trainedParameters)
        // Scores and sums forward, twice that and once more for the scores backward; of a decoder half of the keys are in
        // the past, and only those count.
        let keys = model is any LanguageModel ? Double(sequence) / 2 : Double(sequence)
        operations += 14 * keys * Double(shape.width) * Double(shape.layerCount)
        let largest = projections.max { $0.inputSize * $0.outputSize < $1.inputSize * $1.outputSize }
        let (inputs, outputs) = largest.map { ($0.inputSize, $0.outputSize) } ?? (512, 512)
        productsPerSecond = Self.measure(rows: min(max(rows, 16), 512), inputs: inputs, outputs: outputs)
        tokensPerSecond = Self.efficiency * productsPerSecond / operations
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
