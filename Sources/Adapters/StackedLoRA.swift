import Layers
import TensorCore

/// Low-rank adaptation of a stack of matrices, as PEFT computes it (`ParamWrapper` of PEFT 0.21).
///
/// For matrix e of E: `W_e += s · B_e A_e`. Both factors of all matrices lie in one tensor each: `A [E · r, in]`, with the rows
/// of `A_e` together, and `B [out, r · E]`, with column j of `B_e` at `j · E + e`.
final class StackedLoRAFactors {
    let a: Parameter
    let b: Parameter
    let rank: Int
    let scale: Float

    init(of target: StackedTarget, rank: Int, scale: Double, random: RandomStream) {
        let bound = 1 / Float(target.inputSize).squareRoot()
        let key = PEFTFolder.keyPrefix + target.key
        a = Parameter(
            "\(key).lora_A.weight",
            random.substream(target.path).uniform([target.count * rank, target.inputSize], low: -bound, high: bound),
            isTrainable: true)
        b = Parameter(
            "\(key).lora_B.weight", Tensor(zeros: [target.outputSize, rank * target.count]), isTrainable: true)
        self.rank = rank
        self.scale = Float(scale)
    }
}

/// What a stack's factors are to one of its projections.
final class StackedLoRAAdaptation: Adaptation {
    private let factors: StackedLoRAFactors
    private let place: StackedParameter

    init(_ factors: StackedLoRAFactors, _ place: StackedParameter) {
        self.factors = factors
        self.place = place
    }

    /// Those of the whole stack.
    var parameters: [Parameter] { [factors.a, factors.b] }

    private var own: (a: Tensor, b: Tensor) {
        let rank = factors.rank
        return (
            factors.a.tensor.submatrix(rows: place.index * rank..<(place.index + 1) * rank),
            factors.b.tensor.submatrix(rows: place.rows, column: place.index, stride: place.count)
        )
    }

    func forward(_ x: Tensor, projection: Projection, context: ForwardContext) -> Tensor {
        let (a, b) = own
        let base = projection.base(x)
        return x.linear(a).linear(b, scale: factors.scale, adding: consume base)
    }

    func weightDelta(for projection: Projection) -> Tensor {
        let (a, b) = own
        return b.detached().linear(a.detached(), layout: .inputByOutput, scale: factors.scale)
    }
}
