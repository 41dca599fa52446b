/// Cuts a template into tokens, with `trim_blocks` and `lstrip_blocks` on, as transformers sets them.
///
/// The rules of white space are those of Jinja's lexer (pallets/jinja, `src/jinja2/lexer.py`): a block tag takes the
/// newline after it along, and the spaces before it when nothing else precedes it on its line; `-` takes all white
/// space on its side, `+` none; of the template's own end one newline is dropped.
struct JinjaLexer {
    private let source: [Unicode.Scalar]
    private var position = 0
    private var line = 1
    private var linePosition = 0
    /// Whether the last match ended with a newline, or nothing was matched yet.
    private var lineStarting = true
    private var tokens: [JinjaToken] = []
    private var brackets: [Unicode.Scalar] = []

    private enum Tag { case block, variable, comment }

    static func tokens(of text: String) throws -> [JinjaToken] {
        var lexer = JinjaLexer(text)
        try lexer.run()
        return lexer.tokens
    }

    private init(_ text: String) {
        var scalars: [Unicode.Scalar] = []
        scalars.reserveCapacity(text.utf8.count)
        var previous: Unicode.Scalar = " "
        for scalar in text.unicodeScalars {
            if scalar == "\r" {
                scalars.append("\n")
            } else if scalar != "\n" || previous != "\r" {
                scalars.append(scalar)
            }
            previous = scalar
        }
        if scalars.last == "\n" { scalars.removeLast() }
        source = scalars
    }

    // MARK: Places

    private mutating func currentLine() -> Int {
        while linePosition < position {
            if source[linePosition] == "\n" { line += 1 }
            linePosition += 1
        }
        return line
    }

    private mutating func failure(_ message: String) -> JinjaFailure {
        JinjaFailure(.templateSyntax, line: currentLine(), message)
    }

    private mutating func add(_ kind: JinjaToken.Kind) {
        tokens.append(JinjaToken(kind: kind, line: currentLine()))
    }

    private func scalar(at index: Int) -> Unicode.Scalar? {
        source.indices.contains(index) ? source[index] : nil
    }

    private func matches(_ text: String, at index: Int) -> Bool {
        var place = index
        for scalar in text.unicodeScalars {
            guard place < source.count, source[place] == scalar else { return false }
            place += 1
        }
        return true
    }

    private func skippingSpace(from index: Int) -> Int {
        var place = index
        while place < source.count, PythonScalars.isSpace(source[place]) { place += 1 }
        return place
    }

    /// Moves on, and remembers whether a line starts there.
    private mutating func advance(to end: Int) {
        if end > position { lineStarting = source[end - 1] == "\n" }
        position = end
    }

    private func text(_ range: Range<Int>) -> String {
        var text = String.UnicodeScalarView()
        text.append(contentsOf: source[range])
        return String(text)
    }

    // MARK: Text between tags

    private mutating func run() throws {
        while position < source.count {
            guard let start = nextTag() else {
                add(.data(text(position..<source.count)))
                position = source.count
                break
            }
            try readTag(at: start)
        }
        add(.end)
    }

    private func nextTag() -> Int? {
        var place = position
        while place + 1 < source.count {
            if source[place] == "{" {
                let next = source[place + 1]
                if next == "%" || next == "{" || next == "#" { return place }
            }
            place += 1
        }
        return nil
    }

    private mutating func readTag(at start: Int) throws {
        let tag: Tag = source[start + 1] == "%" ? .block : source[start + 1] == "{" ? .variable : .comment
        let sign = scalar(at: start + 2).flatMap { $0 == "-" || $0 == "+" ? $0 : nil }
        let inside = start + 2 + (sign == nil ? 0 : 1)
        addData(upTo: start, sign: sign, stripsLine: tag != .variable)
        switch tag {
        case .comment:
            advance(to: inside)
            try readComment()
        case .variable:
            add(.variableBegin)
            advance(to: inside)
            try readExpressionTokens(inBlock: false)
        case .block:
            if let end = rawBegin(from: inside) {
                advance(to: end)
                try readRaw()
            } else {
                add(.blockBegin)
                advance(to: inside)
                try readExpressionTokens(inBlock: true)
            }
        }
    }

