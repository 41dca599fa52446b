import CKernels

extension Tensor {
    /// Root-mean-square normalisation of every row (Zhang and Sennrich 2019, arXiv 1910.07467).
    ///
    /// `y = x · rstd · weight`, `rstd = 1/√(mean(x²) + eps)`. Shapes: `x [N, C]`, weight `[C]`.
    /// Backward: `dx = rstd (g − x̂ mean(g x̂))` with `g = dy · weight`, `x̂ = x rstd`; `dweight = Σ_N dy x̂`.
    ///
    /// - Precondition: the weight has as many elements as a row.
    package func rmsNorm(weight: Tensor, eps: Float) -> Tensor {
        precondition(weight.count == columns, "rmsNorm: \(shape), weight \(weight.shape)")
        let result = Tensor(uninitialized: shape)
        let rstd = Tensor(uninitialized: [rows])
        let (c, x, y, s, w) = (columns, pointer, result.pointer, rstd.pointer, weight.pointer)
        Parallel.forEachRange(rows, grain: 4) { range in
            let low = range.lowerBound
            ck_kernels().pointee.rms_norm(range.count, c, eps, x + low * c, w, y + low * c, s + low)
        }
        return result.recorded(
            [self, weight], RMSNormOp(input: detached(), weight: weight.detached(), rstd: rstd))
    }
}

private struct RMSNormOp: DifferentiableOp {
    let input: Tensor
    let weight: Tensor
    let rstd: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let (rows, c) = (input.rows, input.columns)
        let dx = Tensor(uninitialized: input.shape)
        let (x, w, s, dy, d) = (input.pointer, weight.pointer, rstd.pointer, gradient.pointer, dx.pointer)
        if inputs.needs(1) {
            let dw = Tensor(zeros: [c])
            ck_kernels().pointee.rms_norm_backward(rows, c, x, w, s, dy, d, dw.pointer)
            inputs.add(dw, to: 1)
        } else {
            Parallel.forEachRange(rows, grain: 4) { range in
                let low = range.lowerBound
                ck_kernels().pointee.rms_norm_backward(
                    range.count, c, x + low * c, w, s + low, dy + low * c, d + low * c, nil)
            }
        }
        inputs.add(dx, to: 0)
    }
}
