/// Writes values as Python's `json.dumps` does.
struct PythonJSON {
    var isASCII = false
    /// What a level is indented by; `nil` writes everything on one line.
    var indent: String?
    var itemSeparator = ", "
    var keySeparator = ": "
    var sortsKeys = false

    private var output: [UInt8] = []
    private let interpreter: JinjaInterpreter

    init(_ interpreter: JinjaInterpreter) { self.interpreter = interpreter }

    func text(of value: JinjaValue) throws -> PythonString {
        var writer = self
        try writer.write(value, level: 0)
        return PythonString(String(decoding: writer.output, as: UTF8.self))
    }

    private mutating func newLine(_ level: Int) throws {
        guard let indent else { return }
        try interpreter.charge(indent.utf8.count * level / 4)
        output.append(10)
        for _ in 0..<level { output.append(contentsOf: indent.utf8) }
    }

    private mutating func write(_ value: JinjaValue, level: Int) throws {
        try interpreter.charge(16)
        switch value {
        case .none: output.append(contentsOf: "null".utf8)
        case .bool(let flag): output.append(contentsOf: (flag ? "true" : "false").utf8)
        case .int(let number): output.append(contentsOf: String(number).utf8)
        case .float(let number): output.append(contentsOf: Self.text(of: number).utf8)
        case .string(let text), .markup(let text): try write(text)
        case .list(let sequence), .tuple(let sequence):
            try write(sequence.items, level: level, open: 0x5B, close: 0x5D) { writer, item in
                try writer.write(item, level: level + 1)
            }
        case .dict(let dict):
            var pairs = dict.pairs
            if sortsKeys {
                pairs = try interpreter.sorted(pairs) { try interpreter.isLess($0.key, $1.key) }
            }
            try write(pairs, level: level, open: 0x7B, close: 0x7D) { writer, pair in
                try writer.write(key: pair.key)
                writer.output.append(contentsOf: writer.keySeparator.utf8)
                try writer.write(pair.value, level: level + 1)
            }
        default:
            throw JinjaFailure.invalid("an object of the type \(value.typeName) is not JSON serializable")
        }
    }

    private mutating func write<Item>(
        _ items: [Item], level: Int, open: UInt8, close: UInt8, each: (inout PythonJSON, Item) throws -> Void
    ) throws {
        output.append(open)
        for (index, item) in items.enumerated() {
            if index > 0 { output.append(contentsOf: itemSeparator.utf8) }
            try newLine(level + 1)
            try each(&self, item)
        }
        if !items.isEmpty { try newLine(level) }
        output.append(close)
    }

    private mutating func write(key: JinjaValue) throws {
        switch key {
        case .string(let text), .markup(let text): try write(text)
        case .int(let number): try write(PythonString(String(number)))
        case .float(let number): try write(PythonString(Self.text(of: number)))
        case .bool(let flag): try write(PythonString(flag ? "true" : "false"))
        case .none: try write(PythonString("null"))
        default: throw JinjaFailure.invalid("a key of the type \(key.typeName) is no JSON key")
        }
    }

    private static func text(of number: Double) -> String {
        if number.isNaN { return "NaN" }
        if number.isInfinite { return number < 0 ? "-Infinity" : "Infinity" }
        return PythonNumber.text(of: number)
    }

    private mutating func write(_ text: PythonString) throws {
        try interpreter.charge(text.size)
        output.append(0x22)
        for scalar in text.text.unicodeScalars {
            switch scalar {
            case "\"": output.append(contentsOf: "\\\"".utf8)
            case "\\": output.append(contentsOf: "\\\\".utf8)
            case "\n": output.append(contentsOf: "\\n".utf8)
            case "\r": output.append(contentsOf: "\\r".utf8)
            case "\t": output.append(contentsOf: "\\t".utf8)
            case "\u{08}": output.append(contentsOf: "\\b".utf8)
            case "\u{0C}": output.append(contentsOf: "\\f".utf8)
            case "\u{00}"..<" ": escape(UInt16(scalar.value))
            default:
                if isASCII, scalar.value > 0x7E {
                    for unit in UTF16.encode(scalar) ?? .init() { escape(unit) }
                } else {
                    output.append(contentsOf: UTF8.encode(scalar) ?? .init())
                }
            }
        }
        output.append(0x22)
    }

    private mutating func escape(_ unit: UInt16) {
        let hex = String(unit, radix: 16)
        output.append(contentsOf: ("\\u" + String(repeating: "0", count: 4 - hex.utf8.count) + hex).utf8)
    }
}
