import Foundation

/// The primary composites of Unicode, up to ``UnicodeVersion/normalization``: which scalar a pair of scalars becomes under canonical composition.
///
/// The table is made from the decompositions that Foundation knows. Its own composition is not used: it takes some
/// pairs for others (U+200F5 for U+00F5), and leaves or joins Hangul against the standard.
enum CanonicalComposition {
    /// (first, second) -> composite.
    private static let pairs: PackedTable = {
        var parts: [(composite: Unicode.Scalar, decomposition: [Unicode.Scalar])] = []
        // No script outside these stretches has composites, apart from Hangul.
        for value in [UInt32(0xC0)..<0x3100, 0x10500..<0x10600, 0x11000..<0x17000].joined() {
            guard let scalar = Unicode.Scalar(value), !scalar.properties.isFullCompositionExclusion,
                scalar.isAssigned(by: UnicodeVersion.normalization)
            else { continue }
            let decomposition = Array(String(Character(scalar)).decomposedStringWithCanonicalMapping.unicodeScalars)
            if decomposition.count > 1 { parts.append((scalar, decomposition)) }
        }
        // A decomposition is complete; its second-last step is the composite of all but the last scalar.
        parts.sort { $0.decomposition.count < $1.decomposition.count }
        var whole: [[Unicode.Scalar]: Unicode.Scalar] = [:]
        var entries: [(key: UInt64, value: UInt64)] = []
        for (composite, decomposition) in parts {
            whole[decomposition] = composite
            let start = Array(decomposition.dropLast())
            guard let first = start.count == 1 ? start[0] : whole[start], let second = decomposition.last else {
                continue
            }
            entries.append((key(first, second), UInt64(composite.value)))
        }
        return PackedTable(entries)
    }()

    private static func key(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> UInt64 {
        UInt64(first.value) << 32 | UInt64(second.value)
    }

    /// The composite of two scalars, or `nil`; Hangul syllables by the arithmetic of section 3.12 of the standard.
    static func composite(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> Unicode.Scalar? {
        switch (first.value, second.value) {
        case (_, 0..<0x80): return nil
        case (0x1100...0x1112, 0x1161...0x1175):
            return Unicode.Scalar(0xAC00 + ((first.value - 0x1100) * 21 + second.value - 0x1161) * 28)
        case (0xAC00...0xD7A3, 0x11A8...0x11C2):
            return (first.value - 0xAC00) % 28 == 0 ? Unicode.Scalar(first.value + second.value - 0x11A7) : nil
        default:
            let found = pairs[key(first, second)]
            return found == PackedTable.missing ? nil : Unicode.Scalar(UInt32(found))
        }
    }
}
