/// A bounded memory of how pieces of text were tokenized: bytes -> ids and byte lengths.
///
/// Words repeat, so most pieces are found here and cost one hash and one comparison. When a limit is reached the cache
/// is emptied, which is simpler than choosing victims and costs little: the common words are back at once.
struct PieceCache: ~Copyable {
    /// Longer pieces are not kept; they hardly repeat.
    static let maximumPieceLength = 48

    private static let slotCount = 1 << 16
    private static let maximumEntries = slotCount / 2
    private static let maximumBytes = 1 << 20
    private static let maximumValues = 1 << 19

    private struct Slot: BitwiseCopyable {
        var hash: UInt32 = 0
        var keyStart: UInt32 = 0
        var valueStart: UInt32 = 0
        var keyLength: UInt16 = 0
        /// Plus one; 0 marks a free slot.
        var valueCount: UInt16 = 0
    }

    private let slots: UnsafeMutablePointer<Slot>
    private var entries = 0
    private var keys = GrowableBuffer<UInt8>(capacity: 1 << 14)
    private var ids = GrowableBuffer<Int32>(capacity: 1 << 12)
    private var lengths = GrowableBuffer<Int32>(capacity: 1 << 12)

    init() {
        slots = .allocate(capacity: Self.slotCount)
        slots.initialize(repeating: Slot(), count: Self.slotCount)
    }

    deinit { slots.deallocate() }

    /// Appends the ids (and the lengths, if kept) of a known piece; false when the piece is not known.
    @inline(__always)
    func lookUp(
        _ piece: UnsafeBufferPointer<UInt8>, hash: UInt64, ids output: inout GrowableBuffer<Int32>,
        lengths outputLengths: inout GrowableBuffer<Int32>, keepsLengths: Bool
    ) -> Bool {
        var index = Int(truncatingIfNeeded: hash) & (Self.slotCount - 1)
        let short = UInt32(truncatingIfNeeded: hash >> 32)
        while true {
            let slot = slots[index]
            if slot.valueCount == 0 { return false }
            if slot.hash == short, Int(slot.keyLength) == piece.count, isEqual(slot, piece) {
                let start = Int(slot.valueStart)
                let count = Int(slot.valueCount) - 1
                output.append(from: ids.base + start, count: count)
                if keepsLengths { outputLengths.append(from: lengths.base + start, count: count) }
                return true
            }
            index = (index + 1) & (Self.slotCount - 1)
        }
    }

    @inline(__always)
    private func isEqual(_ slot: Slot, _ piece: UnsafeBufferPointer<UInt8>) -> Bool {
        let key = keys.base + Int(slot.keyStart)
        for index in 0..<piece.count where key[index] != piece[index] { return false }
        return true
    }

    /// Remembers a piece that is not known yet.
    mutating func insert(
        _ piece: UnsafeBufferPointer<UInt8>, hash: UInt64, ids newIDs: UnsafePointer<Int32>,
        lengths newLengths: UnsafePointer<Int32>, count: Int
    ) {
        guard count < Int(UInt16.max), let bytes = piece.baseAddress else { return }
        if entries >= Self.maximumEntries || keys.count + piece.count > Self.maximumBytes
            || ids.count + count > Self.maximumValues
        {
            removeAll()
        }
        var index = Int(truncatingIfNeeded: hash) & (Self.slotCount - 1)
        while slots[index].valueCount != 0 { index = (index + 1) & (Self.slotCount - 1) }
        slots[index] = Slot(
            hash: UInt32(truncatingIfNeeded: hash >> 32), keyStart: UInt32(keys.count),
            valueStart: UInt32(ids.count), keyLength: UInt16(piece.count), valueCount: UInt16(count + 1))
        keys.append(from: bytes, count: piece.count)
        ids.append(from: newIDs, count: count)
        lengths.append(from: newLengths, count: count)
        entries += 1
    }

    private mutating func removeAll() {
        slots.update(repeating: Slot(), count: Self.slotCount)
        entries = 0
        keys.removeAll()
        ids.removeAll()
        lengths.removeAll()
    }
}
