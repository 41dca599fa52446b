import COpenBLAS

/// Matrix products through OpenBLAS, one BLAS thread a call, cut over the thread team by rows or columns of the result.
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
