/// A place in a file: line and column, both from 1; columns count Unicode scalars.
package struct SourceMark: Sendable, Hashable {
    package var line: Int
    package var column: Int

    package init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }
}

/// One value of a YAML or JSON file, with its place. ``DocumentReader`` makes these.
package struct SourceNode: Sendable {
    /// A key of a mapping and what it maps to, in the order of the file.
    package struct Entry: Sendable {
        package var key: String
        package var keyMark: SourceMark
        package var value: SourceNode
    }

    /// What the value is.
    package enum Content: Sendable {
        case scalar(Scalar)
        case sequence([SourceNode])
        case mapping([Entry])
    }

    package var content: Content
    package var mark: SourceMark
    /// JSON pointer from the root of the file.
    package var pointer: String

    /// The entries of a mapping, else `nil`.
    package var entries: [Entry]? {
        if case .mapping(let entries) = content { entries } else { nil }
    }

    /// The elements of a sequence, else `nil`.
    package var elements: [SourceNode]? {
        if case .sequence(let elements) = content { elements } else { nil }
    }

    /// The scalar, else `nil`.
    package var scalar: Scalar? {
        if case .scalar(let scalar) = content { scalar } else { nil }
    }

    /// Whether this is null, or a key without a value.
    package var isNull: Bool { scalar?.value == .null }

    /// What `key` maps to.
    package subscript(key: String) -> SourceNode? { entries?.first { $0.key == key }?.value }

    /// The value without its places.
    package var json: JSONValue {
        switch content {
        case .scalar(let scalar): scalar.value
        case .sequence(let elements): .array(elements.map(\.json))
        case .mapping(let entries):
            .object(Dictionary(entries.map { ($0.key, $0.value.json) }, uniquingKeysWith: { first, _ in first }))
        }
    }

    /// The value in a sentence, such as `"eight"` or `a list`.
    var description: String {
        switch content {
        case .scalar(let scalar) where scalar.value == .null: "nothing"
        case .scalar(let scalar):
            if case .string = scalar.value {
                PrintableText.quoted(scalar.text)
            } else {
                PrintableText.line(scalar.text, limit: 48)
            }
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }

    /// `key` as one more step of a JSON pointer.
    static func pointer(_ base: String, _ key: String) -> String {
        base + "/" + key.replacing("~", with: "~0").replacing("/", with: "~1")
    }
}

/// The text of a value and what YAML 1.2's core schema makes of it.
package struct Scalar: Sendable, Hashable {
    package var text: String
    /// Whether the text stands in quotation marks, or is a block: it is then a string, whatever it spells.
    package var isQuoted: Bool

    /// Null, a Boolean, a number or a string by YAML 1.2.2 section 10.3.2: `2e-4` is a number, `no`, `on` and
    /// `12:30` are strings.
    package var value: JSONValue {
        if isQuoted { return .string(text) }
        switch text {
        case "", "~", "null", "Null", "NULL": return .null
        case "true", "True", "TRUE": return .bool(true)
        case "false", "False", "FALSE": return .bool(false)
        case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF": return .number(.infinity)
        case "-.inf", "-.Inf", "-.INF": return .number(-.infinity)
        case ".nan", ".NaN", ".NAN": return .number(.nan)
        default: return Self.number(text) ?? .string(text)
        }
    }

    private static func number(_ text: String) -> JSONValue? {
        let utf8 = Array(text.utf8)
        if text.hasPrefix("0o") { return Int(text.dropFirst(2), radix: 8).map { .integer($0) } }
        if text.hasPrefix("0x") { return Int(text.dropFirst(2), radix: 16).map { .integer($0) } }
        var index = 0
        func digits() -> Int {
            let start = index
            while index < utf8.count, (0x30...0x39).contains(utf8[index]) { index += 1 }
            return index - start
        }
        if index < utf8.count, utf8[index] == UInt8(ascii: "+") || utf8[index] == UInt8(ascii: "-") { index += 1 }
        let whole = digits()
        if index == utf8.count, whole > 0 { return Int(text).map { .integer($0) } ?? Double(text).map { .number($0) } }
        var fraction = 0
        if index < utf8.count, utf8[index] == UInt8(ascii: ".") {
            index += 1
            fraction = digits()
        }
        guard whole + fraction > 0 else { return nil }
        if index < utf8.count, utf8[index] | 0x20 == UInt8(ascii: "e") {
            index += 1
            if index < utf8.count, utf8[index] == UInt8(ascii: "+") || utf8[index] == UInt8(ascii: "-") { index += 1 }
            guard digits() > 0 else { return nil }
        }
        return index == utf8.count ? Double(text).map { .number($0) } : nil
    }
}
