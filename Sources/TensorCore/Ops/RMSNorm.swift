import CKernels

extension Tensor {
    /// Root-mean-square normalisation of every row (Zhang and Sennrich 2019, arXiv 1910.07467).
    ///
    /// `y = x · rstd · (weight + offset)`, `rstd = 1/√(mean(x²) + eps)`. Shapes: `x [N, C]`, weight `[C]`.
    /// Backward: `dx = rstd (g − x̂ mean(g x̂))` with `g = dy · (weight + offset)`, `x̂ = x rstd`; `dweight = Σ_N dy x̂`.
    ///
    /// - Parameter offset: 1 for models that store how far the weight is from one, as Gemma's do.
    /// - Precondition: the weight has as many elements as a row.
    package func rmsNorm(weight: Tensor, eps: Float, offset: Float = 0) -> Tensor {
        precondition(weight.count == columns, "rmsNorm: \(shape), weight \(weight.shape)")
        let result = Tensor(uninitialized: shape)
        let rstd = Tensor(uninitialized: [rows])
        let factor = offset == 0 ? weight.detached() : Tensor(weight.values.map { $0 + offset }, shape: weight.shape)
        let (c, x, y, s, w) = (columns, pointer, result.pointer, rstd.pointer, factor.pointer)
        Parallel.forEachRange(rows, grain: 4) { range in
            let low = range.lowerBound
            ck_kernels().pointee.rms_norm(range.count, c, eps, x + low * c, w, y + low * c, s + low)
        }
        return withExtendedLifetime(factor) {
            result.recorded([self, weight], RMSNormOp(input: detached(), factor: factor, rstd: rstd))
        }
    }
}

private struct RMSNormOp: DifferentiableOp {
    let input: Tensor
    /// The weight with its offset.
    let factor: Tensor
    let rstd: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let (rows, c) = (input.rows, input.columns)
        let dx = Tensor(uninitialized: input.shape)
        let (x, w, s, dy, d) = (input.pointer, factor.pointer, rstd.pointer, gradient.pointer, dx.pointer)
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
