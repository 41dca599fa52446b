/// Translates a pattern written for Oniguruma's Ruby syntax, which tokenizer files use, into PCRE2's.
///
/// The two agree on almost everything in these files. They differ on what `\s`, `\w` and `\h` mean (PCRE2 10.42 counts
/// U+180E as a space and leaves marks out of words, Oniguruma counts the numbers of Latin-1 in; `\h` is a hexadecimal digit in Oniguruma and a blank in PCRE2) and
/// on `(?m)`, which lets the dot match newlines in Oniguruma. Inside a class, `\S` and `\W` keep PCRE2's meaning.
/// Oniguruma's `^` and `$` match at every line; compile the result with `PCRE2_MULTILINE`.
enum OnigurumaSyntax {
    private static let space =
        #"\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"#
    private static let word = #"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}"#
    private static let hexadecimal = "0-9A-Fa-f"

    /// The first construct that only PCRE2 knows or that could end a match halfway, or `nil`.
    ///
    /// `(*` starts a verb in PCRE2, among them limits; recursion and calls of groups can run out of stack.
    static func unsupportedConstruct(in pattern: String) -> String? {
        let scalars = Array(pattern.unicodeScalars)
        func starts(_ text: String, at index: Int) -> Bool {
            scalars[index...].starts(with: text.unicodeScalars)
        }
        var index = 0
        while index < scalars.count {
            if scalars[index] == "\\" {
                if starts("\\g", at: index) { return "\\g" }
                index += 2
                continue
            }
            if starts("(*", at: index) { return "(*" }
            if starts("(?", at: index), index + 2 < scalars.count {
                let isDigit = index + 3 < scalars.count && ("0"..."9").contains(scalars[index + 3])
                switch scalars[index + 2] {
                case "R", "&", "C", "0"..."9": return "(?\(scalars[index + 2])"
                case "+" where isDigit, "-" where isDigit: return "(?\(scalars[index + 2])"
                case "P" where starts("(?P>", at: index): return "(?P>"
                default: break
                }
            }
            index += 1
        }
        return nil
    }

    static func translated(_ pattern: String) -> String {
        var output = ""
        var depth = 0
        let scalars = Array(pattern.unicodeScalars)
        var index = 0
        while index < scalars.count {
            let scalar = scalars[index]
            index += 1
            switch scalar {
            case "\\" where index < scalars.count:
                let escaped = scalars[index]
                index += 1
                output += translatedEscape(escaped, inClass: depth > 0)
            case "[":
                // A POSIX class such as [:alpha:] inside a class has its own brackets.
                if depth > 0, index < scalars.count, scalars[index] == ":" {
                    while index < scalars.count, scalars[index - 1] != "]" {
                        output.unicodeScalars.append(scalars[index - 1])
                        index += 1
                    }
                    output += "]"
                    continue
                }
                depth += 1
                output += "["
                if index < scalars.count, scalars[index] == "^" {
                    output += "^"
                    index += 1
                }
            case "]":
                depth = max(0, depth - 1)
                output += "]"
            case "(" where depth == 0 && index < scalars.count && scalars[index] == "?":
                output += "(?"
                index += 1
                while index < scalars.count, "imx-".unicodeScalars.contains(scalars[index]) {
                    output.unicodeScalars.append(scalars[index] == "m" ? "s" : scalars[index])
                    index += 1
                }
            default: output.unicodeScalars.append(scalar)
            }
        }
        return output
    }

    private static func translatedEscape(_ escaped: Unicode.Scalar, inClass: Bool) -> String {
        switch (escaped, inClass) {
        case ("s", false): "[" + space + "]"
        case ("S", false): "[^" + space + "]"
        case ("s", true): space
        case ("w", false): "[" + word + "]"
        case ("W", false): "[^" + word + "]"
        case ("w", true): word
        case ("h", false): "[" + hexadecimal + "]"
        case ("H", false): "[^" + hexadecimal + "]"
        case ("h", true): hexadecimal
        default: "\\" + String(Character(escaped))
        }
    }
}
