import Layers
import Models
package import PipelineSpec

/// The floating-point operations of a training, counted from the shapes of its model.
struct TrainingOperations {
    /// Of one token.
    let perToken: Double
    /// The inputs and outputs of the largest product.
    let largestProduct: (inputs: Int, outputs: Int)

    /// - Parameters:
    ///   - model: its shapes.
    ///   - trainedShare: the share of the tokens that go through the head.
    ///   - sequence: tokens of a usual sequence.
    init(
        _ model: any SequenceModel, trainedParameters: Int, trainsAll: Bool, trainedShare: Double, sequence: Int
    ) {
        let projections = model.projections
        let linear = projections.reduce(0.0) {
            $0 + Double($1.inputSize) * Double($1.outputSize) * model.tokenShare(of: $1)
        }
        let head = model.heads.reduce(0.0) { $0 + Double($1.inputSize) * Double($1.outputSize) } * trainedShare
        let shape = ModelShape(model)
        // Forward and input gradient, two operations a parameter each; what is trained also has a gradient of its own.
        var operations = 4 * (linear + head)
        operations += trainsAll ? 2 * (linear + head) : 6 * Double(trainedParameters)
        // Scores and sums forward, twice that and once more for the scores backward; of a decoder half of the keys are in
        // the past, and only those count.
        let keys = model is any LanguageModel ? Double(sequence) / 2 : Double(sequence)
        operations += 14 * keys * Double(shape.width) * Double(shape.layerCount)
        perToken = operations
        let largest = projections.max { $0.inputSize * $0.outputSize < $1.inputSize * $1.outputSize }
        largestProduct = largest.map { ($0.inputSize, $0.outputSize) } ?? (512, 512)
    }
}

extension JobManifest.Precision {
    /// Bits of the frozen matrices.
    var bits: Int { resolved == .bf16 ? 16 : 32 }
}

extension JobManifest {
    /// Bits of the number format of the large matrices, in the training of this job on this processor.
    package var precisionBits: Int { trainingPrecision.bits }
}