    /// Adds the text from here to a tag, stripped as the tag's sign asks.
    private mutating func addData(upTo end: Int, sign: Unicode.Scalar?, stripsLine: Bool) {
        var stop = end
        if sign == "-" {
            while stop > position, PythonScalars.isSpace(source[stop - 1]) { stop -= 1 }
        } else if sign != "+", stripsLine {
            var lineStart = end
            while lineStart > position, source[lineStart - 1] != "\n" { lineStart -= 1 }
            if lineStart > position || lineStarting, skippingSpace(from: lineStart) >= end { stop = lineStart }
        }
        if stop > position { add(.data(text(position..<stop))) }
        advance(to: end)
    }

    /// The place after the end of a tag at `index`: `mark` with its sign, and what it takes along.
    private func tagEnd(_ mark: String, at index: Int, takesNewline: Bool, allowsPlus: Bool) -> Int? {
        if allowsPlus, scalar(at: index) == "+", matches(mark, at: index + 1) { return index + 3 }
        if scalar(at: index) == "-", matches(mark, at: index + 1) { return skippingSpace(from: index + 3) }
        guard matches(mark, at: index) else { return nil }
        return takesNewline && scalar(at: index + 2) == "\n" ? index + 3 : index + 2
    }

    private mutating func readComment() throws {
        var place = position
        while place < source.count {
            if let end = tagEnd("#}", at: place, takesNewline: true, allowsPlus: true) { return advance(to: end) }
            place += 1
        }
        throw failure("a comment is not closed with '#}'")
    }

    private func rawBegin(from inside: Int) -> Int? {
        var place = skippingSpace(from: inside)
        guard matches("raw", at: place) else { return nil }
        place = skippingSpace(from: place + 3)
        return tagEnd("%}", at: place, takesNewline: false, allowsPlus: false)
    }

    private mutating func readRaw() throws {
        var place = position
        while place < source.count {
            if matches("{%", at: place) {
                let sign = scalar(at: place + 2).flatMap { $0 == "-" || $0 == "+" ? $0 : nil }
                var inside = skippingSpace(from: place + 2 + (sign == nil ? 0 : 1))
                if matches("endraw", at: inside) {
                    inside = skippingSpace(from: inside + 6)
                    if let end = tagEnd("%}", at: inside, takesNewline: true, allowsPlus: true) {
                        addData(upTo: place, sign: sign, stripsLine: true)
                        return advance(to: end)
                    }
                }
            }
            place += 1
        }
        throw failure("'{% raw %}' is not closed with '{% endraw %}'")
    }

    // MARK: Inside tags

