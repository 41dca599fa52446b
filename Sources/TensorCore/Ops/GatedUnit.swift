import CKernels

/// What the gate of a gated unit goes through.
package enum GateActivation: Sendable {
    /// `silu(g) = g · σ(g)`: SwiGLU.
    case silu
    /// GELU in its tanh form: GEGLU.
    case geluTanh
}

extension Tensor {
    /// The gated activation of a feed-forward block (Shazeer 2020, arXiv 2002.05202).
    ///
    /// `y = act(gate) · up`, element by element. Backward: `dup = dy · act(gate)`, `dgate = dy · up · act'(gate)`; both inputs are
    /// kept.
    ///
    /// - Precondition: equal shapes.
    package static func gatedUnit(_ activation: GateActivation, gate: Tensor, up: Tensor) -> Tensor {
        precondition(gate.shape == up.shape, "gatedUnit: gate \(gate.shape), up \(up.shape)")
        let result = Tensor(uninitialized: gate.shape)
        let kernel = activation.forward
        let (g, u, y) = (gate.pointer, up.pointer, result.pointer)
        Parallel.forEachRange(result.count, grain: 1024) { range in
            let low = range.lowerBound
            kernel(range.count, g + low, u + low, y + low)
        }
        return result.recorded(
            [gate, up], GatedUnitOp(activation: activation, gate: Kept(gate), up: Kept(up)))
    }

    /// The same for gate and up side by side in one tensor `[N, 2 · C]`, as Phi-3's `gate_up_proj` makes them; the result is
    /// `[N, C]`.
    package static func gatedUnit(_ activation: GateActivation, fused: Tensor) -> Tensor {
        let width = fused.columns / 2
        precondition(fused.columns == 2 * width, "gatedUnit: fused \(fused.shape)")
        let result = Tensor(uninitialized: [fused.rows, width])
        let kernel = activation.forward
        let (x, y) = (fused.pointer, result.pointer)
        Parallel.forEachRange(fused.rows, grain: 4) { range in
            for row in range {
                kernel(width, x + 2 * row * width, x + (2 * row + 1) * width, y + row * width)
            }
        }
        return result.recorded([fused], FusedGatedUnitOp(activation: activation, input: Kept(fused)))
    }
}

extension GateActivation {
    fileprivate typealias Forward = (
        Int, UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?
    ) -> Void
    fileprivate typealias Backward = (
        Int, UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?,
        UnsafeMutablePointer<Float>?
    ) -> Void

    fileprivate var forward: Forward {
        switch self {
        case .silu: { ck_kernels().pointee.swiglu($0, $1, $2, $3) }
        case .geluTanh: { ck_kernels().pointee.geglu($0, $1, $2, $3) }
        }
    }

    fileprivate var backward: Backward {
        switch self {
        case .silu: { ck_kernels().pointee.swiglu_backward($0, $1, $2, $3, $4, $5) }
        case .geluTanh: { ck_kernels().pointee.geglu_backward($0, $1, $2, $3, $4, $5) }
        }
    }
}

private struct GatedUnitOp: DifferentiableOp {
    let activation: GateActivation
    let gate: Kept
    let up: Kept

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let dgate = Tensor(uninitialized: gate.shape), dup = Tensor(uninitialized: up.shape)
        let kernel = activation.backward
        let (dy, dg, du) = (gradient.pointer, dgate.pointer, dup.pointer)
        gate.forEachPiece(grain: 1024, others: 1) { range, scratch in
            let low = range.lowerBound
            let g = gate.floats(range, scratch), u = up.floats(range, scratch + range.count)
            kernel(range.count, g, u, dy + low, dg + low, du + low)
        }
        inputs.add(dgate, to: 0)
        inputs.add(dup, to: 1)
    }
}

private struct FusedGatedUnitOp: DifferentiableOp {
    let activation: GateActivation
    let input: Kept

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = Tensor(uninitialized: input.shape)
        let width = input.columns / 2
        let kernel = activation.backward
        let (dy, dx) = (gradient.pointer, result.pointer)
        input.forEachPiece(unit: 2 * width, grain: 4) { range, scratch in
            let x = input.floats(range, scratch)
            for gate in stride(from: 0, to: range.count, by: 2 * width) {
                let place = range.lowerBound + gate
                kernel(width, x + gate, x + gate + width, dy + place / 2, dx + place, dx + place + width)
            }
        }
        inputs.add(result, to: 0)
    }
}
