import CKernels

extension Tensor {
    /// The sigmoid form of GELU that CLIP has: `y = x σ(1.702 x)`, element by element (`quick_gelu` in Hugging Face's names).
    ///
    /// Backward: `dx = dy (s + 1.702 x s (1 − s))` with `s = σ(1.702 x)`; x is kept.
    package func quickGELU() -> Tensor {
        let result = Tensor(uninitialized: shape)
        let (x, y) = (pointer, result.pointer)
        Parallel.forEachRange(count, grain: 1024) { range in
            ck_kernels().pointee.quick_gelu(range.count, x + range.lowerBound, y + range.lowerBound)
        }
        return result.recorded([self], QuickGELUOp(input: detached()))
    }
}

private struct QuickGELUOp: DifferentiableOp {
    let input: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = Tensor(uninitialized: input.shape)
        let (x, dy, dx) = (input.pointer, gradient.pointer, result.pointer)
        Parallel.forEachRange(input.count, grain: 1024) { range in
            let low = range.lowerBound
            ck_kernels().pointee.quick_gelu_backward(range.count, x + low, dy + low, dx + low)
        }
        inputs.add(result, to: 0)
    }
}
