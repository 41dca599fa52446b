/// `"..." % values` and `"...".format(...)`, as far as chat templates go.
enum PythonFormat {
    /// How one value is laid out.
    private struct Layout {
        var fill: Unicode.Scalar = " "
        var alignment: Unicode.Scalar?
        var sign: Unicode.Scalar = "-"
        var padsWithZeros = false
        var groups = false
        var width = 0
        var precision: Int?
        var type: Unicode.Scalar?
    }

    private static func number(_ scalars: [Unicode.Scalar], _ index: inout Int) throws -> Int? {
        var value: Int?
        while index < scalars.count, PythonScalars.isASCIIDigit(scalars[index]) {
            value = (value ?? 0) * 10 + Int(scalars[index].value - 48)
            guard value ?? 0 < 1 << 20 else { throw JinjaFailure(.templateLimit, "a format asks for too wide a field") }
            index += 1
        }
        return value
    }

    /// Pads a sign and the digits or text after it.
    private static func padded(_ sign: String, _ body: String, _ layout: Layout, isNumber: Bool) -> String {
        let missing = max(layout.width - sign.unicodeScalars.count - body.unicodeScalars.count, 0)
        let padding = String(String.UnicodeScalarView(repeatElement(layout.fill, count: missing)))
        switch layout.alignment ?? (isNumber ? ">" : "<") {
        case "<": return sign + body + padding
        case "^":
            let left = String(padding.unicodeScalars.prefix(missing / 2))
            return left + sign + body + String(padding.unicodeScalars.dropFirst(missing / 2))
        case "=": return sign + padding + body
        default: return padding + sign + body
        }
    }

    private static func formatted(
        _ value: JinjaValue, _ layout: Layout, _ interpreter: JinjaInterpreter
    ) throws -> String {
        try interpreter.charge(layout.width + (layout.precision ?? 0))
        func unsupported() -> JinjaFailure {
            let type = layout.type.map { String(Character($0)) } ?? ""
            return .unsupported("the format '\(type)' of a value of the type \(value.typeName) is not supported")
        }
        if let text = value.text {
            guard layout.type == nil || layout.type == "s", layout.alignment != "=", !layout.groups else {
                throw unsupported()
            }
            let body = layout.precision.map { String(text.text.unicodeScalars.prefix($0)) } ?? text.text
            return padded("", body, layout, isNumber: false)
        }
        guard let number = value.number else {
            guard layout.type == nil, layout.width == 0, layout.precision == nil else { throw unsupported() }
            return try interpreter.text(of: value).text
        }
        var body: String
        switch (layout.type, value.integer) {
        case (nil, let integer?), ("d", let integer?):
            guard layout.precision == nil else { throw unsupported() }
            if layout.type == nil, case .bool = value {
                guard layout.width == 0 else { throw unsupported() }
                return try interpreter.text(of: value).text
            }
            body = String(integer.magnitude)
        case ("x", let integer?): body = String(integer.magnitude, radix: 16)
        case ("X", let integer?): body = String(integer.magnitude, radix: 16).uppercased()
        case ("o", let integer?): body = String(integer.magnitude, radix: 8)
        case ("b", let integer?): body = String(integer.magnitude, radix: 2)
        case ("f", _), ("F", _): body = PythonNumber.fixed(abs(number), digits: layout.precision ?? 6)
        case ("%", _): body = PythonNumber.fixed(abs(number * 100), digits: layout.precision ?? 6) + "%"
        case (nil, nil):
            guard layout.precision == nil else { throw unsupported() }
            body = PythonNumber.text(of: abs(number))
        default: throw unsupported()
        }
        if layout.groups {
            guard ["d", "f", "F", nil].contains(layout.type), number.isFinite else { throw unsupported() }
            let whole = body.prefix { $0 != "." }
            var grouped = ""
            for (index, digit) in whole.enumerated() {
                if index > 0, (whole.count - index) % 3 == 0 { grouped += "," }
                grouped.append(digit)
            }
            body = grouped + body.dropFirst(whole.count)
        }
        let isNegative = number < 0 || (value.integer == nil && number.sign == .minus && !number.isNaN)
        let sign = isNegative ? "-" : layout.sign == "-" ? "" : String(Character(layout.sign))
        var final = layout
        if layout.padsWithZeros {
            guard !layout.groups, number.isFinite else { throw unsupported() }
            if final.alignment == nil { final.alignment = "=" }
            final.fill = "0"
        }
        return padded(sign, body, final, isNumber: true)
    }

