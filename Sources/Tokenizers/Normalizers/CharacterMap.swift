import Foundation

/// The compiled character map of a SentencePiece model: a double-array trie from UTF-8 strings to their replacements.
///
/// Layout: a little-endian 32-bit size in bytes of the trie, the trie (the 32-bit units of Darts-clone, a double array
/// after Yata et al. 2007), then the replacements, each ended by a zero byte.
struct CharacterMap: Sendable {
    private let units: [UInt32]
    private let replacements: [UInt8]

    /// Reads a map; `nil` when the sizes do not fit the data or the replacements are not UTF-8.
    init?(_ data: [UInt8]) {
        guard data.count >= 4 else { return nil }
        func word(_ start: Int) -> UInt32 {
            UInt32(data[start]) | UInt32(data[start + 1]) << 8 | UInt32(data[start + 2]) << 16
                | UInt32(data[start + 3]) << 24
        }
        let size = Int(word(0))
        guard size > 0, size % 4 == 0, size <= data.count - 4 else { return nil }
        units = stride(from: 4, to: 4 + size, by: 4).map(word)
        replacements = Array(data[(4 + size)...])
        guard replacements.withUnsafeBufferPointer({ UTF8Reading.isValid($0) }) else { return nil }
    }

    /// The replacement of the shortest prefix of `text` that has one.
    func replacement(of text: UnsafeBufferPointer<UInt8>) -> ArraySlice<UInt8>? {
        var node = Self.offset(units[0])
        for byte in text {
            guard byte != 0 else { return nil }
            node ^= Int(byte)
            guard node < units.count, units[node] & 0x8000_00FF == UInt32(byte) else { return nil }
            let unit = units[node]
            node ^= Self.offset(unit)
            guard node < units.count else { return nil }
            guard unit & 0x100 != 0 else { continue }
            let start = Int(units[node] & 0x7FFF_FFFF)
            // A map that points into the middle of a character is broken; such an entry replaces nothing.
            guard start <= replacements.count,
                start == replacements.count || !UTF8Reading.isContinuation(replacements[start])
            else { return nil }
            return replacements[start...].prefix { $0 != 0 }
        }
        return nil
    }

    private static func offset(_ unit: UInt32) -> Int { Int((unit >> 10) << ((unit & 0x200) >> 6)) }
}
