/// A fixed map from byte strings to ids.
final class ByteStringTable: @unchecked Sendable {
    // Sendable holds: the memory is written in init only.

    private struct Slot: BitwiseCopyable {
        var hash: UInt32 = 0
        var start: UInt32 = 0
        var length: UInt32 = 0
        /// -1 marks a free slot.
        var id: Int32 = -1
    }

    private let slots: UnsafeMutablePointer<Slot>
    private let mask: Int
    private let bytes: UnsafeMutablePointer<UInt8>

    /// A table of the entries; when a string occurs twice, the later id stands.
    init(_ entries: [(bytes: [UInt8], id: Int32)]) {
        var capacity = 16
        while capacity < entries.count * 2 { capacity *= 2 }
        mask = capacity - 1
        slots = .allocate(capacity: capacity)
        slots.initialize(repeating: Slot(), count: capacity)
        bytes = .allocate(capacity: max(1, entries.reduce(0) { $0 + $1.bytes.count }))
        var used = 0
        for entry in entries {
            entry.bytes.withUnsafeBufferPointer { key in
                let hash = Self.hash(key)
                let slot = find(key, hash)
                if slots[slot].id < 0 {
                    if let base = key.baseAddress { (bytes + used).update(from: base, count: key.count) }
                    slots[slot] = Slot(
                        hash: UInt32(truncatingIfNeeded: hash >> 32), start: UInt32(used),
                        length: UInt32(key.count), id: entry.id)
                    used += key.count
                } else {
                    slots[slot].id = entry.id
                }
            }
        }
    }

    deinit {
        slots.deallocate()
        bytes.deallocate()
    }

    /// The id of a string, or `nil`.
    subscript(key: UnsafeBufferPointer<UInt8>) -> Int32? {
        let id = slots[find(key, Self.hash(key))].id
        return id < 0 ? nil : id
    }

    private static func hash(_ key: UnsafeBufferPointer<UInt8>) -> UInt64 {
        guard let base = key.baseAddress else { return 0 }
        return ByteHash.hash(base, key.count)
    }

    /// The slot that holds the key, or the free one where it would go.
    private func find(_ key: UnsafeBufferPointer<UInt8>, _ hash: UInt64) -> Int {
        let short = UInt32(truncatingIfNeeded: hash >> 32)
        var index = Int(truncatingIfNeeded: hash) & mask
        while slots[index].id >= 0 {
            let slot = slots[index]
            if slot.hash == short, Int(slot.length) == key.count {
                let stored = bytes + Int(slot.start)
                var same = 0
                while same < key.count, stored[same] == key[same] { same += 1 }
                if same == key.count { return index }
            }
            index = (index + 1) & mask
        }
        return index
    }
}
