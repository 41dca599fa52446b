import CKernels
import COpenBLAS

/// A product of low rank that is added to a large one: `left [m, r] · right [r, n]`, with a rank that kernels take.
struct LowRankAddend {
    let left: Tensor
    let right: Tensor

    /// Its part for some rows and columns of the result, valid while the tensors live.
    func part(_ rows: Range<Int>, _ columns: Range<Int>) -> ck_low_rank {
        ck_low_rank(
            h: left.pointer + rows.lowerBound * left.columns, b: right.pointer + columns.lowerBound,
            ldb: right.columns, rank: left.columns)
    }

    /// Adds it to a dense matrix.
    func add(to y: UnsafeMutablePointer<Float>, rows: Int, columns: Int) {
        Parallel.forEachRange(rows, grain: 8) { range in
            let part = part(range, 0..<columns)
            ck_kernels().pointee.low_rank_up(
                range.count, columns, part.rank, part.h, part.b, part.ldb, y + range.lowerBound * columns, columns)
        }
    }
}

/// Matrix products through OpenBLAS, and through our own kernels where a weight is bf16; one thread a call, cut over the thread team by rows or columns of the result.
///
/// Debian's OpenBLAS with two threads of its own falls to a quarter of its speed on the thin products of an adapter; two
/// calls with one thread each do not.
enum Gemm {
    /// Below this many multiply-adds a product is not worth waking a second thread for.
    private static let parallelThreshold = 64 * 1024

    /// OpenBLAS is told once that it has one thread.
    private static let isConfigured: Bool = {
        openblas_set_num_threads(1)
        return true
    }()

    /// `C[m×n] = alpha · op(A) op(B) + beta · C`, row-major, where op transposes when asked to.
    ///
    /// `lda`, `ldb`, `ldc` are the distances between rows as stored. With `beta == 0` the old content of C is not read.
    static func multiply(
        _ m: Int, _ n: Int, _ k: Int, alpha: Float = 1,
        _ a: UnsafePointer<Float>, lda: Int, transposed transA: Bool,
        _ b: UnsafePointer<Float>, ldb: Int, transposed transB: Bool,
        beta: Float, _ c: UnsafeMutablePointer<Float>, ldc: Int
    ) {
        guard m > 0, n > 0 else { return }
        guard m * n * k >= parallelThreshold, Parallel.threadCount > 1 else {
            return single(m, n, k, alpha, a, lda, transA, b, ldb, transB, beta, c, ldc)
        }
        // The longer side of the result is cut: the other operand is then read whole by every thread, and cached best.
        if m >= n || m >= 512 {
            Parallel.forEachRange(m, grain: 16) { rows in
                let a = a + rows.lowerBound * (transA ? 1 : lda)
                let c = c + rows.lowerBound * ldc
                single(rows.count, n, k, alpha, a, lda, transA, b, ldb, transB, beta, c, ldc)
            }
        } else {
            Parallel.forEachRange(n, grain: 16) { columns in
                let b = b + columns.lowerBound * (transB ? ldb : 1)
                let c = c + columns.lowerBound
                single(m, columns.count, k, alpha, a, lda, transA, b, ldb, transB, beta, c, ldc)
            }
        }
    }

