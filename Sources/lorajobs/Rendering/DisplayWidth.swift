/// How many columns of a terminal text takes.
enum DisplayWidth {
    /// Columns of `text`, which holds no control characters.
    static func of(_ text: String) -> Int { text.reduce(0) { $0 + width(of: $1) } }

    /// The longest beginning of `text` that fits `columns`, with `…` in place of what was cut.
    static func fit(_ text: String, in columns: Int) -> String {
        guard of(text) > columns else { return text }
        guard columns > 0 else { return "" }
        var result = ""
        var used = 1
        for character in text {
            let width = width(of: character)
            guard used + width <= columns else { break }
            result.append(character)
            used += width
        }
        return result + "…"
    }

    /// `text` followed, or preceded, by spaces up to `columns`.
    static func pad(_ text: String, to columns: Int, right: Bool = false) -> String {
        let spaces = String(repeating: " ", count: max(0, columns - of(text)))
        return right ? spaces + text : text + spaces
    }

    private static func width(of character: Character) -> Int {
        // An emoji sequence is drawn as one picture, whatever it is made of.
        let scalars = character.unicodeScalars
        if scalars.contains(where: { $0.value == 0xFE0F }) { return 2 }
        return scalars.map(width).max() ?? 0
    }

    private static func width(of scalar: Unicode.Scalar) -> Int {
        if scalar.isASCII { return 1 }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format, .control: return 0
        default: break
        }
        if scalar.properties.isEmojiPresentation { return 2 }
        return isWide(scalar.value) ? 2 : 1
    }

    /// The blocks that Unicode's EastAsianWidth.txt gives as wide or full-width.
    private static func isWide(_ value: UInt32) -> Bool {
        switch value {
        case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xA000...0xA4CF,
            0xA960...0xA97F, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6,
            0x20000...0x3FFFD:
            true
        default: false
        }
    }
}
