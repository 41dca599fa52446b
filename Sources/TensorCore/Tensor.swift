import CKernels
import Synchronization

/// A dense, row-major array of 32-bit floats, with the node that made it when a gradient is wanted.
///
/// A frozen weight may hold bf16 instead, to be multiplied as such or only to be smaller (``products``), which ``linear(_:bias:layout:scale:adding:)``, the lookups of rows and
/// ``crossEntropy(head:targets:scale:cap:)`` read as they are; every other op wants floats.
///
/// Layers speak in matrices: a tensor of shape `[…, C]` is `rows` rows of `columns` = C elements. There are no
/// strided views; an op that needs part of a row takes a column range. Tensors are values over shared storage: an op
/// never changes a tensor that someone else can still see.
package struct Tensor {
    /// Sizes, outermost first. An empty shape is a scalar.
    package let shape: [Int]
    var storage: Storage
    /// Index of the first element in `storage`.
    let offset: Int
    /// Who made this tensor, when its gradient is wanted.
    var node: Node?

    /// How many elements the shape holds.
    package var count: Int { shape.reduce(1, *) }
    /// The last size; 1 for a scalar.
    package var columns: Int { shape.last ?? 1 }
    /// The product of all sizes but the last.
    package var rows: Int { shape.dropLast().reduce(1, *) }
    /// Whether backward will carry a gradient into this tensor.
    package var requiresGradient: Bool { node != nil }

    /// The type of the elements: F32, or BF16 in a frozen weight.
    package var dtype: DType { storage.dtype }

    /// What products with this weight round their other side to: BF16, or F32 for floats and for bf16 that is only a way
    /// to store them.
    package var products: DType { storage.products }

    /// The first element. Valid while this tensor, or another with its storage, is alive.
    ///
    /// - Precondition: the elements are floats.
    package var pointer: UnsafeMutablePointer<Float> { storage.pointer + offset }

    init(shape: [Int], storage: Storage, offset: Int = 0, node: Node? = nil) {
        self.shape = shape
        self.storage = storage
        self.offset = offset
        self.node = node
    }

    /// A tensor whose content the caller writes before anyone reads it.
    package init(uninitialized shape: [Int]) {
        self.init(shape: shape, storage: Storage(count: shape.reduce(1, *)))
    }

    /// A tensor of zeros.
    package init(zeros shape: [Int]) {
        self.init(uninitialized: shape)
        pointer.initialize(repeating: 0, count: count)
    }

    /// A tensor with the given elements, row by row.
    ///
    /// - Precondition: as many values as the shape holds.
    package init(_ values: [Float], shape: [Int]) {
        precondition(values.count == shape.reduce(1, *), "Tensor: \(values.count) values for shape \(shape)")
        self.init(uninitialized: shape)
        values.withUnsafeBufferPointer { source in
            if let base = source.baseAddress { pointer.initialize(from: base, count: source.count) }
        }
    }

    /// The bits of the first element of a weight in bf16.
    var halves: UnsafeMutablePointer<UInt16> { storage.halves + offset }

    /// The same elements as bf16, rounded to nearest with ties to even, or as floats; this tensor if they are that already.
    ///
    /// - Parameter products: what products with bf16 round their other side to; see ``Tensor/products``.
    /// - Precondition: no gradient is wanted; F32 or BF16.
    package func converted(to dtype: DType, products: DType? = nil) -> Tensor {
        guard dtype != self.dtype || products ?? self.products != self.products else { return self }
        precondition(node == nil, "converted: a tensor that needs a gradient")
        precondition(dtype != self.dtype, "converted: \(dtype) to be multiplied otherwise")
        let result = Tensor(shape: shape, storage: Storage(count: count, dtype: dtype, products: products))
        if dtype == .bfloat16 {
            ckernels_bf16_from_f32(pointer, result.storage.halves, count)
        } else {
            ckernels_f32_from_bf16(halves, result.pointer, count)
        }
        return withExtendedLifetime(self) { result }
    }

    /// Elements of a file in memory that `owner` keeps alive, read-only and without a copy.
    init(borrowing bytes: UnsafeRawPointer, shape: [Int], dtype: DType, products: DType, owner: AnyObject) {
        let count = shape.reduce(1, *)
        self.init(
            shape: shape,
            storage: Storage(borrowing: bytes, count: count, dtype: dtype, products: products, owner: owner))
    }

    /// Floats in memory that `owner` keeps alive, such as a mapped file; read-only and without a copy.
    package init(borrowing pointer: UnsafePointer<Float>, shape: [Int], owner: AnyObject) {
        self.init(shape: shape, storage: Storage(borrowing: pointer, count: shape.reduce(1, *), owner: owner))
    }

    /// The elements, row by row.
    package var values: [Float] {
        let floats = converted(to: .float32)
        return withExtendedLifetime(floats) { Array(UnsafeBufferPointer(start: floats.pointer, count: count)) }
    }

    /// The only element.
    ///
    /// - Precondition: the tensor has exactly one.
    package var scalar: Float {
        precondition(count == 1, "scalar: shape \(shape) has \(count) elements")
        return pointer.pointee
    }

    /// The same elements under another shape; shares storage, and gradients pass unchanged.
    ///
    /// - Precondition: both shapes hold as many elements.
    package func reshaped(_ newShape: [Int]) -> Tensor {
        precondition(newShape.reduce(1, *) == count, "reshaped: \(shape) to \(newShape)")
        return Tensor(shape: newShape, storage: storage, offset: offset, node: node)
    }

    /// The first `rows` rows of a tensor that needs no gradient; shares storage.
    package func prefix(rows: Int) -> Tensor {
        precondition(node == nil && rows <= self.rows, "prefix: \(rows) rows of \(shape)")
        return Tensor(shape: [rows, columns], storage: storage, offset: offset)
    }

    /// A range of the rows of a tensor that needs no gradient; shares storage.
    package func slice(rows range: Range<Int>) -> Tensor {
        precondition(node == nil && range.upperBound <= rows, "slice: rows \(range) of \(shape)")
        return Tensor(
            shape: [range.count, columns], storage: storage, offset: offset + range.lowerBound * columns)
    }

    /// A copy of the elements in a range of columns, `[N, range]`, without a node.
    package func copiedColumns(_ range: Range<Int>) -> Tensor {
        let copy = Tensor(uninitialized: [rows, range.count])
        for row in 0..<rows {
            (copy.pointer + row * range.count).update(
                from: pointer + row * columns + range.lowerBound, count: range.count)
        }
        return withExtendedLifetime(self) { copy }
    }

    /// The same elements without the node: backward stops here.
    package func detached() -> Tensor { Tensor(shape: shape, storage: storage, offset: offset) }

    /// A copy in storage of its own, as floats, without a node.
    package func copied() -> Tensor {
        guard dtype == .float32 else { return converted(to: .float32) }
        let copy = Tensor(uninitialized: shape)
        copy.pointer.initialize(from: pointer, count: count)
        return copy
    }
}

