package import TensorCore

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101), step for step `torch.optim.AdamW`.
///
/// A parameter without a gradient is left alone in that step, decay included, and its own step count does not advance.
package final class AdamW {
    /// What the user may choose; torch's defaults, but no decay.
    package struct Options: Codable, Sendable, Equatable {
        package var beta1 = 0.9
        package var beta2 = 0.999
        package var epsilon = 1e-8
        package var weightDecay = 0.0
        package init() {}
    }

    /// The memory of one parameter.
    struct Moments {
        /// How many steps it has had.
        var steps: Int
        let first: Tensor
        let second: Tensor
    }

    private let options: Options
    /// By the parameter's name; empty until it gets its first gradient.
    var moments: [String: Moments] = [:]

    package init(_ options: Options) { self.options = options }

    /// One step on every parameter that has a gradient, in place.
    ///
    /// - Parameter gradientScale: what each gradient is multiplied by first; see
    ///   ``GradientNorm/clippingFactor(norm:maximum:)``.
    package func step(_ parameters: [Parameter], learningRate: Double, gradientScale: Double = 1) {
        for parameter in parameters {
            guard let gradient = parameter.gradient else { continue }
            var state =
                moments[parameter.name]
                ?? Moments(
                    steps: 0, first: Tensor(zeros: parameter.tensor.shape),
                    second: Tensor(zeros: parameter.tensor.shape))
            state.steps += 1
            moments[parameter.name] = state
            parameter.tensor.updateAdamW(
                gradient: gradient, firstMoment: state.first, secondMoment: state.second,
                AdamWCoefficients(
                    learningRate: learningRate, beta1: options.beta1, beta2: options.beta2, epsilon: options.epsilon,
                    weightDecay: options.weightDecay, t: state.steps, gradientScale: gradientScale))
        }
    }
}
