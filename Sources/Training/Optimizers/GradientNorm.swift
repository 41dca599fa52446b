package import TensorCore

/// The length of all gradients together, and what clipping makes of it.
package enum GradientNorm {
    /// The L2 norm over the gradients of `parameters`, summed in double precision and in the order given.
    ///
    /// - Throws: ``TrainingError`` with code `nonFiniteLoss` that names the first parameter whose gradient is not
    ///   finite.
    package static func measure(_ parameters: [Parameter], step: Int) throws -> Double {
        var sum = 0.0
        for parameter in parameters {
            guard let gradient = parameter.gradient else { continue }
            let squares = gradient.sumOfSquares
            guard squares.isFinite else {
                throw TrainingError(
                    .nonFiniteLoss,
                    "step \(step): the gradient of \(parameter.name) is not finite; lower the learning rate, or look "
                        + "for a broken weight in the base")
            }
            sum += squares
        }
        return sum.squareRoot()
    }

    /// What every gradient is multiplied by so that the norm does not exceed `maximum`, as
    /// `torch.nn.utils.clip_grad_norm_`: `min(1, maximum / (norm + 1e-6))`.
    package static func clippingFactor(norm: Double, maximum: Double) -> Double {
        min(1, maximum / (norm + 1e-6))
    }
}
