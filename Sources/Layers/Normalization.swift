package import TensorCore

/// Layer normalisation with its weights.
package final class LayerNorm {
    package let weight: Parameter
    package let bias: Parameter
    private let eps: Float

    package init(weight: Parameter, bias: Parameter, eps: Float) {
        self.weight = weight
        self.bias = bias
        self.eps = eps
    }

    package var parameters: [Parameter] { [weight, bias] }

    /// Normalises every row of `x [N, C]`.
    package func callAsFunction(_ x: Tensor) -> Tensor {
        x.layerNorm(weight: weight.tensor, bias: bias.tensor, eps: eps)
    }
}

/// Root-mean-square normalisation with its weight.
package final class RMSNorm {
    package let weight: Parameter
    private let eps: Float
    private let offset: Float

    /// - Parameter offset: added to the weight; 1 for Gemma's, which store how far it is from one.
    package init(weight: Parameter, eps: Float, offset: Float = 0) {
        self.weight = weight
        self.eps = eps
        self.offset = offset
    }

    package var parameters: [Parameter] { [weight] }

    /// Normalises every row of `x [N, C]`.
    package func callAsFunction(_ x: Tensor) -> Tensor {
        x.rmsNorm(weight: weight.tensor, eps: eps, offset: offset)
    }
}
