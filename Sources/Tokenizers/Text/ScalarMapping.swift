/// What single scalars become, for the few that change: a table from scalars to UTF-8 bytes.
final class ScalarMapping: @unchecked Sendable {
    // Sendable holds: the memory is written in init only.

    /// Stretches that hold every scalar with a case mapping or a canonical decomposition, Hangul syllables excepted.
    static let changingStretches: [Range<UInt32>] = [
        0x80..<0x3100, 0xA640..<0xAC00, 0xF900..<0xFB50, 0xFF00..<0xFF60, 0x10400..<0x10600, 0x10C80..<0x10D90,
        0x11000..<0x12000, 0x16100..<0x16F00, 0x1D100..<0x1D200, 0x1E900..<0x1E980, 0x2F800..<0x2FA20,
    ]

    private let table: PackedTable
    private let bytes: UnsafeMutablePointer<UInt8>

    /// The mapping of the scalars in ``changingStretches`` that `map` changes.
    init(_ map: (Unicode.Scalar) -> [Unicode.Scalar]) {
        var entries: [(key: UInt64, value: UInt64)] = []
        var flat: [UInt8] = []
        for value in Self.changingStretches.joined() {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let mapped = map(scalar)
            if mapped.count == 1, mapped[0] == scalar { continue }
            let start = flat.count
            for part in mapped { flat.append(contentsOf: UTF8.encode(part)!) }
            entries.append((UInt64(value), UInt64(start << 8 | (flat.count - start))))
        }
        table = PackedTable(entries)
        bytes = .allocate(capacity: max(1, flat.count))
        bytes.initialize(from: flat, count: flat.count)
    }

    deinit { bytes.deallocate() }

    /// The UTF-8 bytes that stand for a scalar, or `nil` if it stays as it is; valid as long as the mapping.
    @inline(__always)
    subscript(value: UInt32) -> UnsafeBufferPointer<UInt8>? {
        let found = table[UInt64(value)]
        if found == PackedTable.missing { return nil }
        return UnsafeBufferPointer(start: bytes + Int(found >> 8), count: Int(found & 0xFF))
    }
}
