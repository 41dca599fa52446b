import CKernels

extension Tensor {
    /// GELU in its tanh form, as GPT-2 uses it (Hendrycks and Gimpel 2016, arXiv 1606.08415).
    ///
    /// `y = x/2 (1 + tanh(√(2/π)(x + 0.044715 x³)))`, element by element; `gelu_new` and `gelu_pytorch_tanh` in Hugging Face's
    /// names. Backward differentiates this form exactly and keeps x.
    package func geluTanh() -> Tensor {
        let result = Tensor(uninitialized: shape)
        let (x, y) = (pointer, result.pointer)
        Parallel.forEachRange(count, grain: 1024) { range in
            ck_kernels().pointee.gelu_tanh(range.count, x + range.lowerBound, y + range.lowerBound)
        }
        return result.recorded([self], GELUTanhOp(input: detached()))
    }
}

private struct GELUTanhOp: DifferentiableOp {
    let input: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = Tensor(uninitialized: input.shape)
        let (x, dy, dx) = (input.pointer, gradient.pointer, result.pointer)
        Parallel.forEachRange(input.count, grain: 1024) { range in
            let low = range.lowerBound
            ck_kernels().pointee.gelu_tanh_backward(range.count, x + low, dy + low, dx + low)
        }
        inputs.add(result, to: 0)
    }
}
