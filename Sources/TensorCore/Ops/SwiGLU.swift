import CKernels

extension Tensor {
    /// The gated activation of LLaMA's feed-forward block (Shazeer 2020, arXiv 2002.05202).
    ///
    /// `y = silu(gate) · up`, `silu(g) = g · σ(g)`, element by element. Backward: `dup = dy · silu(gate)`,
    /// `dgate = dy · up · σ (1 + g (1 − σ))`; both inputs are kept.
    ///
    /// - Precondition: equal shapes.
    package static func swiGLU(gate: Tensor, up: Tensor) -> Tensor {
        precondition(gate.shape == up.shape, "swiGLU: gate \(gate.shape), up \(up.shape)")
        let result = Tensor(uninitialized: gate.shape)
        let (g, u, y) = (gate.pointer, up.pointer, result.pointer)
        Parallel.forEachRange(result.count, grain: 1024) { range in
            let low = range.lowerBound
            ck_kernels().pointee.swiglu(range.count, g + low, u + low, y + low)
        }
        return result.recorded([gate, up], SwiGLUOp(gate: gate.detached(), up: up.detached()))
    }
}

private struct SwiGLUOp: DifferentiableOp {
    let gate: Tensor
    let up: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let dgate = Tensor(uninitialized: gate.shape), dup = Tensor(uninitialized: up.shape)
        let (g, u, dy, dg, du) = (gate.pointer, up.pointer, gradient.pointer, dgate.pointer, dup.pointer)
        Parallel.forEachRange(gate.count, grain: 1024) { range in
            let low = range.lowerBound
            ck_kernels().pointee.swiglu_backward(range.count, g + low, u + low, dy + low, dg + low, du + low)
        }
        inputs.add(dgate, to: 0)
        inputs.add(dup, to: 1)
    }
}
