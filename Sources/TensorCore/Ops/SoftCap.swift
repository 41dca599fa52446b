import CKernels

extension Tensor {
    /// `y = cap · tanh(x / cap)`, element by element (Gemma 2, arXiv 2408.00118).
    ///
    /// Backward: `dx = dy (1 − (y/cap)²)`; the result is kept.
    package func softCapped(_ cap: Float) -> Tensor {
        let result = copied()
        let y = result.pointer
        Parallel.forEachRange(count, grain: 1024) { range in
            ck_kernels().pointee.soft_cap(range.count, 1, cap, y + range.lowerBound)
        }
        return result.recorded([self], SoftCapOp(cap: cap, output: result))
    }
}

private struct SoftCapOp: DifferentiableOp {
    let cap: Float
    let output: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = gradient.copied()
        let (y, dx) = (output.pointer, result.pointer)
        Parallel.forEachRange(output.count, grain: 1024) { range in
            let low = range.lowerBound
            ck_kernels().pointee.soft_cap_backward(range.count, cap, y + low, dx + low)
        }
        inputs.add(result, to: 0)
    }
}