    // MARK: %

    static func percent(
        _ format: PythonString, _ values: JinjaValue, _ interpreter: JinjaInterpreter
    ) throws -> PythonString {
        let scalars = format.scalars
        try interpreter.charge(format.size)
        var result = String.UnicodeScalarView()
        var arguments: [JinjaValue] = [values]
        if case .tuple(let sequence) = values { arguments = sequence.items }
        var used = 0
        var usesNames = false
        var index = 0
        while index < scalars.count {
            guard scalars[index] == "%" else {
                result.append(scalars[index])
                index += 1
                continue
            }
            index += 1
            var value: JinjaValue?
            if index < scalars.count, scalars[index] == "(" {
                guard case .dict(let dict) = values, let end = scalars[index...].firstIndex(of: ")") else {
                    throw JinjaFailure.invalid("a format with names needs a mapping")
                }
                guard let found = dict[String(PythonString(scalars[index + 1..<end]).text)] else {
                    throw JinjaFailure.invalid("the mapping lacks a name of the format")
                }
                value = found
                usesNames = true
                index = end + 1
            }
            var layout = Layout()
            layout.alignment = ">"
            flags: while index < scalars.count {
                switch scalars[index] {
                case "-": layout.alignment = "<"
                case "0": layout.padsWithZeros = true
                case "+", " ": layout.sign = scalars[index]
                default: break flags
                }
                index += 1
            }
            layout.width = try number(scalars, &index) ?? 0
            if index < scalars.count, scalars[index] == "." {
                index += 1
                layout.precision = try number(scalars, &index) ?? 0
            }
            guard index < scalars.count else { throw JinjaFailure.invalid("incomplete format") }
            let type = scalars[index]
            index += 1
            if type == "%" {
                result.append("%")
                continue
            }
            if value == nil {
                guard used < arguments.count else { throw JinjaFailure.invalid("not enough arguments for the format") }
                value = arguments[used]
                used += 1
            }
            let text = try percent(type, value ?? .none, layout, interpreter)
            result.append(contentsOf: text.unicodeScalars)
            try interpreter.checkedSize(text.utf8.count)
        }
        let isMapping = if case .dict = values { true } else { false }
        guard usesNames || isMapping || used == arguments.count else {
            throw JinjaFailure.invalid("not all arguments are used by the format")
        }
        return PythonString(String(result))
    }

    private static func percent(
        _ type: Unicode.Scalar, _ value: JinjaValue, _ layout: Layout, _ interpreter: JinjaInterpreter
    ) throws -> String {
        var layout = layout
        switch type {
        case "s", "r":
            layout.padsWithZeros = false
            let text = type == "s" ? try interpreter.text(of: value) : try interpreter.representation(of: value)
            return try formatted(.string(text), layout, interpreter)
        case "d", "i", "u":
            guard let number = value.number, layout.precision == nil,
                let whole = Int(exactly: number.rounded(.towardZero))
            else { throw JinjaFailure.invalid("%\(type) takes a number") }
            layout.type = "d"
            if layout.padsWithZeros { layout.alignment = layout.alignment == "<" ? "<" : nil }
            if layout.alignment == "<" { layout.padsWithZeros = false }
            return try formatted(.int(value.integer ?? whole), layout, interpreter)
        case "f", "F", "x", "X", "o":
            layout.type = type
            if layout.padsWithZeros { layout.alignment = layout.alignment == "<" ? "<" : nil }
            if layout.alignment == "<" { layout.padsWithZeros = false }
            return try formatted(value, layout, interpreter)
        default:
            throw JinjaFailure.unsupported("the format '%\(type)' is not supported")
        }
    }

    // MARK: str.format

