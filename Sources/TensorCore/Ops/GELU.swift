import CKernels

/// The two forms of GELU (Hendrycks and Gimpel 2016, arXiv 1606.08415).
package enum GELUForm: Sendable {
    /// `y = x/2 (1 + erf(x/√2))`: `gelu` in Hugging Face's names.
    case erf
    /// `y = x/2 (1 + tanh(√(2/π)(x + 0.044715 x³)))`: `gelu_new` and `gelu_pytorch_tanh`.
    case tanh
}

extension Tensor {
    /// GELU in its tanh form, as GPT-2 uses it.
    package func geluTanh() -> Tensor { gelu(.tanh) }

    /// GELU, element by element.
    ///
    /// Backward differentiates the form exactly and keeps x.
    package func gelu(_ form: GELUForm = .erf) -> Tensor {
        let result = Tensor(uninitialized: shape)
        let (x, y) = (pointer, result.pointer)
        Parallel.forEachRange(count, grain: 1024) { range in
            let low = range.lowerBound
            switch form {
            case .erf: ck_kernels().pointee.gelu_erf(range.count, x + low, y + low)
            case .tanh: ck_kernels().pointee.gelu_tanh(range.count, x + low, y + low)
            }
        }
        return result.recorded([self], GELUOp(form: form, input: Kept(self)))
    }
}

private struct GELUOp: DifferentiableOp {
    let form: GELUForm
    let input: Kept

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = Tensor(uninitialized: input.shape)
        let (dy, dx) = (gradient.pointer, result.pointer)
        input.forEachPiece(grain: 1024) { range, scratch in
            let low = range.lowerBound
            let x = input.floats(range, scratch)
            switch form {
            case .erf: ck_kernels().pointee.gelu_erf_backward(range.count, x, dy + low, dx + low)
            case .tanh: ck_kernels().pointee.gelu_tanh_backward(range.count, x, dy + low, dx + low)
            }
        }
        inputs.add(result, to: 0)
    }
}
