import CKernels

extension Tensor {
    /// Layer normalisation of every row (Ba, Kiros and Hinton 2016, arXiv 1607.06450).
    ///
    /// `y = (x − mean) / √(var + eps) · weight + bias`, with the population variance. Shapes: `x [N, C]`, weight and bias `[C]`.
    /// Backward: `dx = rstd (g − mean(g) − x̂ mean(g x̂))` with `g = dy · weight`; `dweight = Σ_N dy x̂`; `dbias = Σ_N dy`.
    ///
    /// - Precondition: weight and bias have as many elements as a row.
    package func layerNorm(weight: Tensor, bias: Tensor, eps: Float) -> Tensor {
        precondition(weight.count == columns && bias.count == columns, "layerNorm: \(shape), weight \(weight.shape)")
        let result = Tensor(uninitialized: shape)
        let mean = Tensor(uninitialized: [rows]), rstd = Tensor(uninitialized: [rows])
        let (c, x, y, m, s) = (columns, pointer, result.pointer, mean.pointer, rstd.pointer)
        let (w, b) = (weight.pointer, bias.pointer)
        Parallel.forEachRange(rows, grain: 4) { range in
            let low = range.lowerBound
            ck_kernels().pointee.layer_norm(range.count, c, eps, x + low * c, w, b, y + low * c, m + low, s + low)
        }
        return result.recorded(
            [self, weight, bias],
            LayerNormOp(input: Kept(self), weight: weight.detached(), mean: mean, rstd: rstd))
    }
}

private struct LayerNormOp: DifferentiableOp {
    let input: Kept
    let weight: Tensor
    let mean: Tensor
    let rstd: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let (rows, c) = (input.rows, input.columns)
        let (w, m, s, dy) = (weight.pointer, mean.pointer, rstd.pointer, gradient.pointer)
        if inputs.needs(1) || inputs.needs(2) {
            // Trained norms are small: their sums run on one thread, in row order.
            let x = input.widened(), dx = Tensor(uninitialized: input.shape), dw = Tensor(zeros: [c]),
                db = Tensor(zeros: [c])
            ck_kernels().pointee.layer_norm_backward(
                rows, c, x.pointer, w, m, s, dy, 0, dx.pointer, dw.pointer, db.pointer)
            withExtendedLifetime(x) {}
            inputs.add(dw, to: 1)
            inputs.add(db, to: 2)
            inputs.add(dx, to: 0)
        } else {
            inputs.accumulate(0) { dx, isFirst in
                input.forEachPiece(unit: c, grain: 4) { range, scratch in
                    let (low, row) = (range.lowerBound, range.lowerBound / c)
                    ck_kernels().pointee.layer_norm_backward(
                        range.count / c, c, input.floats(range, scratch), w, m + row, s + row, dy + low,
                        isFirst ? 0 : 1, dx + low, nil, nil)
                }
            }
        }
    }
}