    static func braces(
        _ format: PythonString, _ arguments: JinjaArguments, _ interpreter: JinjaInterpreter
    ) throws -> PythonString {
        let scalars = format.scalars
        var result = String.UnicodeScalarView()
        var index = 0
        var automatic = 0
        while index < scalars.count {
            let scalar = scalars[index]
            index += 1
            guard scalar == "{" || scalar == "}" else {
                result.append(scalar)
                continue
            }
            if index < scalars.count, scalars[index] == scalar {
                result.append(scalar)
                index += 1
                continue
            }
            guard scalar == "{", let end = scalars[index...].firstIndex(of: "}") else {
                throw JinjaFailure.invalid("a single '\(scalar)' in a format")
            }
            let field = scalars[index..<end]
            guard !field.contains("{") else { throw JinjaFailure.unsupported("nested fields in a format") }
            index = end + 1
            let text = try replacement(Array(field), arguments, &automatic, interpreter)
            try interpreter.checkedSize(text.utf8.count)
            result.append(contentsOf: text.unicodeScalars)
        }
        return PythonString(String(result))
    }

    private static func replacement(
        _ field: [Unicode.Scalar], _ arguments: JinjaArguments, _ automatic: inout Int,
        _ interpreter: JinjaInterpreter
    ) throws -> String {
        let colon = field.firstIndex(of: ":") ?? field.count
        let bang = field[..<colon].firstIndex(of: "!") ?? colon
        let path = field[..<bang]
        let name = Array(path.prefix { $0 != "." && $0 != "[" })
        var value: JinjaValue
        if name.isEmpty || name.allSatisfy(PythonScalars.isASCIIDigit) {
            var place = 0
            let given = try number(name, &place)
            let position = given ?? automatic
            if given == nil { automatic += 1 }
            guard position < arguments.positional.count else {
                throw JinjaFailure.invalid("the format asks for more arguments than there are")
            }
            value = arguments.positional[position]
        } else {
            let key = PythonString(name).text
            guard let found = arguments.keywords.first(where: { $0.name == key }) else {
                throw JinjaFailure.invalid("the format asks for '\(key)', which is not given")
            }
            value = found.value
        }
        var rest = Array(path.dropFirst(name.count))
        while let mark = rest.first {
            rest.removeFirst()
            if mark == "[" {
                guard let end = rest.firstIndex(of: "]") else { throw JinjaFailure.invalid("missing ']' in a format") }
                let part = Array(rest[..<end])
                rest.removeFirst(end + 1)
                var place = 0
                let isNumber = !part.isEmpty && part.allSatisfy(PythonScalars.isASCIIDigit)
                let index: JinjaValue =
                    isNumber ? .int(try number(part, &place) ?? 0) : .string(PythonString(part))
                value = try interpreter.item(index, of: value)
            } else {
                let part = Array(rest.prefix { $0 != "." && $0 != "[" })
                guard mark == ".", !part.isEmpty else { throw JinjaFailure.invalid("an empty attribute in a format") }
                rest.removeFirst(part.count)
                value = try interpreter.attribute(PythonString(part).text, of: value)
            }
        }
        if bang < colon {
            switch PythonString(field[(bang + 1)..<colon]).text {
            case "r": value = .string(try interpreter.representation(of: value))
            case "s": value = .string(try interpreter.text(of: value))
            default: throw JinjaFailure.unsupported("this conversion in a format is not supported")
            }
        }
        return try formatted(value, try layout(Array(field.dropFirst(colon + 1))), interpreter)
    }

    private static func layout(_ scalars: [Unicode.Scalar]) throws -> Layout {
        var layout = Layout()
        var index = 0
        func isAlignment(_ place: Int) -> Bool {
            place < scalars.count && "<>^=".unicodeScalars.contains(scalars[place])
        }
        if isAlignment(1) {
            layout.fill = scalars[0]
            layout.alignment = scalars[1]
            index = 2
        } else if isAlignment(0) {
            layout.alignment = scalars[0]
            index = 1
        }
        if index < scalars.count, "+- ".unicodeScalars.contains(scalars[index]) {
            layout.sign = scalars[index]
            index += 1
        }
        if index < scalars.count, scalars[index] == "0", layout.alignment == nil {
            layout.padsWithZeros = true
            index += 1
        }
        layout.width = try number(scalars, &index) ?? 0
        if index < scalars.count, scalars[index] == "," {
            layout.groups = true
            index += 1
        }
        if index < scalars.count, scalars[index] == "." {
            index += 1
            guard let precision = try number(scalars, &index) else {
                throw JinjaFailure.invalid("a format lacks its precision")
            }
            layout.precision = precision
        }
        if index < scalars.count {
            layout.type = scalars[index]
            index += 1
        }
        guard index == scalars.count else { throw JinjaFailure.unsupported("this format of a field is not supported") }
        return layout
    }
}