    private mutating func readExpressionTokens(inBlock: Bool) throws {
        brackets = []
        while true {
            if brackets.isEmpty {
                let mark = inBlock ? "%}" : "}}"
                if let end = tagEnd(mark, at: position, takesNewline: inBlock, allowsPlus: inBlock) {
                    add(inBlock ? .blockEnd : .variableEnd)
                    return advance(to: end)
                }
            }
            guard let first = scalar(at: position) else {
                throw failure("the template ends inside a tag; '\(inBlock ? "%}" : "}}")' is missing")
            }
            if PythonScalars.isSpace(first) {
                advance(to: skippingSpace(from: position))
            } else if PythonScalars.isASCIIDigit(first) {
                try readNumber()
            } else if first == "_" || first.properties.isXIDStart {
                var end = position + 1
                while let next = scalar(at: end), next == "_" || next.properties.isXIDContinue { end += 1 }
                add(.name(text(position..<end)))
                advance(to: end)
            } else if first == "'" || first == "\"" {
                try readString(quote: first)
            } else {
                try readSymbol(first)
            }
        }
    }

    private mutating func readSymbol(_ first: Unicode.Scalar) throws {
        for symbol in ["//", "**", "==", "!=", ">=", "<="] where matches(symbol, at: position) {
            add(.symbol(symbol))
            return advance(to: position + 2)
        }
        switch first {
        case "(": brackets.append(")")
        case "[": brackets.append("]")
        case "{": brackets.append("}")
        case ")", "]", "}":
            guard let expected = brackets.popLast() else { throw failure("unexpected '\(first)'") }
            guard expected == first else { throw failure("unexpected '\(first)', expected '\(expected)'") }
        case "+", "-", "/", "*", "%", "~", ">", "<", "=", ".", ":", "|", ",", ";": break
        default: throw failure("unexpected character '\(first)'")
        }
        add(.symbol(String(Character(first))))
        advance(to: position + 1)
    }

    /// The end of digits from `index`, with single underscores between them.
    private func digitsEnd(from index: Int) -> Int {
        var end = index
        while let next = scalar(at: end), PythonScalars.isASCIIDigit(next) {
            end += 1
            if scalar(at: end) == "_", scalar(at: end + 1).map(PythonScalars.isASCIIDigit) == true { end += 1 }
        }
        return end
    }

    private mutating func readNumber() throws {
        let afterDot = position > 0 && source[position - 1] == "."
        let whole = digitsEnd(from: position)
        var end = whole
        if !afterDot {
            if scalar(at: end) == ".", digitsEnd(from: end + 1) > end + 1 { end = digitsEnd(from: end + 1) }
            if scalar(at: end) == "e" || scalar(at: end) == "E" {
                var exponent = end + 1
                if scalar(at: exponent) == "+" || scalar(at: exponent) == "-" { exponent += 1 }
                if digitsEnd(from: exponent) > exponent { end = digitsEnd(from: exponent) }
            }
        }
        if end > whole {
            guard let value = Double(text(position..<end).replacing("_", with: "")) else {
                throw failure("\(text(position..<end)) is no number")
            }
            add(.float(value))
            return advance(to: end)
        }
        var radix = 10
        if source[position] == "0" {
            switch scalar(at: position + 1) {
            case "x", "X": radix = 16
            case "o", "O": radix = 8
            case "b", "B": radix = 2
            default: break
            }
        }
        if radix != 10 {
            end = position + 2
            while let next = scalar(at: end), next == "_" || next.properties.isASCIIHexDigit { end += 1 }
            guard let value = Int(text(position + 2..<end).replacing("_", with: ""), radix: radix) else {
                throw failure("\(text(position..<end)) is no number that fits 64 bits")
            }
            add(.integer(value))
            return advance(to: end)
        }
        let digits = text(position..<whole).replacing("_", with: "")
        guard let value = Int(digits) else { throw failure("\(digits) does not fit 64 bits") }
        guard value == 0 || source[position] != "0" else { throw failure("\(digits): a number begins with zero") }
        add(.integer(value))
        advance(to: whole)
    }

    // MARK: String literals

    private mutating func readString(quote: Unicode.Scalar) throws {
        var end = position + 1
        while let next = scalar(at: end), next != quote { end += next == "\\" ? 2 : 1 }
        guard end < source.count else { throw failure("a string is not closed") }
        add(.string(try unescaped(position + 1..<end)))
        advance(to: end + 1)
    }

    /// What Python's `unicode_escape` makes of a string literal.
    private mutating func unescaped(_ range: Range<Int>) throws -> String {
        var result = String.UnicodeScalarView()
        var place = range.lowerBound
        while place < range.upperBound {
            let scalar = source[place]
            place += 1
            guard scalar == "\\", place < range.upperBound else {
                result.append(scalar)
                continue
            }
            let escape = source[place]
            place += 1
            switch escape {
            case "\n": break
            case "\\", "'", "\"": result.append(escape)
            case "a": result.append("\u{07}")
            case "b": result.append("\u{08}")
            case "f": result.append("\u{0C}")
            case "n": result.append("\n")
            case "r": result.append("\r")
            case "t": result.append("\t")
            case "v": result.append("\u{0B}")
            case "0"..."7":
                var value = escape.value - 48
                var count = 1
                while count < 3, place < range.upperBound, ("0"..."7").contains(source[place]) {
                    value = value * 8 + source[place].value - 48
                    place += 1
                    count += 1
                }
                result.append(Unicode.Scalar(value) ?? "\u{FFFD}")
            case "x": result.append(try hexEscape(&place, digits: 2, limit: range.upperBound))
            case "u": result.append(try hexEscape(&place, digits: 4, limit: range.upperBound))
            case "U": result.append(try hexEscape(&place, digits: 8, limit: range.upperBound))
            case "N": throw JinjaFailure.unsupported("the escape \\N{...} is not supported", line: currentLine())
            case _ where escape.isASCII:
                result.append("\\")
                result.append(escape)
            default:
                throw JinjaFailure.unsupported(
                    "a backslash before '\(escape)' in a string is not supported", line: currentLine())
            }
        }
        return String(result)
    }

    private mutating func hexEscape(_ place: inout Int, digits: Int, limit: Int) throws -> Unicode.Scalar {
        guard place + digits <= limit, source[place..<place + digits].allSatisfy(\.properties.isASCIIHexDigit),
            let value = UInt32(text(place..<place + digits), radix: 16)
        else { throw failure("a \\x, \\u or \\U escape lacks its \(digits) hexadecimal digits") }
        guard let scalar = Unicode.Scalar(value) else {
            throw JinjaFailure.unsupported("an escape spells half a surrogate pair", line: currentLine())
        }
        place += digits
        return scalar
    }
}