extension Tensor {
    /// Whether no element is infinite or not a number.
    package var isFinite: Bool {
        let x = pointer
        let isBroken = Atomic(false)
        Parallel.forEachRange(count, grain: 1 << 16) { range in
            if ck_kernels().pointee.all_finite(range.count, x + range.lowerBound) == 0 {
                isBroken.store(true, ordering: .relaxed)
            }
        }
        return withExtendedLifetime(self) { !isBroken.load(ordering: .relaxed) }
    }

    /// The largest absolute value; 0 for no elements.
    package var largestMagnitude: Float {
        let x = pointer
        return withExtendedLifetime(self) { (0..<count).reduce(0) { max($0, abs(x[$1])) } }
    }

    /// The largest absolute difference from a tensor of the same shape; not a number if any element is.
    package func largestDifference(from other: Tensor) -> Float {
        precondition(shape == other.shape, "largestDifference: \(shape) and \(other.shape)")
        let (x, y, count) = (pointer, other.pointer, count)
        return withExtendedLifetime((self, other)) {
            var largest: Float = 0
            for index in 0..<count {
                let difference = abs(x[index] - y[index])
                // `max` passes over what is not a number.
                if difference.isNaN { return .nan }
                largest = max(largest, difference)
            }
            return largest
        }
    }

    /// Whether every element equals that of a tensor of the same shape; what is not a number equals nothing.
    package func hasEqualElements(to other: Tensor) -> Bool {
        precondition(shape == other.shape, "hasEqualElements: \(shape) and \(other.shape)")
        let (one, two) = (converted(to: .float32), other.converted(to: .float32))
        let (x, y) = (one.pointer, two.pointer)
        return withExtendedLifetime((one, two)) { (0..<count).allSatisfy { x[$0] == y[$0] } }
    }
}
