import Foundation
import TensorCore

/// A regular expression over module paths, written for Python's `re` as PEFT takes it.
///
/// Foundation's dialect is another one, so a pattern is read by Python's grammar and written anew: what both mean alike is
/// kept, what only differs in spelling is respelt, and everything else is an error instead of a guess.
struct ModulePattern {
    private let expression: NSRegularExpression

    /// A pattern for a whole path, as `re.fullmatch` takes it.
    ///
    /// - Throws: ``AdapterError`` that shows the place.
    init(matchingAllOf pattern: String) throws {
        try self.init(translated: "(?:\(try PythonPattern.translate(pattern)))", pattern)
    }

    /// A pattern for a path or its last components, as PEFT matches keys of `rank_pattern`.
    init(matchingEndOf pattern: String) throws {
        try self.init(translated: "(?:.*\\.)?(?:\(try PythonPattern.translate(pattern)))", pattern)
    }

    /// A pattern for the layer number in a path: the digits behind a component that `name` describes, or any if `nil`.
    init(layerNumberAfter name: String?) throws {
        let component = try name.map { pattern in
            // PEFT puts the text between two others; a group or an alternative would change what those mean.
            guard !pattern.contains(where: "(|)".contains) else {
                throw AdapterError(.unsupported, "layers_pattern \"\(pattern)\": groups and alternatives are not supported")
            }
            return try PythonPattern.translate(pattern)
        }
        try self.init(translated: ".*?\\.\(component ?? "[^.]*")\\.([0-9]+)\\..*", name ?? "")
    }

    private init(translated: String, _ pattern: String) throws {
        do {
            expression = try NSRegularExpression(pattern: "\\A\(translated)\\z")
        } catch {
            throw AdapterError(.configuration, "\"\(pattern)\" is not a regular expression")
        }
    }

    func matches(_ path: String) -> Bool { match(path) != nil }

    /// What the first group matched, when the pattern does.
    func firstGroup(in path: String) -> String? {
        guard let match = match(path), let range = Range(match.range(at: 1), in: path) else { return nil }
        return String(path[range])
    }

    private func match(_ path: String) -> NSTextCheckingResult? {
        expression.firstMatch(in: path, range: NSRange(path.startIndex..., in: path))
    }
}

/// Values by module pattern, in order: the first key that matches a path, or its end, decides.
package struct ModulePatternMap<Value: Sendable & Equatable>: Sendable, Equatable {
    private let entries: [Entry]

    private struct Entry: Sendable, Equatable {
        let pattern: String
        let value: Value
    }

    /// - Throws: ``AdapterError`` for a key that is not a pattern.
    package init(_ entries: [(pattern: String, value: Value)]) throws {
        for (pattern, _) in entries { _ = try ModulePattern(matchingEndOf: pattern) }
        self.entries = entries.map { Entry(pattern: $0.pattern, value: $0.value) }
    }

    private init(entries: [Entry]) { self.entries = entries }

    package static var empty: ModulePatternMap { ModulePatternMap(entries: []) }

    package var values: [Value] { entries.map(\.value) }

    /// The value for a module, or `nil` when no key matches.
    package func value(for path: String) throws -> Value? {
        try entries.first { try ModulePattern(matchingEndOf: $0.pattern).matches(path) }?.value
    }

    func mapValues<Other>(_ transform: (Value) -> Other) -> ModulePatternMap<Other> {
        ModulePatternMap<Other>(entries: entries.map { .init(pattern: $0.pattern, value: transform($0.value)) })
    }

    /// A JSON object in the map's own order, which decides which key a module takes.
    func json(_ encode: (Value) -> JSONValue) -> JSONValue {
        .object(entries.map { JSONValue.Member($0.pattern, encode($0.value)) })
    }
}

/// Reads Python's regular expressions and respells them for Foundation.
private struct PythonPattern {
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
                guard isRepeatable else { throw failure("there is nothing to repeat before the end of this quantifier") }
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
            guard let end = scalars[position...].firstIndex(of: ">") else { throw failure("a group's name is not closed") }
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

    /// A class `[…]`. Python knows no sets within sets, so every bracket, ampersand and the like stands for itself.
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
