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
    /// How many keys a query sees at most, its own the last of them; all by default. Only with `isCausal`.
    package var window: Int?

    package init(sequences: [Sequence], isCausal: Bool) {
        self.sequences = sequences
        self.isCausal = isCausal
    }

    /// The same with a sliding window.
    ///
    /// - Precondition: the layout is causal.
    package func windowed(_ window: Int?) -> AttentionLayout {
        precondition(isCausal || window == nil, "a window needs a causal layout")
        var layout = self
        layout.window = window
        return layout
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
        tensor.pointer + place(row, head, size)
    }

    /// The same of what was rounded.
    func halves(_ row: Int, _ head: Int, _ size: Int) -> UnsafePointer<UInt16> {
        UnsafePointer(tensor.halves + place(row, head, size))
    }

    private func place(_ row: Int, _ head: Int, _ size: Int) -> Int { row * tensor.columns + column + head * size }
}

extension Tensor {
    /// Scaled dot-product attention with grouped heads (Vaswani et al. 2017; Ainslie et al. 2023, arXiv 2305.13245).
    ///
    /// `P = softmax(scale · Q Kᵀ + mask)`, `O = P V`, per sequence and head; query head h reads key/value head
    /// `h / (heads / keyValueHeads)`. With a cap the scores are `cap · tanh(scale · Q Kᵀ / cap)` (Gemma 2, arXiv 2408.00118).
    /// Shapes: query `[N, heads · D]`, key and value `[M, keyValueHeads · D]`, result
    /// `[N, heads · D]`. The weights P are made in tiles of query rows and never kept: backward makes them again from the log of
    /// each row's sum (Dao et al. 2022, arXiv 2205.14135), so memory is linear in the context.
    ///
    /// - Parameter products: the type to which the operands of all products are rounded; sums and softmax are single
    ///   precision either way.
    /// - Precondition: the shapes above; `heads` a multiple of `keyValueHeads`; the layout inside the rows.
    package static func attention(
        query: Tensor, key: Tensor, value: Tensor, heads: Int, keyValueHeads: Int, scale: Float, cap: Float? = nil,
        layout: AttentionLayout, products: DType = .float32
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
            AttentionShape(
                heads: heads, keyValueHeads: keyValueHeads, size: size, scale: scale, cap: cap, layout: layout,
                products: products))
    }

    /// The same for queries, keys and values side by side in one tensor `[N, (heads + 2 · keyValueHeads) · D]`, as GPT-2's
    /// `c_attn` and Phi-3's `qkv_proj` make them.
    package static func attention(
        fused: Tensor, heads: Int, keyValueHeads: Int? = nil, scale: Float, layout: AttentionLayout,
        products: DType = .float32
    ) -> Tensor {
        let keyValueHeads = keyValueHeads ?? heads
        let size = fused.columns / (heads + 2 * keyValueHeads)
        precondition(
            fused.columns == (heads + 2 * keyValueHeads) * size && heads % keyValueHeads == 0,
            "attention: fused \(fused.shape), \(heads) heads, \(keyValueHeads) key/value heads")
        let parts = [0, heads, heads + keyValueHeads].map {
            HeadColumns(tensor: fused, column: $0 * size, input: 0)
        }
        return attention(
            parts[0], parts[1], parts[2], inputs: [fused],
            AttentionShape(
                heads: heads, keyValueHeads: keyValueHeads, size: size, scale: scale, cap: nil, layout: layout,
                products: products))
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
        return output.recorded(inputs, op.kept())
    }
}

extension HeadColumns {
    fileprivate func detached() -> HeadColumns { HeadColumns(tensor: tensor.detached(), column: column, input: input) }
    fileprivate func kept() -> HeadColumns { HeadColumns(tensor: Kept(tensor).tensor, column: column, input: input) }

    /// `count` rows of a head as the right side of products.
    fileprivate func rows(
        _ products: AttentionProducts, _ row: Int, _ head: Int, _ size: Int, count: Int
    ) -> AttentionProducts.Rows {
        tensor.dtype == .bfloat16
            ? products.rows(rounded: halves(row, head, size), tensor.columns, count)
            : products.rows(pointer(row, head, size), tensor.columns, count)
    }

