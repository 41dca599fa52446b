/// Hashing of short byte strings for the module's own tables.
///
/// Not for untrusted growth: every table is bounded.
enum ByteHash {
    /// A 64-bit hash of `count` bytes, eight at a time.
    @inline(__always)
    static func hash(_ bytes: UnsafeRawPointer, _ count: Int) -> UInt64 {
        var state = UInt64(truncatingIfNeeded: count) &* 0x9E37_79B9_7F4A_7C15
        var index = 0
        while index + 8 <= count {
            state = mix(state ^ bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            index += 8
        }
        let rest = count - index
        if rest >= 4 {
            let low = UInt64(bytes.loadUnaligned(fromByteOffset: index, as: UInt32.self))
            let high = UInt64(bytes.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self))
            state = mix(state ^ (high << 32 | low))
        } else if rest > 0 {
            let first = UInt64(bytes.load(fromByteOffset: index, as: UInt8.self))
            let middle = UInt64(bytes.load(fromByteOffset: index + rest / 2, as: UInt8.self))
            let last = UInt64(bytes.load(fromByteOffset: count - 1, as: UInt8.self))
            state = mix(state ^ (first | middle << 8 | last << 16))
        }
        return state
    }

    /// A 64-bit hash of a number: the halves of a 128-bit product, folded.
    @inline(__always)
    static func mix(_ value: UInt64) -> UInt64 {
        let product = (value ^ 0x2D35_8DCC_AA6C_78A5).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return product.high ^ product.low
    }
}
