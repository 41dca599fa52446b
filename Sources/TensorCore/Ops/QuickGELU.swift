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
        return result.recorded([self], QuickGELUOp(input: Kept(self)))
    }
}

private struct QuickGELUOp: DifferentiableOp {
    let input: Kept

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = Tensor(uninitialized: input.shape)
        let (dy, dx) = (gradient.pointer, result.pointer)
        input.forEachPiece(grain: 1024) { range, scratch in
            let low = range.lowerBound
            let x = input.floats(range, scratch)
            ck_kernels().pointee.quick_gelu_backward(range.count, x, dy + low, dx + low)
        }
        inputs.add(result, to: 0)
    }
}
