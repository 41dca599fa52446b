import Glibc
import Synchronization

/// Float buffers that are handed out again instead of returned to the system.
///
/// A training step asks for the same sizes as the step before; fresh pages would cost more than the arithmetic
/// of the cheap ops. Sizes are rounded up to four classes per power of two; what a class wastes is never
/// touched and so never resident.
enum BufferPool {
    /// Every buffer starts on a cache line, and large ones on a huge page.
    private static let largeBytes = 4 << 20

    private struct FreeLists {
        /// Addresses of free buffers by size class in bytes.
        var lists: [Int: [UInt]] = [:]
    }

    private static let free = Mutex(FreeLists())

    /// The bytes that a request for `byteCount` really gets.
    static func sizeClass(_ byteCount: Int) -> Int {
        let least = max(byteCount, 64)
        let power = 1 << (Int.bitWidth - 1 - (least - 1).leadingZeroBitCount)  // largest power of two below least
        let quarter = max(power / 4, 16)
        return power + (least - power + quarter - 1) / quarter * quarter
    }

    /// A buffer of at least `byteCount` bytes with unspecified content.
    static func take(_ byteCount: Int) -> UnsafeMutableRawPointer {
        let size = sizeClass(byteCount)
        if let address = free.withLock({ $0.lists[size]?.popLast() }),
            let pointer = UnsafeMutableRawPointer(bitPattern: address)
        {
            return pointer
        }
        if let pointer = allocate(size) { return pointer }
        // What is kept for later may be what is missing now.
        trim()
        if let pointer = allocate(size) { return pointer }
        // No op can go on without its result, and none could hand an error on.
        MemoryExhaustion.end(size)
    }

    private static func allocate(_ size: Int) -> UnsafeMutableRawPointer? {
        let large = size >= largeBytes
        var pointer: UnsafeMutableRawPointer?
        guard posix_memalign(&pointer, large ? 2 << 20 : 64, size) == 0, let pointer else { return nil }
        if large { madvise(pointer, size, MADV_HUGEPAGE) }
        return pointer
    }

    /// Takes back a buffer that `take` gave for the same `byteCount`.
    static func give(_ pointer: UnsafeMutableRawPointer, _ byteCount: Int) {
        let size = sizeClass(byteCount)
        free.withLock { $0.lists[size, default: []].append(UInt(bitPattern: pointer)) }
    }

    /// Returns every free buffer to the system; called between phases whose sizes differ.
    static func trim() {
        let lists = free.withLock { state in
            let all = state.lists
            state.lists = [:]
            return all
        }
        for addresses in lists.values {
            for address in addresses { Glibc.free(UnsafeMutableRawPointer(bitPattern: address)) }
        }
    }
}
