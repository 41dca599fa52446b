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
    private static let largeBytes = 4 << 20, hugePage = 2 << 20, mappedBytes = 1 << 20

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
        mutating func release(_ size: Int) -> [(address: UInt, size: Int)] {
            var released: [(address: UInt, size: Int)] = [], bytes = 0
            for key in lists.keys.sorted(by: >) {
                while bytes < size, let address = pop(key) {
                    released.append((address, key))
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
        let (found, unused) = state.withLock {
            state -> ((address: UInt, size: Int)?, [(address: UInt, size: Int)]) in
            var found = state.pop(size).map { (address: $0, size: size) }
            var unused: [(address: UInt, size: Int)] = []
            if found == nil, !state.hasRoom(for: size) {
                found = state.popLarger(size)
                if found == nil { unused = state.release(size) }
            }
            state.use(found?.size ?? size)
            return (found, unused)
        }
        if let found, let pointer = UnsafeMutableRawPointer(bitPattern: found.address) { return (pointer, found.size) }
        free(unused)
        if let pointer = allocate(size, wanted: byteCount) { return (pointer, size) }
        // What is kept for later may be what is missing now.
        trim()
        if let pointer = allocate(size, wanted: byteCount) { return (pointer, size) }
        // No op can go on without its result, and none could hand an error on.
        MemoryExhaustion.end(size)
    }

    /// Buffers of a megabyte and more are mappings of their own, so that the system has back what is freed. glibc would take
    /// ever larger ones from its heap once some were freed, up to 32 MB, and what is freed between two others there stays
    /// resident: where sizes differ from step to step, a sixth of the peak.
    private static func allocate(_ size: Int, wanted: Int) -> UnsafeMutableRawPointer? {
        guard size >= mappedBytes else {
            var pointer: UnsafeMutableRawPointer?
            return posix_memalign(&pointer, 64, size) == 0 ? pointer : nil
        }
        let large = size >= largeBytes, spare = large ? hugePage : 0
        guard
            let mapping = mmap(nil, size + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            mapping != MAP_FAILED
        else { return nil }
        guard large else { return mapping }
        let address = Int(bitPattern: mapping)
        let head = (address + hugePage - 1) / hugePage * hugePage - address
        let pointer = mapping + head
        if head > 0 { munmap(mapping, head) }
        if head < spare { munmap(pointer + size, spare - head) }
        // The last part of a huge page lies on small ones: a huge page is resident whole, however little of it is used.
        madvise(pointer, wanted / hugePage * hugePage, MADV_HUGEPAGE)
        return pointer
    }

    private static func free(_ unused: [(address: UInt, size: Int)]) {
        for buffer in unused {
            let pointer = UnsafeMutableRawPointer(bitPattern: buffer.address)
            if buffer.size >= mappedBytes { munmap(pointer, buffer.size) } else { Glibc.free(pointer) }
        }
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
        free(state.withLock { $0.release(.max) })
    }
}
