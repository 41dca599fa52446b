import CKernels

/// Which rows of a batch attend to which: sequences lie one after another without padding.
package struct AttentionLayout {
    /// One sequence: its query rows, and the key rows it sees.
    package struct Sequence {
        package let queries: Range<Int>
        package let keys: Range<Int>

        package init(queries: Range<Int>, keys: Range<Int>) {
            self.queries = queries
            self.keys = keys
        }
    }

    package let sequences: [Sequence]
    /// Whether the last query sees every key of its sequence, the one before it all but one, and so on.
    package let isCausal: Bool

    package init(sequences: [Sequence], isCausal: Bool) {
        self.sequences = sequences
        self.isCausal = isCausal
    }

    /// Sequences that attend within themselves.
    package init(rows: [Range<Int>], isCausal: Bool) {
        self.init(sequences: rows.map { Sequence(queries: $0, keys: $0) }, isCausal: isCausal)
    }
}

/// The heads of one operand of attention: columns of a tensor `[N, …]`.
private struct HeadColumns {
    let tensor: Tensor
    /// First column of head 0.
    let column: Int
    /// Which input of the op the tensor is.
    let input: Int

    /// The first element of `row` in head `head`.
    func pointer(_ row: Int, _ head: Int, _ size: Int) -> UnsafeMutablePointer<Float> {
        tensor.pointer + row * tensor.columns + column + head * size
    }
}

extension Tensor {
    /// Scaled dot-product attention with grouped heads (Vaswani et al. 2017; Ainslie et al. 2023, arXiv 2305.13245).
    ///
    /// `P = softmax(scale · Q Kᵀ + mask)`, `O = P V`, per sequence and head; query head h reads key/value head
    /// `h / (heads / keyValueHeads)`. Shapes: query `[N, heads · D]`, key and value `[M, keyValueHeads · D]`, result
    /// `[N, heads · D]`. The weights P are made in tiles of query rows and never kept: backward makes them again from the log of
    /// each row's sum (Dao et al. 2022, arXiv 2205.14135), so memory is linear in the context.
    ///
    /// - Precondition: the shapes above; `heads` a multiple of `keyValueHeads`; the layout inside the rows.
    package static func attention(
        query: Tensor, key: Tensor, value: Tensor, heads: Int, keyValueHeads: Int, scale: Float, layout: AttentionLayout
    ) -> Tensor {
        let size = query.columns / heads
        precondition(
            heads % keyValueHeads == 0 && query.columns == heads * size && key.columns == keyValueHeads * size
                && value.shape == key.shape,
            "attention: query \(query.shape) of \(heads) heads, key \(key.shape), value \(value.shape) of \(keyValueHeads)"
        )
        return attention(
            HeadColumns(tensor: query, column: 0, input: 0), HeadColumns(tensor: key, column: 0, input: 1),
            HeadColumns(tensor: value, column: 0, input: 2), inputs: [query, key, value],
            AttentionShape(heads: heads, keyValueHeads: keyValueHeads, size: size, scale: scale, layout: layout))
    }

    /// The same for queries, keys and values side by side in one tensor `[N, 3 · heads · D]`, as GPT-2's `c_attn` makes them.
    package static func attention(fused: Tensor, heads: Int, scale: Float, layout: AttentionLayout) -> Tensor {
        let width = fused.columns / 3
        precondition(
            fused.columns == 3 * width && width % heads == 0, "attention: fused \(fused.shape), \(heads) heads")
        let parts = (0..<3).map { HeadColumns(tensor: fused, column: $0 * width, input: 0) }
        return attention(
            parts[0], parts[1], parts[2], inputs: [fused],
            AttentionShape(heads: heads, keyValueHeads: heads, size: width / heads, scale: scale, layout: layout))
    }

    private static func attention(
        _ q: HeadColumns, _ k: HeadColumns, _ v: HeadColumns, inputs: [Tensor], _ shape: AttentionShape
    ) -> Tensor {
        let rows = q.tensor.rows
        let output = Tensor(uninitialized: [rows, shape.heads * shape.size])
        let logSums = Tensor(uninitialized: [rows, shape.heads])
        let op = AttentionOp(
            q: q.detached(), k: k.detached(), v: v.detached(), output: output, logSums: logSums, shape: shape)
        let groups = shape.layout.sequences.count * shape.heads
        Parallel.forEachItem(groups) { item in
            op.forward(shape.layout.sequences[item / shape.heads], head: item % shape.heads)
        }
        return output.recorded(inputs, op)
    }
}

extension HeadColumns {
    fileprivate func detached() -> HeadColumns { HeadColumns(tensor: tensor.detached(), column: column, input: input) }
}

/// The sizes of one attention.
private struct AttentionShape {
    let heads: Int
    let keyValueHeads: Int
    /// Elements of one head.
    let size: Int
    let scale: Float
    let layout: AttentionLayout

    /// Query rows whose weights are in memory at once, per thread.
    static let tile = 64

    /// Calls `body` with each tile of query rows (counted within the sequence) and how many keys its last row sees.
    func forEachTile(_ sequence: AttentionLayout.Sequence, _ body: (_ rows: Range<Int>, _ keys: Int) -> Void) {
        let count = sequence.queries.count
        for low in stride(from: 0, to: count, by: Self.tile) {
            let high = min(low + Self.tile, count)
            body(low..<high, visibleKeys(sequence, row: high - 1))
        }
    }

