import CKernels

extension Tensor {
    /// The product of each row with the row of another tensor: `y_n = Σ_c a_nc b_nc`; of unit rows, their cosine.
    ///
    /// Shapes: `a, b [N, C]`, result `[N, 1]`. Backward: `da_n = dy_n b_n`, `db_n = dy_n a_n`.
    ///
    /// - Precondition: equal shapes.
    package func rowProducts(_ other: Tensor) -> Tensor {
        precondition(shape == other.shape, "rowProducts: \(shape) and \(other.shape)")
        let result = Tensor(uninitialized: [rows, 1])
        let (c, kernels) = (columns, ck_kernels().pointee)
        for row in 0..<rows {
            result.pointer[row] = kernels.dot(c, pointer + row * c, other.pointer + row * c)
        }
        return result.recorded([self, other], RowProductsOp(first: self.detached(), second: other.detached()))
    }
}

private struct RowProductsOp: DifferentiableOp {
    let first: Tensor
    let second: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let (c, kernels) = (first.columns, ck_kernels().pointee)
        for (index, other) in [second, first].enumerated() where inputs.needs(index) {
            let result = Tensor(uninitialized: other.shape)
            for row in 0..<other.rows {
                kernels.scale(c, gradient.pointer[row], other.pointer + row * c, result.pointer + row * c)
            }
            inputs.add(result, to: index)
        }
    }
}
