/// Reads Python's regular expressions and respells them for Foundation.
struct PythonPattern {
    private let scalars: [Unicode.Scalar]
    private var position = 0
    private var result = ""

    static func translate(_ pattern: String) throws -> String {
        var reader = PythonPattern(scalars: Array(pattern.unicodeScalars))
        try reader.read()
        return reader.result
    }

    private init(scalars: [Unicode.Scalar]) { self.scalars = scalars }

    private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    private func rest(startsWith text: String) -> Bool { scalars[position...].starts(with: text.unicodeScalars) }

    private func failure(_ what: String) -> AdapterError {
        AdapterError(
            .unsupported,
            "regular expression \"\(String(String.UnicodeScalarView(scalars)))\": \(what) at character \(position + 1)")
    }

    private mutating func read() throws {
        var depth = 0
        // Whether something is there that a quantifier can repeat.
        var isRepeatable = false
        while let scalar = next {
            switch scalar {
            case "\\":
                position += 1
                result += try readEscape(inClass: false)
                isRepeatable = true
            case "[":
                try readClass()
                isRepeatable = true
            case "(":
                try readGroupStart()
                depth += 1
                isRepeatable = false
            case ")":
                guard depth > 0 else { throw failure("a ')' closes nothing") }
                depth -= 1
                copy()
                isRepeatable = true
            case "|", "^", "$":
                copy()
                isRepeatable = false
            case "*", "+", "?", "{":
                guard let quantifier = readQuantifier() else {
                    appendLiteral(scalar)
                    position += 1
                    isRepeatable = true
                    continue
                }
                guard isRepeatable else {
                    throw failure("there is nothing to repeat before the end of this quantifier")
                }
                result += quantifier
                if next == "?" { copy() }
                if let following = next, "*+?".unicodeScalars.contains(following) {
                    throw failure("a second quantifier is not supported")
                }
                isRepeatable = false
            case ".":
                copy()
                isRepeatable = true
            default:
                appendLiteral(scalar)
                position += 1
                isRepeatable = true
            }
        }
        guard depth == 0 else { throw failure("a '(' is not closed") }
    }

    private mutating func copy() {
        result.unicodeScalars.append(scalars[position])
        position += 1
    }

    private mutating func appendLiteral(_ scalar: Unicode.Scalar) { result += Self.literal(scalar) }

    /// A scalar that stands for itself, in a class and outside.
    private static func literal(_ scalar: Unicode.Scalar) -> String {
        scalar.isASCII && !scalar.properties.isAlphabetic && !("0"..."9").contains(scalar) && scalar != "_"
            ? "\\\(scalar)" : "\(scalar)"
    }

    /// The scalar behind a backslash; both dialects give these the same meaning on the ASCII of module paths.
    private mutating func readEscape(inClass: Bool) throws -> String {
        guard let scalar = next else { throw failure("the pattern ends in a backslash") }
        let known = inClass ? "dDwWsS" : "dDwWsSbBA"
        if known.unicodeScalars.contains(scalar) {
            position += 1
            return "\\\(scalar)"
        }
        if scalar == "Z", !inClass {
            position += 1
            return "\\z"
        }
        guard scalar.isASCII, !scalar.properties.isAlphabetic, !("0"..."9").contains(scalar) else {
            throw failure("the escape \\\(scalar) is not supported")
        }
        position += 1
        return Self.literal(scalar)
    }

    private mutating func readGroupStart() throws {
        if rest(startsWith: "(?P<") {
            guard let end = scalars[position...].firstIndex(of: ">") else {
                throw failure("a group's name is not closed")
            }
            position = end + 1
            result += "(?:"
            return
        }
        for form in ["(?:", "(?=", "(?!"] where rest(startsWith: form) {
            position += 3
            result += form
            return
        }
        guard !rest(startsWith: "(?") else { throw failure("this kind of group is not supported") }
        copy()
    }

    /// The quantifier at the position, or `nil` and nothing read when a brace stands for itself.
    private mutating func readQuantifier() -> String? {
        guard next == "{" else {
            defer { position += 1 }
            return next.map(String.init)
        }
        guard let end = scalars[position...].firstIndex(of: "}") else { return nil }
        let bounds = String(String.UnicodeScalarView(scalars[(position + 1)..<end]))
            .split(separator: ",", omittingEmptySubsequences: false)
        let areDigits = bounds.allSatisfy { $0.allSatisfy { ("0"..."9").contains($0) } }
        guard areDigits, bounds.count == 2 || (bounds.count == 1 && !bounds[0].isEmpty) else { return nil }
        position = end + 1
        if bounds.count == 1 { return "{\(bounds[0])}" }
        return "{\(bounds[0].isEmpty ? "0" : bounds[0]),\(bounds[1])}"
    }

    /// A class in brackets.
    ///
    /// Python knows no sets within sets, so every bracket, ampersand and the like stands for itself.
    private mutating func readClass() throws {
        copy()
        if next == "^" { copy() }
        var isFirst = true
        while let scalar = next {
            if scalar == "]", !isFirst {
                copy()
                return
            }
            isFirst = false
            let low = try readClassItem()
            guard next == "-", position + 1 < scalars.count, scalars[position + 1] != "]" else {
                result += low.text
                continue
            }
            position += 1
            let high = try readClassItem()
            guard low.isLiteral, high.isLiteral else { throw failure("a class such as \\d cannot end a range") }
            result += "\(low.text)-\(high.text)"
        }
        throw failure("a '[' is not closed")
    }

    private mutating func readClassItem() throws -> (text: String, isLiteral: Bool) {
        guard let scalar = next else { throw failure("a '[' is not closed") }
        position += 1
        guard scalar == "\\" else { return (Self.literal(scalar), true) }
        let text = try readEscape(inClass: true)
        return (text, !"dDwWsS".contains(text.last ?? " "))
    }
}
