/// `BertNormalizer`: drops control characters, makes every white space a blank, sets Chinese characters apart, drops
/// accents and lowercases, each if asked for.
///
/// The five steps are one pass over the text, since what each does to a scalar does not depend on its neighbours: the
/// marks that canonical decomposition would reorder are dropped anyway. The few that are not dropped
/// (``reordered``) send a text down the slow way, step by step.
struct BertNormalizer: Normalizer {
    private let cleans: Bool
    private let separatesChinese: Bool
    private let stripsAccents: Bool
    private let lowercases: Bool
    /// What each scalar becomes after accents and case; `nil` when it all stays.
    private let mapping: ScalarMapping?
    /// What an ASCII byte becomes, or 0xFF when it is dropped.
    private let ascii: [UInt8]

    private static let dropped: UInt8 = 0xFF

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
        cleans = try node.bool("clean_text", default: true)
        separatesChinese = try node.bool("handle_chinese_chars", default: true)
        lowercases = try node.bool("lowercase", default: true)
        let lowercases = lowercases
        let stripsAccents = try node.bool("strip_accents", default: lowercases)
        self.stripsAccents = stripsAccents
        let cleans = cleans
        ascii = (0..<128).map { (byte: UInt8) in
            if cleans {
                switch byte {
                case 0x09, 0x0A, 0x0D, 0x20: return 0x20
                case 0..<0x20, 0x7F: return Self.dropped
                default: break
                }
            }
            return lowercases && (0x41...0x5A).contains(byte) ? byte | 0x20 : byte
        }
        guard stripsAccents || lowercases else {
            mapping = nil
            return
        }
        let decomposition = UnicodeNormalizer(.nfd)
        mapping = ScalarMapping { scalar in
            var parts = [scalar]
            if stripsAccents {
                parts = decomposition.decomposition(of: scalar).filter { !$0.isNonspacingMarkOfUnicode8 }
            }
            return lowercases ? parts.flatMap { Array($0.properties.lowercaseMapping.unicodeScalars) } : parts
        }
    }

    // The bits of ``kinds``.
    private static let removed: UInt8 = 1
    private static let space: UInt8 = 2
    private static let chinese: UInt8 = 4
    private static let mark: UInt8 = 8
    /// A scalar that decomposition may move past others, or make of it, and that is no mark to drop.
    private static let reordered: UInt8 = 16
    private static let hangul: UInt8 = 32

    private static let kinds = ScalarTable { value in
        switch value {
        case 0xAC00...0xD7A3: return hangul
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF: return chinese
        case 0xE000...0xF8FF, 0xF0000...0xFFFFD, 0x100000...0x10FFFD: return removed
        case 0x2A700...0x2B81F, 0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F: return chinese
        case 0x2FA20..<0xE0000: return 0
        // Notes that decompose into a head and a stem, which is such a scalar.
        case 0x1D15E...0x1D164, 0x1D1BB...0x1D1C0: return reordered
        default: break
        }
        guard let scalar = Unicode.Scalar(value) else { return 0 }
        var kind: UInt8 = 0
        if value == 0 || value == 0xFFFD || scalar.isOtherOfUnicode8 { kind |= removed }
        if scalar.properties.isWhitespace { kind |= space }
        if scalar.isNonspacingMarkOfUnicode8 {
            kind |= mark
        } else if scalar.properties.canonicalCombiningClass != .notReordered {
            kind |= reordered
        }
        return kind
    }

    func leavesUnchanged(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        ascii.withUnsafeBufferPointer { ascii in
            for byte in utf8 where byte >= 0x80 || ascii[Int(byte)] != byte { return false }
            return true
        }
    }

    func normalize(_ text: inout AlignedText) {
        if stripsAccents, text.bytes.withUnsafeBufferPointer({ needsReordering($0) }) { return normalizeSlowly(&text) }
        text.rewrite { utf8, output in
            ascii.withUnsafeBufferPointer { ascii in
                var index = 0
                while index < utf8.count {
                    let byte = utf8[index]
                    if byte < 0x80 {
                        let new = ascii[Int(byte)]
                        if new != Self.dropped { output.append(ascii: new, originOf: index) }
                        index += 1
                    } else {
                        index += appendScalar(at: index, of: utf8, to: &output)
                    }
                }
            }
        }
    }

    private func needsReordering(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        if UTF8Reading.isASCII(utf8) { return false }
        var index = 0
        while index < utf8.count {
            let (value, length) = UTF8Reading.scalar(at: index, in: utf8)
            if value >= 0x300, Self.kinds[value] & Self.reordered != 0 { return true }
            index += length
        }
        return false
    }

    /// Writes what the scalar at `index` becomes and returns its length in bytes.
    private func appendScalar(
        at index: Int, of utf8: UnsafeBufferPointer<UInt8>, to output: inout AlignedText.Rewriter
    ) -> Int {
        let (value, length) = UTF8Reading.scalar(at: index, in: utf8)
        let kind = Self.kinds[value]
        if cleans, kind & (Self.removed | Self.space) != 0 {
            // U+0085 is both a control character and a space; dropping comes first.
            if kind & Self.removed == 0 { output.append(ascii: 0x20, originOf: index) }
            return length
        }
        if stripsAccents, kind & Self.mark != 0 { return length }
        let isApart = separatesChinese && kind & Self.chinese != 0
        if isApart { output.append(ascii: 0x20, originOf: index) }
        if let mapped = mapping?[value] {
            output.append(utf8: mapped, originOf: index)
        } else if stripsAccents, kind & Self.hangul != 0 {
            appendLetters(ofSyllable: value, index, &output)
        } else {
            output.copy(index..<index + length, of: utf8)
        }
        if isApart { output.append(ascii: 0x20, originOf: index) }
        return length
    }

    /// The canonical decomposition of a Hangul syllable (section 3.12 of the standard).
    private func appendLetters(ofSyllable value: UInt32, _ index: Int, _ output: inout AlignedText.Rewriter) {
        let place = value - 0xAC00
        output.append(Unicode.Scalar(0x1100 + place / 588)!, originOf: index)
        output.append(Unicode.Scalar(0x1161 + place % 588 / 28)!, originOf: index)
        if place % 28 > 0 { output.append(Unicode.Scalar(0x11A7 + place % 28)!, originOf: index) }
    }

    /// The steps one by one, with accents decomposed and ordered in between.
    private func normalizeSlowly(_ text: inout AlignedText) {
        if cleans {
            text.rewriteScalars { scalar in
                let kind = Self.kinds[scalar.value]
                if scalar.value < 0x80 {
                    let isBlank = [0x09, 0x0A, 0x0D, 0x20].contains(scalar.value)
                    return isBlank ? [" "] : kind & Self.removed != 0 ? [] : [scalar]
                }
                return kind & Self.removed != 0 ? [] : kind & Self.space != 0 ? [" "] : [scalar]
            }
        }
        if separatesChinese {
            text.rewriteScalars { Self.kinds[$0.value] & Self.chinese != 0 ? [" ", $0, " "] : [$0] }
        }
        UnicodeNormalizer(.nfd).normalize(&text)
        text.rewriteScalars { $0.isNonspacingMarkOfUnicode8 ? [] : [$0] }
        if lowercases { text.rewriteScalars { Array($0.properties.lowercaseMapping.unicodeScalars) } }
    }
}