    /// `C[m×n] = alpha · A op(W) + beta · C` for a weight of floats or of bf16. A is rounded to what the weight's
    /// ``Tensor/products`` are; the sums are single precision.
    ///
    /// The weight's own rows are the distance between its rows; `transposed` says that it lies `[n, k]`. What is to be
    /// added comes on top, in single precision; C is then dense.
    ///
    /// - Precondition: beta is 0 or 1.
    static func multiply(
        _ m: Int, _ n: Int, _ k: Int, alpha: Float = 1, _ a: UnsafePointer<Float>, lda: Int,
        weight: Tensor, transposed: Bool, beta: Float, _ c: UnsafeMutablePointer<Float>, ldc: Int,
        adding addend: LowRankAddend? = nil
    ) {
        defer { withExtendedLifetime(addend) {} }
        let ldw = weight.columns
        guard m > 1 else {
            if m == 1 { multiplyRow(n, k, alpha: alpha, a, weight, transposed: transposed, beta: beta, c) }
            addend?.add(to: c, rows: m, columns: n)
            return
        }
        guard n > 0 else { return }
        let isWidened = weight.products == .float32
        guard weight.dtype == .bfloat16, !isWidened || ck_multiplies_widened() != 0 else {
            if weight.dtype == .float32 {
                multiply(
                    m, n, k, alpha: alpha, a, lda: lda, transposed: false, weight.pointer, ldb: ldw,
                    transposed: transposed, beta: beta, c, ldc: ldc)
            } else {
                multiplyWidened(
                    m, n, k, alpha: alpha, a, lda: lda, weight, transposed: transposed, beta: beta, c, ldc: ldc)
            }
            addend?.add(to: c, rows: m, columns: n)
            return
        }
        precondition(beta == 0 || beta == 1, "Gemm: beta \(beta)")
        let w = weight.halves, adds: Int32 = beta == 0 ? 0 : 1, isTransposed: Int32 = transposed ? 1 : 0
        func part(_ rows: Range<Int>, _ columns: Range<Int>) {
            let (scratch, size) = BufferPool.take(Int(isWidened ? CK_WIDENED_SCRATCH : CK_BF16_SCRATCH))
            let summand = addend?.part(rows, columns)
            let x = a + rows.lowerBound * lda, y = c + rows.lowerBound * ldc + columns.lowerBound
            let matrix = w + columns.lowerBound * (transposed ? ldw : 1)
            withUnsafePointer(to: summand ?? ck_low_rank()) { pointer in
                let pointer = summand == nil ? nil : pointer
                if isWidened {
                    ck_widened_product(
                        rows.count, columns.count, k, alpha, x, lda, matrix, ldw, isTransposed, adds, y, ldc, pointer,
                        scratch)
                } else {
                    ck_bf16_product(
                        rows.count, columns.count, k, alpha, x, lda, 0, matrix, ldw, isTransposed, adds, y, ldc,
                        pointer,
                        scratch)
                }
            }
            BufferPool.give(scratch, size)
        }
        guard m * n * k >= parallelThreshold, Parallel.threadCount > 1 else { return part(0..<m, 0..<n) }
        // Cut by columns, each thread rearranges all of A and its part of the weight; cut by rows, the reverse. The weight
        // is rearranged once for each block of rows. Whichever is fewer bytes:
        let threads = Parallel.threadCount, height = Int(isWidened ? CK_WIDENED_ROWS : CK_BF16_ROWS)
        func blocks(_ rows: Int) -> Int { (rows + height - 1) / height }
        let byColumns = 2 * n / threads * blocks(m) + 4 * m
        let byRows = 2 * n * blocks((m + threads - 1) / threads) + 4 * m / threads
        if byColumns < byRows {
            Parallel.forEachRange(n, grain: 32) { part(0..<m, $0) }
        } else {
            Parallel.forEachRange(m, grain: 14) { part($0, 0..<n) }
        }
    }

    /// The inner size and the columns of a stretch of a weight that is widened at a time: 6 MB of floats, which stay in the
    /// last cache. BLAS cuts the inner size so too, and adds up. For processors without `ck_widened_product`.
    private static let stretch = (depth: 768, columns: 2048)

    /// The product with a weight of bf16 in single precision: one stretch after the other is widened, which is exact, and
    /// multiplied. Memory sees half the bytes of a weight of floats.
    static func multiplyWidened(
        _ m: Int, _ n: Int, _ k: Int, alpha: Float, _ a: UnsafePointer<Float>, lda: Int, _ weight: Tensor,
        transposed: Bool, beta: Float, _ c: UnsafeMutablePointer<Float>, ldc: Int
    ) {
        let (w, ldw) = (weight.halves, weight.columns)
        let wide = Storage(count: min(k, stretch.depth) * min(n, stretch.columns))
        let floats = wide.pointer
        for column in stride(from: 0, to: n, by: stretch.columns) {
            let columns = min(stretch.columns, n - column)
            for first in stride(from: 0, to: k, by: stretch.depth) {
                let depth = min(stretch.depth, k - first)
                let (rows, width) = transposed ? (columns, depth) : (depth, columns)
                let start = w + (transposed ? column * ldw + first : first * ldw + column)
                Parallel.forEachRange(rows, grain: 8) { range in
                    for row in range { ckernels_f32_from_bf16(start + row * ldw, floats + row * width, width) }
                }
                multiply(
                    m, columns, depth, alpha: alpha, a + first, lda: lda, transposed: false, floats, ldb: width,
                    transposed: transposed, beta: first == 0 ? beta : 1, c + column, ldc: ldc)
            }
        }
        withExtendedLifetime((wide, weight)) {}
    }

