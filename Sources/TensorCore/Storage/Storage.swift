/// A dense buffer of floats that tensors share by reference.
///
/// Not `Sendable`: tensors live on one thread, and ops hand raw pointers to the thread team for the length of a call.
package final class Storage {
    /// The first element.
    let pointer: UnsafeMutablePointer<Float>
    /// How many elements the buffer holds.
    let count: Int
    /// Keeps borrowed memory, such as a mapped file, alive; `nil` when the buffer is the pool's.
    private let owner: AnyObject?

    /// A buffer of `count` floats with unspecified content.
    init(count: Int) {
        self.count = count
        owner = nil
        pointer = BufferPool.take(count * MemoryLayout<Float>.stride).bindMemory(
            to: Float.self, capacity: max(count, 1))
    }

    /// Floats inside memory of `owner`, never written to.
    init(borrowing pointer: UnsafePointer<Float>, count: Int, owner: AnyObject) {
        self.count = count
        self.owner = owner
        self.pointer = UnsafeMutablePointer(mutating: pointer)
    }

    /// Whether ops may write here: borrowed memory is read-only.
    var isWritable: Bool { owner == nil }

    deinit {
        if owner == nil { BufferPool.give(UnsafeMutableRawPointer(pointer), count * MemoryLayout<Float>.stride) }
    }
}
