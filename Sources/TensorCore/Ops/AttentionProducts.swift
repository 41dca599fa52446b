import CKernels

/// The matrix products of one head of attention on the calling thread, in single precision or of operands rounded to bf16.
struct AttentionProducts {
    /// Rows of one head, the right side of products.
    enum Rows {
        /// As they lie, for products in single precision.
        case floats(UnsafePointer<Float>, stride: Int)
        /// Dense, from row `first`.
        case rounded(Storage, first: Int)

        /// The same without the first `count` rows.
        func dropping(_ count: Int) -> Rows {
            switch self {
            case .floats(let start, let stride): .floats(start + count * stride, stride: stride)
            case .rounded(let rows, let first): .rounded(rows, first: first + count)
            }
        }
    }

    /// Elements of a row of a head.
    private let size: Int
    /// What the kernels of bf16 work in.
    private let scratch: Scratch?

    private final class Scratch {
        let memory: UnsafeMutableRawPointer
        private let size: Int

        init() { (memory, size) = BufferPool.take(Int(CK_BF16_SCRATCH)) }
        deinit { BufferPool.give(memory, size) }
    }

    init(_ type: DType, size: Int) {
        self.size = size
        scratch = type == .bfloat16 ? Scratch() : nil
    }

    /// Rows that will be the right side of products.
    func rows(_ floats: UnsafePointer<Float>, _ stride: Int, _ count: Int) -> Rows {
        guard scratch != nil else { return .floats(floats, stride: stride) }
        let rows = Storage(count: count * size, dtype: .bfloat16)
        ck_kernels().pointee.round_rows_bf16(count, size, floats, stride, rows.halves)
        return .rounded(rows, first: 0)
    }

    /// The same of rows that are rounded already, for products of bf16.
    func rows(rounded halves: UnsafePointer<UInt16>, _ stride: Int, _ count: Int) -> Rows {
        let rows = Storage(count: count * size, dtype: .bfloat16)
        for row in 0..<count { (rows.halves + row * size).update(from: halves + row * stride, count: size) }
        return .rounded(rows, first: 0)
    }

    /// `C [m×n] = A [m×k] · R`, or `A · Rᵀ` when `transposed`; added to what is there when `adds`.
    func multiply(
        _ m: Int, _ n: Int, _ k: Int, _ a: UnsafePointer<Float>, _ lda: Int, _ right: Rows, transposed: Bool,
        adds: Bool = false, _ c: UnsafeMutablePointer<Float>, _ ldc: Int
    ) {
        switch right {
        case .floats(let b, let stride):
            Gemm.single(m, n, k, 1, a, lda, false, b, stride, transposed, adds ? 1 : 0, c, ldc)
        case .rounded(let rows, let first):
            ck_bf16_product(
                m, n, k, 1, a, lda, 0, rows.halves + first * size, size, transposed ? 1 : 0, adds ? 1 : 0, c,
                ldc, nil,
                scratch?.memory)
        }
    }

    /// `C [m×n] += Aᵀ · R` for `A [k×m]`.
    func addTransposed(
        _ m: Int, _ n: Int, _ k: Int, _ a: UnsafePointer<Float>, _ lda: Int, _ right: Rows,
        _ c: UnsafeMutablePointer<Float>, _ ldc: Int
    ) {
        switch right {
        case .floats(let b, let stride): Gemm.single(m, n, k, 1, a, lda, true, b, stride, false, 1, c, ldc)
        case .rounded(let rows, let first):
            ck_bf16_product(
                m, n, k, 1, a, lda, 1, rows.halves + first * size, size, 0, 1, c, ldc, nil, scratch?.memory)
        }
    }
}

/// The heads of one operand of attention: columns of a tensor `[N, …]`.
struct HeadColumns {
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

    /// For use outside the tape.
    func detached() -> HeadColumns { HeadColumns(tensor: tensor.detached(), column: column, input: input) }
    /// For the backward pass of products of bf16.
    func kept() -> HeadColumns { HeadColumns(tensor: Kept(tensor).tensor, column: column, input: input) }

    /// `count` rows of a head as the right side of products.
    func rows(
        _ products: AttentionProducts, _ row: Int, _ head: Int, _ size: Int, count: Int
    ) -> AttentionProducts.Rows {
        tensor.dtype == .bfloat16
            ? products.rows(rounded: halves(row, head, size), tensor.columns, count)
            : products.rows(pointer(row, head, size), tensor.columns, count)
    }

    /// `count` rows of a head as the left side, and how far apart they are: where they lie, or widened into `scratch`.
    func left(
        _ row: Int, _ head: Int, _ size: Int, count: Int, _ scratch: UnsafeMutablePointer<Float>
    ) -> (UnsafePointer<Float>, stride: Int) {
        guard tensor.dtype == .bfloat16 else { return (UnsafePointer(pointer(row, head, size)), tensor.columns) }
        let start = halves(row, head, size)
        for row in 0..<count { ckernels_f32_from_bf16(start + row * tensor.columns, scratch + row * size, size) }
        return (UnsafePointer(scratch), size)
    }
}