    /// One row: as fast as the weight can be read, each thread a stretch of it from end to end.
    private static func multiplyRow(
        _ n: Int, _ k: Int, alpha: Float, _ x: UnsafePointer<Float>, _ weight: Tensor, transposed: Bool, beta: Float,
        _ y: UnsafeMutablePointer<Float>
    ) {
        let ldw = weight.columns
        if beta == 0 { y.update(repeating: 0, count: n) }
        let kernels = ck_kernels().pointee
        let isHalf = weight.dtype == .bfloat16
        let threads = n * k >= parallelThreshold ? Parallel.threadCount : 1
        if transposed {
            func dot(_ rows: Range<Int>) {
                let (low, count) = (rows.lowerBound, rows.count)
                if isHalf {
                    kernels.dot_rows_bf16(count, k, alpha, weight.halves + low * ldw, ldw, x, y + low)
                } else {
                    kernels.dot_rows(count, k, alpha, weight.pointer + low * ldw, ldw, x, y + low)
                }
            }
            return threads > 1 ? Parallel.forEachRange(n, grain: 16, dot) : dot(0..<n)
        }
        func sum(_ rows: Range<Int>, _ y: UnsafeMutablePointer<Float>) {
            let (low, count) = (rows.lowerBound, rows.count)
            if isHalf {
                kernels.sum_rows_bf16(count, n, alpha, weight.halves + low * ldw, ldw, x + low, y)
            } else {
                kernels.sum_rows(count, n, alpha, weight.pointer + low * ldw, ldw, x + low, y)
            }
        }
        guard threads > 1 else { return sum(0..<k, y) }
        // The rows are summed up, so all threads but the first have a sum of their own.
        let others = Tensor(zeros: [threads - 1, n])
        Parallel.forEachRange(threads) { parts in
            for part in parts {
                let rows = k * part / threads..<k * (part + 1) / threads
                sum(rows, part == 0 ? y : others.pointer + (part - 1) * n)
            }
        }
        withExtendedLifetime(others) {
            for part in 0..<threads - 1 { kernels.axpy(n, 1, others.pointer + part * n, y) }
        }
    }

    /// The same on the calling thread alone; for use inside a parallel section.
    static func single(
        _ m: Int, _ n: Int, _ k: Int, _ alpha: Float,
        _ a: UnsafePointer<Float>, _ lda: Int, _ transA: Bool,
        _ b: UnsafePointer<Float>, _ ldb: Int, _ transB: Bool,
        _ beta: Float, _ c: UnsafeMutablePointer<Float>, _ ldc: Int
    ) {
        precondition(isConfigured && max(m, n, k, lda, ldb, ldc) <= Int(Int32.max), "Gemm: size beyond 32 bits")
        if m == 1, !transA {
            // One row is a matrix-vector product, which sgemm does at a fraction of the memory's speed.
            cblas_sgemv(
                CblasRowMajor, transB ? CblasNoTrans : CblasTrans, blasint(transB ? n : k), blasint(transB ? k : n),
                alpha, b, blasint(ldb), a, 1, beta, c, 1)
            return
        }
        cblas_sgemm(
            CblasRowMajor, transA ? CblasTrans : CblasNoTrans, transB ? CblasTrans : CblasNoTrans,
            blasint(m), blasint(n), blasint(k), alpha, a, blasint(lda), b, blasint(ldb), beta, c, blasint(ldc))
    }
}
