import CKernels
import Glibc

extension Tensor {
    /// Every row times the sigmoid of a gate of its own: `y_n = σ(g_n) x_n`, as a shared expert is weighted in Qwen2-MoE.
    ///
    /// Shapes: `x [N, C]`, gate `[N, 1]`. Backward: `dx_n = σ(g_n) dy_n`, `dg_n = σ(g_n) (1 − σ(g_n)) dy_n · x_n`; the input
    /// and the sigmoids are kept.
    ///
    /// - Precondition: one gate a row.
    package func gated(bySigmoidOf gate: Tensor) -> Tensor {
        precondition(gate.count == rows, "gated: \(shape), gate \(gate.shape)")
        let result = Tensor(uninitialized: shape), sigmoids = Tensor(uninitialized: [rows])
        let (x, g, s, y, c) = (pointer, gate.pointer, sigmoids.pointer, result.pointer, columns)
        Parallel.forEachRange(rows, grain: 8) { range in
            for row in range {
                s[row] = 1 / (1 + expf(-g[row]))
                ck_kernels().pointee.scale(c, s[row], x + row * c, y + row * c)
            }
        }
        return result.recorded([self, gate], SigmoidGateOp(input: detached(), sigmoids: sigmoids))
    }
}

private struct SigmoidGateOp: DifferentiableOp {
    let input: Tensor
    let sigmoids: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let (rows, c) = (input.rows, input.columns)
        let dx = Tensor(uninitialized: input.shape), dg = Tensor(uninitialized: [rows, 1])
        let (x, s, dy, d, slope) = (input.pointer, sigmoids.pointer, gradient.pointer, dx.pointer, dg.pointer)
        Parallel.forEachRange(rows, grain: 8) { range in
            let kernels = ck_kernels().pointee
            for row in range {
                kernels.scale(c, s[row], dy + row * c, d + row * c)
                slope[row] = s[row] * (1 - s[row]) * kernels.dot(c, dy + row * c, x + row * c)
            }
        }
        inputs.add(dx, to: 0)
        inputs.add(dg, to: 1)
    }
}