    /// `count` rows of a head as the left side, and how far apart they are: where they lie, or widened into `scratch`.
    fileprivate func left(
        _ row: Int, _ head: Int, _ size: Int, count: Int, _ scratch: UnsafeMutablePointer<Float>
    ) -> (UnsafePointer<Float>, stride: Int) {
        guard tensor.dtype == .bfloat16 else { return (UnsafePointer(pointer(row, head, size)), tensor.columns) }
        let start = halves(row, head, size)
        for row in 0..<count { ckernels_f32_from_bf16(start + row * tensor.columns, scratch + row * size, size) }
        return (UnsafePointer(scratch), size)
    }
}

/// The sizes of one attention.
private struct AttentionShape {
    let heads: Int
    let keyValueHeads: Int
    /// Elements of one head.
    let size: Int
    let scale: Float
    let cap: Float?
    let layout: AttentionLayout
    let products: DType

    /// Query rows whose weights are in memory at once, per thread: as many as the kernels of the products like.
    var tile: Int { products == .bfloat16 ? 70 : 64 }

    /// Query rows of a sequence and the keys that any of them sees, both counted within the sequence.
    struct Tile {
        let rows: Range<Int>
        let keys: Range<Int>
    }

    /// Calls `body` with each tile.
    func forEachTile(_ sequence: AttentionLayout.Sequence, _ body: (Tile) -> Void) {
        let count = sequence.queries.count
        for low in stride(from: 0, to: count, by: tile) {
            let high = min(low + tile, count)
            let first = visibleKeys(sequence, row: low).lowerBound
            body(Tile(rows: low..<high, keys: first..<visibleKeys(sequence, row: high - 1).upperBound))
        }
    }

    /// The keys of its sequence that query row `row` sees.
    func visibleKeys(_ sequence: AttentionLayout.Sequence, row: Int) -> Range<Int> {
        guard layout.isCausal else { return 0..<sequence.keys.count }
        let end = sequence.keys.count - sequence.queries.count + row + 1
        return max(0, end - (layout.window ?? end))..<end
    }

    /// Turns a row of products into weights, and everything outside `visible` into zero.
    ///
    /// - Parameters:
    ///   - visible: counted from the row's first element.
    ///   - logSum: known in the backward pass.
    /// - Returns: log Σ exp of the scores.
    @discardableResult func softmax(
        _ row: UnsafeMutablePointer<Float>, width: Int, visible: Range<Int>, logSum: Float? = nil
    ) -> Float {
        let kernels = ck_kernels().pointee
        let start = row + visible.lowerBound
        if let cap { kernels.soft_cap(visible.count, scale, cap, start) }
        let factor = cap == nil ? scale : 1
        row.update(repeating: 0, count: visible.lowerBound)
        guard let logSum else {
            return kernels.softmax_row(visible.count, width - visible.lowerBound, factor, start)
        }
        kernels.softmax_row_from_lse(visible.count, width - visible.lowerBound, factor, logSum, start)
        return logSum
    }
}

private struct AttentionOp: DifferentiableOp {
    let q: HeadColumns
    let k: HeadColumns
    let v: HeadColumns
    /// F32; BF16 where `q`, `k` and `v` are.
    let output: Tensor
    /// log Σ exp of every query row and head: `[N, heads]`.
    let logSums: Tensor
    let shape: AttentionShape

    /// The same for the backward pass. What products round to BF16 is kept so: they are none the worse for it.
    func kept() -> AttentionOp {
        guard shape.products == .bfloat16 else { return self }
        return AttentionOp(
            q: q.kept(), k: k.kept(), v: v.kept(), output: Kept(output).tensor, logSums: logSums, shape: shape)
    }

