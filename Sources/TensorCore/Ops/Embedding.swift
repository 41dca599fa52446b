import CKernels

extension Tensor {
    /// The rows of this table that `ids` name: `y_n = table[ids_n]`.
    ///
    /// Shapes: table `[V, C]` of floats or bf16, result `[N, C]`. Backward: row `ids_n` of the table's gradient gains `dy_n`, in the order of n.
    ///
    /// - Precondition: every id is a row of the table; callers check ids that come from outside.
    package func gatheringRows(_ ids: [Int32]) -> Tensor {
        let (c, rowCount) = (columns, rows)
        let result = Tensor(uninitialized: [ids.count, c])
        let y = result.pointer
        for (n, id) in ids.enumerated() {
            precondition(id >= 0 && id < rowCount, "gatheringRows: row \(id) of a table with \(rowCount)")
            if dtype == .bfloat16 {
                ckernels_f32_from_bf16(halves + Int(id) * c, y + n * c, c)
            } else {
                (y + n * c).update(from: pointer + Int(id) * c, count: c)
            }
        }
        return result.recorded([self], GatherOp(ids: ids, count: count, columns: c))
    }
}

extension Tensor {
    /// The columns of this matrix that `ids` name, as rows: `y_n = self[:, ids_n]`.
    ///
    /// Shapes: matrix `[r, V]`, result `[N, r]`. It is the low-rank factor of an embedding, which lies so on disk. Backward:
    /// column `ids_n` of the gradient gains `dy_n`, in the order of n.
    ///
    /// - Precondition: every id is a column of the matrix.
    package func gatheringColumns(_ ids: [Int32]) -> Tensor {
        let (height, width) = (rows, columns)
        let result = Tensor(uninitialized: [ids.count, height])
        let (matrix, y) = (pointer, result.pointer)
        for (n, id) in ids.enumerated() {
            precondition(id >= 0 && id < width, "gatheringColumns: column \(id) of \(width)")
            for row in 0..<height { y[n * height + row] = matrix[row * width + Int(id)] }
        }
        return result.recorded([self], GatherColumnsOp(ids: ids, rows: height, columns: width))
    }
}

private struct GatherColumnsOp: DifferentiableOp {
    let ids: [Int32]
    let rows: Int
    let columns: Int

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let dy = gradient.pointer
        inputs.accumulate(0) { matrix, isFirst in
            if isFirst { matrix.update(repeating: 0, count: rows * columns) }
            for (n, id) in ids.enumerated() {
                for row in 0..<rows { matrix[row * columns + Int(id)] += dy[n * rows + row] }
            }
        }
    }
}

private struct GatherOp: DifferentiableOp {
    let ids: [Int32]
    let count: Int
    let columns: Int

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let dy = gradient.pointer
        inputs.accumulate(0) { table, isFirst in
            if isFirst { table.update(repeating: 0, count: count) }
            for (n, id) in ids.enumerated() {
                ck_kernels().pointee.axpy(columns, 1, dy + n * columns, table + Int(id) * columns)
            }
        }
    }
}
