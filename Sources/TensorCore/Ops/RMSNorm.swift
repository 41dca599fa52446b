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
            result.recorded([self, weight], RMSNormOp(input: Kept(self), factor: factor, rstd: rstd))
        }
    }
}

private struct RMSNormOp: DifferentiableOp {
    let input: Kept
    /// The weight with its offset.
    let factor: Tensor
    let rstd: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let (rows, c) = (input.rows, input.columns)
        let (w, s, dy) = (factor.pointer, rstd.pointer, gradient.pointer)
        if inputs.needs(1) {
            // Trained norms are small: their sums run on one thread, in row order.
            let x = input.widened(), dx = Tensor(uninitialized: input.shape), dw = Tensor(zeros: [c])
            ck_kernels().pointee.rms_norm_backward(rows, c, x.pointer, w, s, dy, 0, dx.pointer, dw.pointer)
            withExtendedLifetime(x) {}
            inputs.add(dw, to: 1)
            inputs.add(dx, to: 0)
        } else {
            inputs.accumulate(0) { dx, isFirst in
                input.forEachPiece(unit: c, grain: 4) { range, scratch in
                    let (low, row) = (range.lowerBound, range.lowerBound / c)
                    ck_kernels().pointee.rms_norm_backward(
                        range.count / c, c, input.floats(range, scratch), w, s + row, dy + low, isFirst ? 0 : 1,
                        dx + low, nil)
                }
            }
        }
    }
}
