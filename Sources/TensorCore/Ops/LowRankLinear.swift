import CKernels

/// What an adapter of low rank adds to a linear map; see ``Tensor/linear(_:bias:layout:lowRank:)``.
package struct LowRankUpdate {
    /// What the adapter sees: the map's own input, or that with dropout.
    package let input: Tensor
    /// `[r, in]`.
    package let a: Tensor
    /// `[out, r]`.
    package let b: Tensor
    package let scale: Float

    package init(input: Tensor, a: Tensor, b: Tensor, scale: Float) {
        self.input = input
        self.a = a
        self.b = b
        self.scale = scale
    }
}

extension Tensor {
    /// A frozen affine map with a trained update of low rank (Hu et al. 2021, arXiv 2106.09685):
    /// `y = x Wᵀ + b + s · (z Aᵀ) Bᵀ`, where `z` is `x` itself or `x` with dropout.
    ///
    /// Shapes: `x`, `z` `[N, in]`, `W [out, in]` or `[in, out]` by `layout`, `A [r, in]`, `B [out, r]`, result `[N, out]`. With
    /// `h = s · z Aᵀ` and `u = s · dy B`, both `[N, r]`, backward is `dB = dyᵀ h`, `dA = uᵀ z`, `dz = u A` and
    /// `dx = dy W`, which takes `u A` along when `z` is `x`. Adding `h Bᵀ` and `u A` is part of the large products, so that
    /// results of full size are written once. The thin products have kernels of their own, since BLAS packs
    /// operands that are read once.
    ///
    /// - Precondition: the shapes above; neither weight nor bias is trained.
    package func linear(
        _ weight: Tensor, bias: Tensor?, layout: WeightLayout, lowRank update: LowRankUpdate
    ) -> Tensor {
        let (a, b, input) = (update.a, update.b, update.input)
        let (rank, inputs, outputs) = (a.rows, columns, b.rows)
        precondition(
            weight.shape == (layout == .outputByInput ? [outputs, inputs] : [inputs, outputs]) && a.columns == inputs
                && b.columns == rank && input.shape == shape && bias.map { $0.count == outputs } ?? true,
            "linear: input \(shape) and \(input.shape), weight \(weight.shape) \(layout), A \(a.shape), B \(b.shape)")
        precondition(
            !weight.requiresGradient && bias?.requiresGradient != true, "linear: an update of a map that is trained")
        let factors = LowRankFactors(a, b, scale: update.scale)
        let h = factors.down(input)
        let result = Tensor(uninitialized: Array(shape.dropLast()) + [outputs])
        Gemm.multiply(
            rows, outputs, inputs, pointer, lda: inputs, weight: weight, transposed: layout == .outputByInput, beta: 0,
            result.pointer, ldc: outputs, adding: LowRankAddend(left: h, right: factors.transposedB))
        if let bias {
            let (y, b) = (result.pointer, bias.pointer)
            Parallel.forEachRange(rows, grain: 16) { range in
                ck_kernels().pointee.add_row(range.count, outputs, b, y + range.lowerBound * outputs)
            }
        }
        return result.recorded(
            [self, input, a, b],
            LowRankLinearOp(
                input: a.requiresGradient ? Kept(input) : nil, h: h, weight: weight.detached(), factors: factors,
                isOneInput: input.node === node, inputs: inputs, outputs: outputs, rank: rank, layout: layout))
    }
}

/// The factors of an update, filled up with zeros to the ranks that kernels take at a time.
private struct LowRankFactors {
    let scale: Float
    /// `[R, in]` with R the rank rounded up.
    let a: Tensor
    /// `Bᵀ [R, out]`.
    let transposedB: Tensor

