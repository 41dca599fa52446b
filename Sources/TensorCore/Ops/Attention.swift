import CKernels
import Glibc

extension Tensor {
    /// Scaled dot-product attention with grouped heads (Vaswani et al. 2017; Ainslie et al. 2023, arXiv 2305.13245).
    ///
    /// `P = softmax(scale · Q Kᵀ + mask)`, `O = P V`, per sequence and head; query head h reads key/value head
    /// `h / (heads / keyValueHeads)`. With a cap the scores are `cap · tanh(scale · Q Kᵀ / cap)` (Gemma 2, arXiv 2408.00118).
    /// Shapes: query `[N, heads · D]`, key and value `[M, keyValueHeads · D]`, result
    /// `[N, heads · D]`. The weights P are made in pieces (``AttentionBlock``) and never kept: the result is the sum of what
    /// pieces give, each against the largest score so far, divided at the end; backward makes the weights again from the log
    /// of each row's sum (Dao et al. 2022, arXiv 2205.14135). So memory is linear in the context.
    ///
    /// - Parameter products: the type to which the operands of all products are rounded, the weights before they are divided
    ///   by their sum in the forward pass; sums and softmax are single precision either way.
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
        let heads = shape.layout.sequences.count * shape.heads
        let parts = shape.parts(of: heads, most: shape.mostBlocks)
        Parallel.forEachItem(heads * parts) { item in
            let (part, head) = (item % parts, item / parts)
            op.forward(shape.layout.sequences[head / shape.heads], head: head % shape.heads, part: part, of: parts)
        }
        return output.recorded(inputs, op.kept())
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

    /// Blocks of the longest sequence.
    var mostBlocks: Int {
        let height = AttentionBlock.heights(products).block
        return layout.sequences.reduce(1) { max($0, ($1.queries.count + height - 1) / height) }
    }

    /// Into how many parts heads are cut so that all threads have as much to do: a few of them may leave one idle for half
    /// of the time.
    func parts(of heads: Int, most: Int) -> Int {
        let threads = Parallel.threadCount
        guard heads < 8 * threads, let parts = (1...threads).first(where: { heads * $0 % threads == 0 }) else {
            return 1
        }
        return min(parts, most)
    }

    /// What a row of a piece sees, counted from the piece's first key; empty where that is nothing.
    func visible(_ sequence: AttentionLayout.Sequence, row: Int, in keys: Range<Int>) -> Range<Int> {
        layout.visibleKeys(sequence, row: row).clamped(to: keys).shifted(by: -keys.lowerBound)
    }

