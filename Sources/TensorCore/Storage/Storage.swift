/// A dense buffer of elements that tensors share by reference: floats, or bf16 in the frozen weights of a model.
///
/// Not `Sendable`: tensors live on one thread, and ops hand raw pointers to the thread team for the length of a call.
package final class Storage {
    private let start: UnsafeMutableRawPointer
    /// Bytes of the pool's buffer.
    private let size: Int
    /// How many elements the buffer holds.
    let count: Int
    /// What they are: F32 or BF16.
    let dtype: DType
    /// What a product rounds the other side to: BF16, or F32 where bf16 is only how these elements are stored.
    let products: DType
    /// The same elements rounded to BF16, while an op keeps them: they are rounded once for all that do. See ``Kept``.
    weak var rounded: Storage?
    /// Keeps borrowed memory, such as a mapped file, alive; `nil` when the buffer is the pool's.
    private let owner: AnyObject?

    /// A buffer of `count` elements with unspecified content.
    ///
    /// - Precondition: F32 or BF16.
    init(count: Int, dtype: DType = .float32, products: DType? = nil) {
        precondition(dtype == .float32 || dtype == .bfloat16, "Storage: \(dtype)")
        self.count = count
        self.dtype = dtype
        self.products = products ?? dtype
        owner = nil
        (start, size) = BufferPool.take(count * dtype.byteCount)
    }

    /// Elements inside memory of `owner`, never written to.
    init(
        borrowing start: UnsafeRawPointer, count: Int, dtype: DType = .float32, products: DType? = nil, owner: AnyObject
    ) {
        self.count = count
        self.dtype = dtype
        self.products = products ?? dtype
        self.owner = owner
        self.start = UnsafeMutableRawPointer(mutating: start)
        size = 0
    }

    /// The first element.
    ///
    /// - Precondition: the elements are floats.
    var pointer: UnsafeMutablePointer<Float> {
        precondition(dtype == .float32, "an op that reads floats was given \(dtype)")
        return start.assumingMemoryBound(to: Float.self)
    }

    /// The bits of the first element.
    ///
    /// - Precondition: the elements are bf16.
    var halves: UnsafeMutablePointer<UInt16> {
        precondition(dtype == .bfloat16, "an op that reads bf16 was given \(dtype)")
        return start.assumingMemoryBound(to: UInt16.self)
    }

    /// Whether anything may write here: borrowed memory is read-only.
    var isWritable: Bool { owner == nil }

    /// Whether an op may write its result over these elements: nobody else holds them, and they are not borrowed.
    ///
    /// Whoever asks and is told so does write.
    static func takesOver(_ storage: inout Storage) -> Bool {
        guard isKnownUniquelyReferenced(&storage), storage.isWritable else { return false }
        storage.rounded = nil
        return true
    }

    deinit {
        if owner == nil { BufferPool.give(start, size) }
    }
}
