import CKernels

extension Tensor {
    /// The rows of this table that `ids` name: `y_n = table[ids_n]`.
    ///
    /// Shapes: table `[V, C]`, result `[N, C]`. Backward: row `ids_n` of the table's gradient gains `dy_n`, in the order of n.
    ///
    /// - Precondition: every id is a row of the table; callers check ids that come from outside.
    package func gatheringRows(_ ids: [Int32]) -> Tensor {
        let (c, rowCount) = (columns, rows)
        let result = Tensor(uninitialized: [ids.count, c])
        let (table, y) = (pointer, result.pointer)
        for (n, id) in ids.enumerated() {
            precondition(id >= 0 && id < rowCount, "gatheringRows: row \(id) of a table with \(rowCount)")
            (y + n * c).update(from: table + Int(id) * c, count: c)
        }
        return result.recorded([self], GatherOp(ids: ids, count: count, columns: c))
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