    /// Caps what is visible of a row of products, if there is a cap.
    ///
    /// - Returns: the factor that scores still lack.
    func capped(_ scores: UnsafeMutablePointer<Float>, count: Int) -> Float {
        guard let cap else { return scale }
        ck_kernels().pointee.soft_cap(count, scale, cap, scores)
        return 1
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

    /// Computes every block of one head of one sequence that belongs to a part into `output` and `logSums`.
    func forward(_ sequence: AttentionLayout.Sequence, head: Int, part: Int, of parts: Int) {
        let blocks = shape.layout.blocks(sequence, shape.products).enumerated().filter { $0.offset % parts == part }
            .map(\.element)
        guard let height = blocks.first?.rows.count else { return }
        let kernels = ck_kernels().pointee
        let (d, stride) = (shape.size, output.columns)
        let kvHead = head / (shape.heads / shape.keyValueHeads)
        let products = AttentionProducts(shape.products, size: d)
        let keys = k.rows(products, sequence.keys.lowerBound, kvHead, d, count: sequence.keys.count)
        let values = v.rows(products, sequence.keys.lowerBound, kvHead, d, count: sequence.keys.count)
        // Scores of a piece, and of every row the largest so far and the sum that belongs to it.
        let area = blocks.reduce(0) { max($0, $1.area) }
        let scratch = Storage(count: area + 2 * height)
        withExtendedLifetime(scratch) {
            let (p, maxima, sums) = (scratch.pointer, scratch.pointer + area, scratch.pointer + area + height)
            for block in blocks {
                let first = sequence.queries.lowerBound + block.rows.lowerBound
                let out = output.pointer + first * stride + head * d
                maxima.update(repeating: -.infinity, count: block.rows.count)
                sums.update(repeating: 0, count: block.rows.count)
                for piece in block.pieces {
                    let (rows, width) = (piece.rows, piece.keys.count)
                    let low = rows.lowerBound - block.rows.lowerBound
                    products.multiply(
                        rows.count, width, d, q.pointer(first + low, head, d), q.tensor.columns,
                        keys.dropping(piece.keys.lowerBound), transposed: true, p, width)
                    for index in 0..<rows.count {
                        let visible = shape.visible(sequence, row: rows.lowerBound + index, in: piece.keys)
                        let row = p + index * width, start = row + visible.lowerBound
                        row.update(repeating: 0, count: visible.lowerBound)
                        let factor = kernels.softmax_stretch(
                            visible.count, width - visible.lowerBound, shape.capped(start, count: visible.count),
                            maxima + low + index, sums + low + index, start)
                        guard !piece.isFirst, factor != 1 else { continue }
                        let y = out + (low + index) * stride
                        kernels.scale(d, factor, y, y)
                    }
                    products.multiply(
                        rows.count, d, width, p, width, values.dropping(piece.keys.lowerBound), transposed: false,
                        adds: !piece.isFirst, out + low * stride, stride)
                }
                let factor = shape.cap == nil ? shape.scale : 1
                for index in 0..<block.rows.count {
                    let y = out + index * stride
                    kernels.scale(d, 1 / sums[index], y, y)
                    logSums.pointer[(first + index) * shape.heads + head] = maxima[index] * factor + log(sums[index])
                }
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
        // A thread owns a key/value head of a sequence, and with it every query head that reads it; where that would leave
        // others idle, a part of it, and the parts' gradients of keys and values are added up in their order.
        let heads = shape.layout.sequences.count * shape.keyValueHeads
        let parts = shape.parts(of: heads, most: shape.mostBlocks * (shape.heads / shape.keyValueHeads))
        func zeros() -> HeadColumns {
            HeadColumns(tensor: Tensor(zeros: [k.tensor.rows, shape.keyValueHeads * shape.size]), column: 0, input: 0)
        }
        let sums = [(dk, dv)] + (1..<parts).map { _ in (zeros(), zeros()) }
        Parallel.forEachItem(heads * parts) { item in
            let (part, head) = (item % parts, item / parts)
            let (dk, dv) = sums[part]
            backward(
                shape.layout.sequences[head / shape.keyValueHeads], kvHead: head % shape.keyValueHeads, part: part,
                of: parts, gradient, dq, dk, dv)
        }
        for (dKeys, dValues) in sums.dropFirst() {
            for (part, sum) in [(dKeys, dk), (dValues, dv)] {
                Parallel.forEachRange(part.tensor.rows, grain: 8) { rows in
                    let kernels = ck_kernels().pointee
                    for row in rows {
                        kernels.axpy(part.tensor.columns, 1, part.pointer(row, 0, 0), sum.pointer(row, 0, 0))
                    }
                }
            }
        }
        for (input, tensor) in gradients where inputs.needs(input) { inputs.add(tensor, to: input) }
    }

    /// `dV += Pᵀ dO`, `dP = dO Vᵀ`, `dS = P (dP − Σ dO·O) · scale`, `dQ += dS K`, `dK += dSᵀ Q`, piece by piece.
    private func backward(
        _ sequence: AttentionLayout.Sequence, kvHead: Int, part: Int, of parts: Int, _ gradient: Tensor,
        _ dq: HeadColumns, _ dk: HeadColumns, _ dv: HeadColumns
    ) {
        let kernels = ck_kernels().pointee
        let d = shape.size
        let group = shape.heads / shape.keyValueHeads
        let stride = output.columns
        let products = AttentionProducts(shape.products, size: d)
        let allKeys = k.rows(products, sequence.keys.lowerBound, kvHead, d, count: sequence.keys.count)
        let allValues = v.rows(products, sequence.keys.lowerBound, kvHead, d, count: sequence.keys.count)
        let blocks = shape.layout.blocks(sequence, shape.products)
        let height = blocks.first?.rows.count ?? 0, area = blocks.reduce(0) { max($0, $1.area) }
        // Weights and their gradients; with a cap, a row of capped scores; Σ dO·O of every row; then what was kept, as
        // floats: queries, a row of output.
        let scratch = Storage(count: 2 * area + (shape.cap == nil ? 0 : area) + height + (height + 1) * d)
        let out = Kept(asItIs: output)
        withExtendedLifetime(scratch) {
            let (p, ds, scores) = (scratch.pointer, scratch.pointer + area, scratch.pointer + 2 * area)
            let deltas = scores + (shape.cap == nil ? 0 : area)
            let queryScratch = deltas + height, outScratch = queryScratch + height * d
            for head in kvHead * group..<(kvHead + 1) * group {
                let before = head % group * blocks.count
                for (number, block) in blocks.enumerated() where (before + number) % parts == part {
                    let first = sequence.queries.lowerBound + block.rows.lowerBound
                    let queries = q.rows(products, first, head, d, count: block.rows.count)
                    let (query, queryStride) = q.left(first, head, d, count: block.rows.count, queryScratch)
                    let dOut = gradient.pointer + first * stride + head * d
                    let dOutRows = products.rows(dOut, stride, block.rows.count)
                    for index in 0..<block.rows.count {
                        let place = (first + index) * stride + head * d
                        deltas[index] = kernels.dot(d, dOut + index * stride, out.floats(place..<place + d, outScratch))
                    }
                    for piece in block.pieces {
                        let (n, seen) = (piece.rows.count, piece.keys.count)
                        let low = piece.rows.lowerBound - block.rows.lowerBound
                        let firstKey = sequence.keys.lowerBound + piece.keys.lowerBound
                        let keys = allKeys.dropping(piece.keys.lowerBound)
                        let values = allValues.dropping(piece.keys.lowerBound)
                        products.multiply(
                            n, seen, d, query + low * queryStride, queryStride, keys, transposed: true, p, seen)
                        products.multiply(n, seen, d, dOut + low * stride, stride, values, transposed: true, ds, seen)
                        for index in 0..<n {
                            let row = p + index * seen, dRow = ds + index * seen
                            let visible = shape.visible(
                                sequence, row: piece.rows.lowerBound + index, in: piece.keys)
                            let start = row + visible.lowerBound
                            row.update(repeating: 0, count: visible.lowerBound)
                            let scale = shape.capped(start, count: visible.count)
                            if shape.cap != nil { scores.update(from: row, count: seen) }
                            kernels.softmax_row_from_lse(
                                visible.count, seen - visible.lowerBound, scale,
                                logSums.pointer[(first + low + index) * shape.heads + head], start)
                            kernels.softmax_row_backward(seen, shape.scale, deltas[low + index], row, dRow, dRow)
                            if let cap = shape.cap { kernels.soft_cap_backward(seen, cap, scores, dRow) }
                        }
                        products.addTransposed(
                            seen, d, n, p, seen, dOutRows.dropping(low), dv.pointer(firstKey, kvHead, d),
                            dv.tensor.columns)
                        products.multiply(
                            n, d, seen, ds, seen, keys, transposed: false, adds: true,
                            dq.pointer(first + low, head, d), dq.tensor.columns)
                        products.addTransposed(
                            seen, d, n, ds, seen, queries.dropping(low), dk.pointer(firstKey, kvHead, d),
                            dk.tensor.columns)
                    }
                }
            }
        }
    }
}

extension Range<Int> {
    fileprivate func shifted(by distance: Int) -> Range<Int> { lowerBound + distance..<upperBound + distance }
}
