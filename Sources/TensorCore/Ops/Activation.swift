import Glibc

extension Tensor {
    /// `tanh(x)`, element by element. Backward: `dx = dy (1 − y²)`; the result is kept.
    ///
    /// For the few rows of a pooler: one thread, the C library's function.
    package func tanh() -> Tensor {
        let result = Tensor(uninitialized: shape)
        for index in 0..<count { result.pointer[index] = Glibc.tanhf(pointer[index]) }
        return result.recorded([self], TanhOp(output: result))
    }

    /// `max(x, 0)`, element by element. Backward passes where the result is positive; the result is kept.
    package func relu() -> Tensor {
        let result = Tensor(uninitialized: shape)
        let (x, y) = (pointer, result.pointer)
        Parallel.forEachRange(count, grain: 4096) { range in
            for index in range { y[index] = max(x[index], 0) }
        }
        return result.recorded([self], ReLUOp(output: result))
    }
}

private struct TanhOp: DifferentiableOp {
    let output: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = Tensor(uninitialized: output.shape)
        let (y, dy) = (output.pointer, gradient.pointer)
        for index in 0..<output.count { result.pointer[index] = dy[index] * (1 - y[index] * y[index]) }
        inputs.add(result, to: 0)
    }
}

private struct ReLUOp: DifferentiableOp {
    let output: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = Tensor(uninitialized: output.shape)
        let (y, dy, dx) = (output.pointer, gradient.pointer, result.pointer)
        Parallel.forEachRange(output.count, grain: 4096) { range in
            for index in range { dx[index] = y[index] > 0 ? dy[index] : 0 }
        }
        inputs.add(result, to: 0)
    }
}
