import CKernels

extension Tensor {
    /// The mean row of each sequence: `y_s = 1/|s| Σ_{n in s} x_n`.
    ///
    /// Shapes: `x [N, C]`, result `[S, C]`. Backward: `dx_n = dy_s / |s|`.
    ///
    /// - Precondition: the ranges lie inside the rows, and none is empty.
    package func meanRows(of sequences: [Range<Int>]) -> Tensor {
        let c = columns
        let result = Tensor(zeros: [sequences.count, c])
        let kernels = ck_kernels().pointee
        for (index, range) in sequences.enumerated() {
            precondition(!range.isEmpty && range.upperBound <= rows, "meanRows: rows \(range) of \(shape)")
            let y = result.pointer + index * c
            kernels.column_sums(range.count, c, pointer + range.lowerBound * c, y)
            kernels.scale(c, 1 / Float(range.count), y, y)
        }
        return result.recorded([self], MeanRowsOp(sequences: sequences, shape: shape))
    }

    /// Every row divided by its length: `y = x / max(|x|, 1e-12)`.
    ///
    /// Backward: `dx = (dy − y (y · dy)) / |x|`.
    package func normalizedRows() -> Tensor {
        let c = columns
        let result = Tensor(uninitialized: shape), lengths = Tensor(uninitialized: [rows])
        let kernels = ck_kernels().pointee
        for row in 0..<rows {
            let x = pointer + row * c
            let length = max(kernels.dot(c, x, x).squareRoot(), 1e-12)
            lengths.pointer[row] = length
            kernels.scale(c, 1 / length, x, result.pointer + row * c)
        }
        return result.recorded([self], NormalizedRowsOp(output: result, lengths: lengths))
    }
}

private struct MeanRowsOp: DifferentiableOp {
    let sequences: [Range<Int>]
    let shape: [Int]

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        // Rows may belong to no sequence.
        let result = Tensor(zeros: shape)
        let c = result.columns
        let kernels = ck_kernels().pointee
        for (index, range) in sequences.enumerated() {
            for row in range {
                kernels.axpy(c, 1 / Float(range.count), gradient.pointer + index * c, result.pointer + row * c)
            }
        }
        inputs.add(result, to: 0)
    }
}

private struct NormalizedRowsOp: DifferentiableOp {
    let output: Tensor
    let lengths: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = gradient.copied()
        let c = output.columns
        let kernels = ck_kernels().pointee
        for row in 0..<output.rows {
            let (y, dx) = (output.pointer + row * c, result.pointer + row * c)
            kernels.axpy(c, -kernels.dot(c, y, gradient.pointer + row * c), y, dx)
            kernels.scale(c, 1 / lengths.pointer[row], dx, dx)
        }
        inputs.add(result, to: 0)
    }
}
