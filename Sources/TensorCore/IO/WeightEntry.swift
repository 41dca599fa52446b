/// What a file says about one tensor.
package struct WeightEntry: Sendable, Hashable {
    package let dtype: DType
    /// Sizes from the outermost axis to the innermost; empty for a scalar.
    package let shape: [Int]
    /// Elements: the product of `shape`, 1 for a scalar.
    package let count: Int

    /// The bytes the elements take.
    package var byteCount: Int { count * dtype.byteCount }

    /// `nil` when a size is negative or the bytes do not fit in an `Int`.
    package init?(dtype: DType, shape: [Int]) {
        var count = 1
        var overflowed = false
        for size in shape {
            guard size >= 0 else { return nil }
            let product = count.multipliedReportingOverflow(by: size)
            // A later zero would make the product small again; no sane file has such a shape.
            if product.overflow { overflowed = true }
            count = product.partialValue
        }
        guard !overflowed, !count.multipliedReportingOverflow(by: dtype.byteCount).overflow else { return nil }
        self.dtype = dtype
        self.shape = shape
        self.count = count
    }
}
