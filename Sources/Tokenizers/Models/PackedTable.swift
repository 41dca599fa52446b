/// A fixed map from 64-bit keys to 64-bit values: open addressing in one flat block of memory.
final class PackedTable: @unchecked Sendable {
    // Sendable holds: the memory is written in init only.

    /// No value of the table equals this; it marks a missing key.
    static let missing = UInt64.max

    private let slots: UnsafeMutablePointer<(key: UInt64, value: UInt64)>
    private let mask: Int

    /// A table of the entries; when a key occurs twice, the later value stands.
    ///
    /// - Precondition: no value is ``missing``.
    init(_ entries: some Collection<(key: UInt64, value: UInt64)>) {
        var capacity = 16
        while capacity * 3 < entries.count * 5 { capacity *= 2 }
        mask = capacity - 1
        slots = .allocate(capacity: capacity)
        slots.initialize(repeating: (0, Self.missing), count: capacity)
        for (key, value) in entries {
            var slot = Int(truncatingIfNeeded: ByteHash.mix(key)) & mask
            while slots[slot].value != Self.missing, slots[slot].key != key { slot = (slot + 1) & mask }
            slots[slot] = (key, value)
        }
    }

    deinit { slots.deallocate() }

    /// The value of `key`, or ``missing``.
    @inline(__always)
    subscript(key: UInt64) -> UInt64 {
        var slot = Int(truncatingIfNeeded: ByteHash.mix(key)) & mask
        while true {
            let entry = slots[slot]
            if entry.key == key || entry.value == Self.missing { return entry.value }
            slot = (slot + 1) & mask
        }
    }
}