    /// Computes one head of one sequence into `output` and `logSums`.
    func forward(_ sequence: AttentionLayout.Sequence, head: Int) {
        let d = shape.size
        let kvHead = head / (shape.heads / shape.keyValueHeads)
        let products = AttentionProducts(shape.products, size: d)
        let keys = k.rows(products, sequence.keys.lowerBound, kvHead, d, count: sequence.keys.count)
        let values = v.rows(products, sequence.keys.lowerBound, kvHead, d, count: sequence.keys.count)
        let scratch = Storage(count: shape.tile * sequence.keys.count)
        withExtendedLifetime(scratch) {
            let p = scratch.pointer
            shape.forEachTile(sequence) { tile in
                let (rows, width) = (tile.rows, tile.keys.count)
                let first = sequence.queries.lowerBound + rows.lowerBound
                let firstKey = tile.keys.lowerBound
                products.multiply(
                    rows.count, width, d, q.pointer(first, head, d), q.tensor.columns, keys.dropping(firstKey),
                    transposed: true, p, width)
                for row in rows {
                    let index = row - rows.lowerBound
                    let visible = shape.visibleKeys(sequence, row: row).shifted(by: -firstKey)
                    logSums.pointer[(first + index) * shape.heads + head] = shape.softmax(
                        p + index * width, width: width, visible: visible)
                }
                products.multiply(
                    rows.count, d, width, p, width, values.dropping(firstKey), transposed: false,
                    output.pointer + first * output.columns + head * d, output.columns)
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
        let area = shape.tile * sequence.keys.count
        let products = AttentionProducts(shape.products, size: d)
        let allKeys = k.rows(products, sequence.keys.lowerBound, kvHead, d, count: sequence.keys.count)
        let allValues = v.rows(products, sequence.keys.lowerBound, kvHead, d, count: sequence.keys.count)
        // With a cap, its scores are needed beside the weights; then what was kept, as floats: queries, a row of output.
        let tiles = shape.cap == nil ? 2 : 3
        let scratch = Storage(count: tiles * area + (shape.tile + 1) * d)
        let out = Kept(asItIs: output)
        withExtendedLifetime(scratch) {
            let (p, ds) = (scratch.pointer, scratch.pointer + area)
            let queryScratch = scratch.pointer + tiles * area, outScratch = queryScratch + shape.tile * d
            for head in kvHead * group..<(kvHead + 1) * group {
                shape.forEachTile(sequence) { tile in
                    let (n, seen) = (tile.rows.count, tile.keys.count)
                    let first = sequence.queries.lowerBound + tile.rows.lowerBound
                    let firstKey = sequence.keys.lowerBound + tile.keys.lowerBound
                    let keys = allKeys.dropping(tile.keys.lowerBound), values = allValues.dropping(tile.keys.lowerBound)
                    let (dKeys, dValues) = (dk.pointer(firstKey, kvHead, d), dv.pointer(firstKey, kvHead, d))
                    let queries = q.rows(products, first, head, d, count: n)
                    let (query, queryStride) = q.left(first, head, d, count: n, queryScratch)
                    let dOut = gradient.pointer + first * width + head * d
                    let dOutRows = products.rows(dOut, width, n)
                    products.multiply(n, seen, d, query, queryStride, keys, transposed: true, p, seen)
                    products.multiply(n, seen, d, dOut, width, values, transposed: true, ds, seen)
                    for index in 0..<n {
                        let kernels = ck_kernels().pointee
                        let row = p + index * seen, dRow = ds + index * seen
                        let visible = shape.visibleKeys(sequence, row: tile.rows.lowerBound + index)
                            .shifted(by: -tile.keys.lowerBound)
                        var capped: UnsafeMutablePointer<Float>?
                        if let cap = shape.cap {
                            let scores = scratch.pointer + 2 * area
                            scores.update(from: row, count: seen)
                            kernels.soft_cap(seen, shape.scale, cap, scores)
                            capped = scores
                        }
                        shape.softmax(
                            row, width: seen, visible: visible,
                            logSum: logSums.pointer[(first + index) * shape.heads + head])
                        let place = (first + index) * width + head * d
                        let delta = kernels.dot(
                            d, dOut + index * width, out.floats(place..<place + d, outScratch))
                        kernels.softmax_row_backward(seen, shape.scale, delta, row, dRow, dRow)
                        if let cap = shape.cap, let capped { kernels.soft_cap_backward(seen, cap, capped, dRow) }
                    }
                    products.addTransposed(seen, d, n, p, seen, dOutRows, dValues, dv.tensor.columns)
                    products.multiply(
                        n, d, seen, ds, seen, keys, transposed: false, dq.pointer(first, head, d), dq.tensor.columns)
                    products.addTransposed(seen, d, n, ds, seen, queries, dKeys, dk.tensor.columns)
                }
            }
        }
    }
}

extension Range<Int> {
    fileprivate func shifted(by distance: Int) -> Range<Int> { lowerBound + distance..<upperBound + distance }
}
