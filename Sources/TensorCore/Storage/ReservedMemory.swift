import Glibc

/// Addresses without memory behind them: every read gives zero and nothing becomes resident until it is read.
private final class ReservedMemory {
    let pointer: UnsafePointer<Float>
    private let byteCount: Int

    /// `nil` when the system gives no more addresses.
    init?(byteCount: Int) {
        self.byteCount = max(byteCount, 1)
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let address = mmap(nil, self.byteCount, PROT_READ, flags, -1, 0), address != MAP_FAILED else {
            return nil
        }
        pointer = UnsafePointer(address.assumingMemoryBound(to: Float.self))
    }

    deinit { munmap(UnsafeMutableRawPointer(mutating: pointer), byteCount) }
}

extension Tensor {
    /// A read-only tensor of zeros that takes no memory while nobody reads it: for models whose shapes are wanted and
    /// whose values are not.
    ///
    /// - Returns: `nil` when the process has no addresses left.
    package init?(reserving shape: [Int]) {
        guard let memory = ReservedMemory(byteCount: 4 * shape.reduce(1, *)) else { return nil }
        self.init(borrowing: memory.pointer, shape: shape, owner: memory)
    }
}