    /// How many keys of its sequence query row `row` sees.
    func visibleKeys(_ sequence: AttentionLayout.Sequence, row: Int) -> Int {
        layout.isCausal ? sequence.keys.count - sequence.queries.count + row + 1 : sequence.keys.count
    }
}

private struct AttentionOp: DifferentiableOp {
    let q: HeadColumns
    let k: HeadColumns
    let v: HeadColumns
    let output: Tensor
    /// log Σ exp of every query row and head: `[N, heads]`.
    let logSums: Tensor
    let shape: AttentionShape

    /// Computes one head of one sequence into `output` and `logSums`.
    func forward(_ sequence: AttentionLayout.Sequence, head: Int) {
        let d = shape.size
        let kvHead = head / (shape.heads / shape.keyValueHeads)
        let keys = k.pointer(sequence.keys.lowerBound, kvHead, d)
        let values = v.pointer(sequence.keys.lowerBound, kvHead, d)
        let scratch = Storage(count: AttentionShape.tile * sequence.keys.count)
        withExtendedLifetime(scratch) {
            let p = scratch.pointer
            shape.forEachTile(sequence) { rows, width in
                let first = sequence.queries.lowerBound + rows.lowerBound
                Gemm.single(
                    rows.count, width, d, 1, q.pointer(first, head, d), q.tensor.columns, false,
                    keys, k.tensor.columns, true, 0, p, width)
                for row in rows {
                    let index = row - rows.lowerBound
                    logSums.pointer[(first + index) * shape.heads + head] = ck_kernels().pointee.softmax_row(
                        shape.visibleKeys(sequence, row: row), width, shape.scale, p + index * width)
                }
                Gemm.single(
                    rows.count, d, width, 1, p, width, false, values, v.tensor.columns, false,
                    0, output.pointer + first * output.columns + head * d, output.columns)
            }
        }
    }

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        // One buffer per distinct input; queries, keys and values of a fused tensor are column ranges of one. Rows that no
        // sequence reaches get zero.
        var gradients: [Int: Tensor] = [:]
        for part in [q, k, v] where gradients[part.input] == nil {
            gradients[part.input] = Tensor(zeros: part.tensor.shape)
        }
        func columns(_ part: HeadColumns) -> HeadColumns {
            HeadColumns(tensor: gradients[part.input] ?? part.tensor, column: part.column, input: part.input)
        }
        let (dq, dk, dv) = (columns(q), columns(k), columns(v))
        // A thread owns a key/value head of a sequence, and with it every query head that reads it.
        Parallel.forEachItem(shape.layout.sequences.count * shape.keyValueHeads) { item in
            let sequence = shape.layout.sequences[item / shape.keyValueHeads]
            backward(sequence, kvHead: item % shape.keyValueHeads, gradient, dq, dk, dv)
        }
        for (input, tensor) in gradients where inputs.needs(input) { inputs.add(tensor, to: input) }
    }

    /// `dV += Pᵀ dO`, `dP = dO Vᵀ`, `dS = P (dP − Σ dO·O) · scale`, `dQ = dS K`, `dK += dSᵀ Q`, tile by tile.
    private func backward(
        _ sequence: AttentionLayout.Sequence, kvHead: Int, _ gradient: Tensor,
        _ dq: HeadColumns, _ dk: HeadColumns, _ dv: HeadColumns
    ) {
        let d = shape.size
        let group = shape.heads / shape.keyValueHeads
        let width = output.columns
        let firstKey = sequence.keys.lowerBound
        let (keys, values) = (k.pointer(firstKey, kvHead, d), v.pointer(firstKey, kvHead, d))
        let (dKeys, dValues) = (dk.pointer(firstKey, kvHead, d), dv.pointer(firstKey, kvHead, d))
        let area = AttentionShape.tile * sequence.keys.count
        let scratch = Storage(count: 2 * area)
        withExtendedLifetime(scratch) {
            let (p, ds) = (scratch.pointer, scratch.pointer + area)
            for head in kvHead * group..<(kvHead + 1) * group {
                shape.forEachTile(sequence) { rows, seen in
                    let first = sequence.queries.lowerBound + rows.lowerBound
                    let n = rows.count
                    let queries = q.pointer(first, head, d)
                    let dOut = gradient.pointer + first * width + head * d
                    let out = output.pointer + first * width + head * d
                    Gemm.single(
                        n, seen, d, 1, queries, q.tensor.columns, false, keys, k.tensor.columns, true, 0, p, seen)
                    Gemm.single(n, seen, d, 1, dOut, width, false, values, v.tensor.columns, true, 0, ds, seen)
                    for index in 0..<n {
                        let kernels = ck_kernels().pointee
                        let visible = shape.visibleKeys(sequence, row: rows.lowerBound + index)
                        kernels.softmax_row_from_lse(
                            visible, seen, shape.scale, logSums.pointer[(first + index) * shape.heads + head],
                            p + index * seen)
                        let delta = kernels.dot(d, dOut + index * width, out + index * width)
                        kernels.softmax_row_backward(
                            seen, shape.scale, delta, p + index * seen, ds + index * seen, ds + index * seen)
                    }
                    Gemm.single(seen, d, n, 1, p, seen, true, dOut, width, false, 1, dValues, dv.tensor.columns)
                    Gemm.single(
                        n, d, seen, 1, ds, seen, false, keys, k.tensor.columns, false,
                        0, dq.pointer(first, head, d), dq.tensor.columns)
                    Gemm.single(
                        seen, d, n, 1, ds, seen, true, queries, q.tensor.columns, false, 1, dKeys, dk.tensor.columns)
                }
            }
        }
    }
}
