package import TensorCore

/// A named linear map of a model: the seam where adapters plug in.
///
/// A model calls its projections and knows nothing of adapters; an adapter method replaces what a projection computes by
/// setting ``adaptation`` and knows nothing of architectures.
package final class Projection {
    /// The module path in the reference implementation, such as `model.layers.0.self_attn.q_proj`.
    package let path: String
    /// The path that transformers 4 and files of weights have for it; the same for most architectures.
    package let formerPath: String
    /// Where its weight lies in transformers 5, when that is not a module of its own.
    package let stack: StackedParameter?
    /// `[out, in]` or `[in, out]`, by ``layout``.
    package let weight: Parameter
    package let bias: Parameter?
    package let layout: WeightLayout
    /// What an adapter makes of this map; `nil` is the base alone.
    package var adaptation: (any Adaptation)?
    /// A trained copy that computes in place of ``weight`` and ``bias``. What is tied to the weight does not see it.
    package var substitute: (weight: Parameter, bias: Parameter?)?

    /// - Precondition: the weight is a matrix.
    package init(
        path: String, formerPath: String? = nil, stack: StackedParameter? = nil, weight: Parameter, bias: Parameter?,
        layout: WeightLayout
    ) {
        precondition(weight.tensor.shape.count == 2, "\(path): weight \(weight.tensor.shape)")
        self.path = path
        self.formerPath = formerPath ?? path
        self.stack = stack
        self.weight = weight
        self.bias = bias
        self.layout = layout
    }

    /// The size of an input row.
    package var inputSize: Int { layout == .outputByInput ? weight.tensor.shape[1] : weight.tensor.shape[0] }
    /// The size of an output row.
    package var outputSize: Int { layout == .outputByInput ? weight.tensor.shape[0] : weight.tensor.shape[1] }
    /// The trained or frozen weights of the base map.
    package var parameters: [Parameter] { [weight] + (bias.map { [$0] } ?? []) }

    /// The module path in one dialect; `nil` where transformers has no module for it.
    package func path(in dialect: NameDialect) -> String? {
        switch dialect {
        case .transformers4: formerPath
        case .transformers5: stack == nil ? path : nil
        }
    }

    /// What computes: the substitute, where there is one.
    package var current: (weight: Parameter, bias: Parameter?) { substitute ?? (weight, bias) }

    /// The adapted map of `x [N, in]`: `[N, out]`.
    package func callAsFunction(_ x: Tensor, _ context: ForwardContext) -> Tensor {
        adaptation?.forward(x, projection: self, context: context) ?? base(x)
    }

    /// The map without its adapter.
    package func base(_ x: Tensor) -> Tensor {
        x.linear(current.weight.tensor, bias: current.bias?.tensor, layout: layout)
    }
}

/// What one adapter method does to one projection.
package protocol Adaptation: AnyObject {
    /// What is trained.
    var parameters: [Parameter] { get }

    /// The adapted map of `x [N, in]`: `[N, out]`.
    func forward(_ x: Tensor, projection: Projection, context: ForwardContext) -> Tensor

    /// What a merge adds to the weight, in the projection's own layout.
    func weightDelta(for projection: Projection) -> Tensor
}
