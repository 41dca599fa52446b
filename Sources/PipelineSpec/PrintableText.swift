/// Text out of a file that nobody vouches for, made fit for a terminal and a log.
package enum PrintableText {
    /// `text` on one line: control characters and direction marks as `\u{1B}`, cut to `limit` characters.
    package static func line(_ text: String, limit: Int) -> String {
        var result = String.UnicodeScalarView()
        var count = 0
        for scalar in text.unicodeScalars {
            let piece = isUnsafe(scalar) ? escape(scalar) : String(scalar)
            count += piece.unicodeScalars.count
            if count > limit {
                while result.count > limit - 1 { result.removeLast() }
                result.append("…")
                break
            }
            result.append(contentsOf: piece.unicodeScalars)
        }
        return String(result)
    }

    /// `text` in quotation marks, fit for a sentence; long text is cut.
    package static func quoted(_ text: String, limit: Int = 48) -> String { "\"\(line(text, limit: limit))\"" }

    /// Whether a scalar could move the cursor, reorder the text or hide.
    static func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F...0x9F, 0x200B...0x200F, 0x2028...0x202E, 0x2060...0x2069, 0xFEFF, 0xFFFE, 0xFFFF: true
        default: false
        }
    }

    private static func escape(_ scalar: Unicode.Scalar) -> String {
        switch scalar {
        case "\n": "\\n"
        case "\t": "\\t"
        case "\r": "\\r"
        default: "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
        }
    }
}