    init(_ a: Tensor, _ b: Tensor, scale: Float) {
        self.scale = scale
        let ranks = Int(CK_RANKS), rank = a.rows, padded = (rank + ranks - 1) / ranks * ranks
        if padded == rank {
            self.a = a.detached()
        } else {
            self.a = Tensor(zeros: [padded, a.columns])
            self.a.pointer.update(from: a.pointer, count: a.count)
        }
        transposedB = Tensor(zeros: [padded, b.rows])
        let (from, to, outputs) = (b.pointer, transposedB.pointer, b.rows)
        for row in 0..<outputs { for index in 0..<rank { to[index * outputs + row] = from[row * rank + index] } }
    }

    /// `s · z Aᵀ`: `[N, R]`.
    func down(_ z: Tensor) -> Tensor { Self.down(z, a, scale) }

    /// `s · dy B`: `[N, R]`.
    func up(_ dy: Tensor) -> Tensor { Self.down(dy, transposedB, scale) }

    private static func down(_ x: Tensor, _ matrix: Tensor, _ scale: Float) -> Tensor {
        let (k, rank) = (x.columns, matrix.rows)
        let result = Tensor(uninitialized: [x.rows, rank])
        let (from, factor, to) = (x.pointer, matrix.pointer, result.pointer)
        Parallel.forEachRange(x.rows, grain: 8) { range in
            ck_kernels().pointee.low_rank_down(
                range.count, k, rank, scale, from + range.lowerBound * k, factor, to + range.lowerBound * rank)
        }
        return withExtendedLifetime((x, matrix)) { result }
    }
}

private struct LowRankLinearOp: DifferentiableOp {
    /// `nil` when A is not trained.
    let input: Kept?
    let h: Tensor
    let weight: Tensor
    let factors: LowRankFactors
    /// Whether the map and its update have the same input, so that their gradients are one.
    let isOneInput: Bool
    let inputs: Int
    let outputs: Int
    let rank: Int
    let layout: WeightLayout

    func backward(_ gradient: Tensor, into sinks: GradientSinks) {
        let u = factors.up(gradient)
        if sinks.needs(0) {
            sinks.accumulate(0) { dx, isFirst in
                Gemm.multiply(
                    gradient.rows, inputs, outputs, gradient.pointer, lda: outputs, weight: weight,
                    transposed: layout == .inputByOutput, beta: isFirst ? 0 : 1, dx, ldc: inputs,
                    adding: isOneInput ? LowRankAddend(left: u, right: factors.a) : nil)
            }
        }
        if !isOneInput, sinks.needs(1) {
            sinks.accumulate(1) { dz, isFirst in
                if isFirst { dz.update(repeating: 0, count: gradient.rows * inputs) }
                LowRankAddend(left: u, right: factors.a).add(to: dz, rows: gradient.rows, columns: inputs)
            }
        }
        if let input, sinks.needs(2) { addGradient(of: input, times: u, to: 2, sinks, isTransposed: false) }
        if sinks.needs(3) { addGradient(of: Kept(asItIs: gradient), times: h, to: 3, sinks, isTransposed: true) }
    }

    /// Adds `leftᵀ x`, or its transpose, without the rows that fill up the rank.
    private func addGradient(
        of x: Kept, times left: Tensor, to index: Int, _ sinks: GradientSinks, isTransposed: Bool
    ) {
        let (n, ranks) = (x.columns, left.columns)
        let product = Tensor(zeros: [ranks, n])
        let (u, g) = (left.pointer, product.pointer)
        Parallel.forEachRange(n, grain: 32) { columns in
            x.forEachBlock(columns: columns) { rows, v, stride in
                ck_kernels().pointee.low_rank_gradient(
                    rows.count, columns.count, ranks, u + rows.lowerBound * ranks, v, stride, g + columns.lowerBound, n)
            }
        }
        sinks.accumulate(index) { gradient, isFirst in
            for row in 0..<rank {
                for column in 0..<n {
                    let place = isTransposed ? column * rank + row : row * n + column
                    gradient[place] = (isFirst ? 0 : gradient[place]) + g[row * n + column]
                }
            }
        }
        withExtendedLifetime((x, left, product)) {}
    }
}
