import CKernels

extension Tensor {
    /// `Σ x²` in double precision; not finite exactly when an element is not.
    ///
    /// Summed in blocks of a fixed size whose sums are added in order, so the result does not depend on the number of
    /// threads. Not differentiable: it is for norms of gradients.
    package var sumOfSquares: Double {
        let (count, x, block) = (count, pointer, 1 << 16)
        let blocks = (count + block - 1) / block
        let sums = [Double](unsafeUninitializedCapacity: blocks) { buffer, initialized in
            initialized = blocks
            guard let sums = buffer.baseAddress else { return }
            Parallel.forEachRange(blocks) { range in
                for index in range {
                    let low = index * block
                    sums[index] = ck_kernels().pointee.sum_of_squares(min(block, count - low), x + low)
                }
            }
        }
        return sums.reduce(0, +)
    }
}
