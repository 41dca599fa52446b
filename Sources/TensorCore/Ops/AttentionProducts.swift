import CKernels

/// The matrix products of one head of attention on the calling thread, in single precision or of operands rounded to bf16.
struct AttentionProducts {
    /// Rows of one head, as they lie and, for products of bf16, rounded.
    struct Rows {
        let floats: UnsafePointer<Float>
        /// Between rows.
        let stride: Int
        /// Dense; `nil` for products in single precision.
        fileprivate let halves: Storage?
        fileprivate let first: Int

        /// The same without the first `count` rows.
        func dropping(_ count: Int) -> Rows {
            Rows(floats: floats + count * stride, stride: stride, halves: halves, first: first + count)
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
        guard scratch != nil else { return Rows(floats: floats, stride: stride, halves: nil, first: 0) }
        let halves = Storage(count: count * size, dtype: .bfloat16)
        ck_kernels().pointee.round_rows_bf16(count, size, floats, stride, halves.halves)
        return Rows(floats: floats, stride: stride, halves: halves, first: 0)
    }

    /// `C [m×n] = A [m×k] · R`, or `A · Rᵀ` when `transposed`.
    func multiply(
        _ m: Int, _ n: Int, _ k: Int, _ a: UnsafePointer<Float>, _ lda: Int, _ right: Rows, transposed: Bool,
        _ c: UnsafeMutablePointer<Float>, _ ldc: Int
    ) {
        guard let scratch, let halves = right.halves else {
            return Gemm.single(m, n, k, 1, a, lda, false, right.floats, right.stride, transposed, 0, c, ldc)
        }
        ck_bf16_product(
            m, n, k, 1, a, lda, 0, halves.halves + right.first * size, size, transposed ? 1 : 0, 0, c, ldc, nil,
            scratch.memory)
    }

    /// `C [m×n] += Aᵀ · R` for `A [k×m]`.
    func addTransposed(
        _ m: Int, _ n: Int, _ k: Int, _ a: UnsafePointer<Float>, _ lda: Int, _ right: Rows,
        _ c: UnsafeMutablePointer<Float>, _ ldc: Int
    ) {
        guard let scratch, let halves = right.halves else {
            return Gemm.single(m, n, k, 1, a, lda, true, right.floats, right.stride, false, 1, c, ldc)
        }
        ck_bf16_product(
            m, n, k, 1, a, lda, 1, halves.halves + right.first * size, size, 0, 1, c, ldc, nil, scratch.memory)
    }
}
