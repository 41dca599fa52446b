import Glibc
import Synchronization

/// Buffers that are handed out again instead of returned to the system.
///
/// A training step asks for the same sizes as the step before; fresh pages would cost more than the arithmetic
/// of the cheap ops. Sizes are rounded up to four classes per power of two; what a class wastes is never
/// touched and so never resident. Where sizes differ from step to step, what is kept stays near what was ever in use at
/// once: beyond, a request takes a buffer of up to twice its size, or as much as it asks for is given back first.
package enum BufferPool {
    /// Every buffer starts on a cache line, and large ones on a huge page.
    private static let largeBytes = 4 << 20, hugePage = 2 << 20

    private struct State {
        /// Addresses of free buffers by size class in bytes.
        var lists: [Int: [UInt]] = [:]
        /// Bytes of free buffers, of those in use, and the most that ever were.
        var free = 0
        var used = 0
        var mostUsed = 0

        /// Whether a new buffer may join without the rest being looked through first: an eighth more than was ever in use,
        /// or a little, is kept.
        func hasRoom(for size: Int) -> Bool { used + free + size <= max(mostUsed + mostUsed / 8, 64 << 20) }

        mutating func use(_ size: Int) {
            used += size
            mostUsed = max(mostUsed, used)
        }

        mutating func pop(_ size: Int) -> UInt? {
            guard let address = lists[size]?.popLast() else { return nil }
            free -= size
            return address
        }

        /// A buffer of at least `size` bytes and at most twice that, the smallest there is.
        mutating func popLarger(_ size: Int) -> (address: UInt, size: Int)? {
            var candidate = BufferPool.sizeClass(size + 1)
            while candidate <= 2 * size {
                if let address = pop(candidate) { return (address, candidate) }
                candidate = BufferPool.sizeClass(candidate + 1)
            }
            return nil
        }

        /// Buffers that together have at least `size` bytes, or all there are, the largest first.
        mutating func release(_ size: Int) -> [UInt] {
            var released: [UInt] = [], bytes = 0
            for key in lists.keys.sorted(by: >) {
                while bytes < size, let address = pop(key) {
                    released.append(address)
                    bytes += key
                }
            }
            return released
        }
    }

    private static let state = Mutex(State())

    /// The bytes that a request for `byteCount` really gets.
    package static func sizeClass(_ byteCount: Int) -> Int {
        let least = max(byteCount, 64)
        let power = 1 << (Int.bitWidth - 1 - (least - 1).leadingZeroBitCount)  // largest power of two below least
        let quarter = max(power / 4, 16)
        return power + (least - power + quarter - 1) / quarter * quarter
    }

    /// A buffer of at least `byteCount` bytes with unspecified content, and how many it has.
    static func take(_ byteCount: Int) -> (pointer: UnsafeMutableRawPointer, size: Int) {
        let size = sizeClass(byteCount)
        let (found, unused) = state.withLock { state -> ((address: UInt, size: Int)?, [UInt]) in
            var found = state.pop(size).map { (address: $0, size: size) }
            var unused: [UInt] = []
            if found == nil, !state.hasRoom(for: size) {
                found = state.popLarger(size)
                if found == nil { unused = state.release(size) }
            }
            state.use(found?.size ?? size)
            return (found, unused)
        }
        if let found, let pointer = UnsafeMutableRawPointer(bitPattern: found.address) { return (pointer, found.size) }
        for address in unused { Glibc.free(UnsafeMutableRawPointer(bitPattern: address)) }
        if let pointer = allocate(size, wanted: byteCount) { return (pointer, size) }
        // What is kept for later may be what is missing now.
        trim()
        if let pointer = allocate(size, wanted: byteCount) { return (pointer, size) }
        // No op can go on without its result, and none could hand an error on.
        MemoryExhaustion.end(size)
    }

    /// Lets the system have back what is freed. Left to itself, glibc takes ever larger buffers from its heap once some were
    /// freed, up to 32 MB, and what is freed between two others there stays resident: where sizes differ from step to step,
    /// a sixth of the peak.
    private static let returnsFreed = mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1

    private static func allocate(_ size: Int, wanted: Int) -> UnsafeMutableRawPointer? {
        _ = returnsFreed
        let large = size >= largeBytes
        var pointer: UnsafeMutableRawPointer?
        guard posix_memalign(&pointer, large ? hugePage : 64, size) == 0, let pointer else { return nil }
        // The last part of a huge page lies on small ones: a huge page is resident whole, however little of it is used.
        if large { madvise(pointer, wanted / hugePage * hugePage, MADV_HUGEPAGE) }
        return pointer
    }

    /// Takes back a buffer of the size that `take` told.
    static func give(_ pointer: UnsafeMutableRawPointer, _ size: Int) {
        state.withLock {
            $0.lists[size, default: []].append(UInt(bitPattern: pointer))
            $0.free += size
            $0.used -= size
        }
    }

    /// Returns every free buffer to the system; called between phases whose sizes differ.
    static func trim() {
        let unused = state.withLock { $0.release(.max) }
        for address in unused { Glibc.free(UnsafeMutableRawPointer(bitPattern: address)) }
    }
}
