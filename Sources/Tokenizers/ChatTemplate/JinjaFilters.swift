/// The filters (pallets/jinja, `src/jinja2/filters.py`; `tojson` as transformers replaces it).
enum JinjaFilters {
    typealias Filter = @Sendable (JinjaInterpreter, JinjaValue, JinjaArguments) throws -> JinjaValue

    static let table: [String: Filter] = {
        var table = sequences
        table.merge(texts) { $1 }
        table.merge(numbers) { $1 }
        for (alias, name) in [("d", "default"), ("e", "escape"), ("count", "length")] { table[alias] = table[name] }
        return table
    }()

    // MARK: Text

    private static func onText(
        _ name: String, _ change: @escaping @Sendable (PythonString) -> PythonString
    ) -> Filter {
        { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: name)
            let text = try interpreter.text(of: value)
            try interpreter.checkedSize(text.size * 2)
            try interpreter.charge(text.size * 4)
            return remarked(change(text), like: value)
        }
    }

    /// Methods of a marked string give marked strings.
    private static func remarked(_ text: PythonString, like value: JinjaValue) -> JinjaValue {
        if case .markup = value { .markup(text) } else { .string(text) }
    }

    private static let texts: [String: Filter] = [
        "upper": onText("upper") { $0.uppercased },
        "lower": onText("lower") { $0.lowercased },
        "capitalize": onText("capitalize") { $0.capitalized },
        "title": onText("title", title),
        "string": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "string")
            if case .markup = value { return value }
            return .string(try interpreter.text(of: value))
        },
        "safe": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "safe")
            return .markup(try interpreter.text(of: value))
        },
        "escape": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "escape")
            if case .markup = value { return value }
            let text = try interpreter.text(of: value)
            try interpreter.checkedSize(text.size * 5)
            return .markup(text.htmlEscaped)
        },
        "trim": { interpreter, value, arguments in
            let set = try arguments.bound(to: ["chars"], of: "trim")[0]
            let text = try interpreter.text(of: value)
            try interpreter.charge(text.size)
            return remarked(text.stripped(of: try characters(set)), like: value)
        },
        "replace": { interpreter, value, arguments in
            let values = try arguments.bound(to: ["old", "new", "count"], of: "replace", required: 2)
            return .string(
                try JinjaMethods.replaced(
                    try interpreter.text(of: value), try interpreter.text(of: values[0] ?? .none),
                    try interpreter.text(of: values[1] ?? .none), values[2], interpreter))
        },
        "indent": indent,
        "center": { interpreter, value, arguments in
            let width = try arguments.bound(to: ["width"], of: "center")[0]
            return remarked(
                try JinjaMethods.centered(
                    try interpreter.text(of: value), try width.map(integer) ?? 80, " ", interpreter), like: value)
        },
        "truncate": truncate,
        "wordcount": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "wordcount")
            var count = 0
            var isInWord = false
            for scalar in try interpreter.text(of: value).text.unicodeScalars {
                let isPart = scalar == "_" || PythonScalars.isAlphanumeric(scalar)
                if isPart, !isInWord { count += 1 }
                isInWord = isPart
            }
            return .int(count)
        },
        "format": { interpreter, value, arguments in
            guard arguments.positional.isEmpty || arguments.keywords.isEmpty else {
                throw JinjaFailure.invalid("format takes positional or named arguments, not both")
            }
            let values: JinjaValue =
                arguments.keywords.isEmpty
                ? .tuple(try JinjaSequence(arguments.positional))
                : .dict(try JinjaDict(arguments.keywords.map { (.string($0.name), $0.value) }))
            return .string(try PythonFormat.percent(try interpreter.text(of: value), values, interpreter))
        },
        "tojson": { interpreter, value, arguments in
            let values = try arguments.bound(
                to: ["ensure_ascii", "indent", "separators", "sort_keys"], of: "tojson")
            var json = PythonJSON(interpreter)
            json.isASCII = try values[0].map(interpreter.isTrue) ?? false
            json.sortsKeys = try values[3].map(interpreter.isTrue) ?? false
            switch values[1] {
            case nil, .some(.none): break
            case .some(let indent):
                json.itemSeparator = ","
                if let text = indent.text {
                    json.indent = text.text
                } else {
                    let width = max(try integer(indent), 0)
                    try interpreter.checkedSize(width)
                    json.indent = String(repeating: " ", count: width)
                }
            }
            if let separators = values[2], !isNone(separators) {
                let parts = try interpreter.items(of: separators)
                guard parts.count == 2, let item = parts[0].text, let key = parts[1].text else {
                    throw JinjaFailure.invalid("'separators' of tojson must be two strings")
                }
                json.itemSeparator = item.text
                json.keySeparator = key.text
            }
            return .string(try json.text(of: value))
        },
    ]

    static func isNone(_ value: JinjaValue) -> Bool {
        if case .none = value { true } else { false }
    }

    static func integer(_ value: JinjaValue) throws -> Int {
        if case .undefined(let message) = value { throw JinjaFailure(.templateFailed, message) }
        guard let integer = value.integer else {
            throw JinjaFailure.invalid("expected an integer, found a value of the type \(value.typeName)")
        }
        return integer
    }

    /// The set of characters to strip; `nil` for white space.
    static func characters(_ value: JinjaValue?) throws -> PythonString? {
        guard let value, !isNone(value) else { return nil }
        guard let text = value.text else {
            throw JinjaFailure.invalid("the characters to strip must be a string, not \(value.typeName)")
        }
        return text
    }

    /// A capital at the start and after white space and opening punctuation.
    @Sendable private static func title(_ text: PythonString) -> PythonString {
        var words: [[Unicode.Scalar]] = []
        var wasSeparator: Bool?
        for scalar in text.text.unicodeScalars {
            let isSeparator = PythonScalars.isSpace(scalar) || "-({[<".unicodeScalars.contains(scalar)
            if wasSeparator == isSeparator { words[words.count - 1].append(scalar) } else { words.append([scalar]) }
            wasSeparator = isSeparator
        }
        let titled = words.map { word in
            PythonString(word.prefix(1)).uppercased + PythonString(word.dropFirst()).lowercased
        }
        return PythonString.joined(titled, by: PythonString(""))
    }

    @Sendable private static func indent(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws -> JinjaValue {
        let values = try arguments.bound(to: ["width", "first", "blank"], of: "indent")
        guard case .string(let text) = value else { throw interpreter.badOperand("+", value, .string("\n")) }
        var indentation = PythonString("    ")
        if let width = values[0] {
            if let given = width.text {
                indentation = given
            } else {
                let count = max(try integer(width), 0)
                try interpreter.checkedSize(count)
                indentation = PythonString(String(repeating: " ", count: count))
            }
        }
        let indentsFirst = try values[1].map(interpreter.isTrue) ?? false
        let indentsBlank = try values[2].map(interpreter.isTrue) ?? false
        try interpreter.charge(text.size * 8)
        let lines = (text + PythonString("\n")).lines(keepingEnds: false)
        try interpreter.checkedSize(text.size + lines.count * (indentation.size + 1))
        let indented = lines.enumerated().map { index, line in
            let takes = index == 0 ? indentsFirst : indentsBlank || !line.isEmpty
            return takes ? indentation + line : line
        }
        return .string(PythonString.joined(indented, by: PythonString("\n")))
    }

    @Sendable private static func truncate(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws -> JinjaValue {
        let values = try arguments.bound(to: ["length", "killwords", "end", "leeway"], of: "truncate")
        guard let text = value.text else {
            throw JinjaFailure.invalid("truncate takes a string, not \(value.typeName)")
        }
        let length = try values[0].map(integer) ?? 255
        let end = try values[2].map(interpreter.text) ?? PythonString("...")
        let leeway = try values[3].flatMap { isNone($0) ? nil : try integer($0) } ?? 5
        guard length >= end.count, leeway >= 0 else { throw JinjaFailure.invalid("truncate: the length is too short") }
        let scalars = text.scalars
        try interpreter.charge(text.size)
        if scalars.count <= length.addingReportingOverflow(leeway).partialValue { return value }
        let cut = PythonString(scalars.prefix(length - end.count))
        if try values[1].map(interpreter.isTrue) ?? false { return .string(cut + end) }
        return .string((cut.splitFromRight(by: PythonString(" "), limit: 1).first ?? cut) + end)
    }

    // MARK: Numbers

    private static let numbers: [String: Filter] = [
        "abs": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "abs")
            if case .float(let number) = value { return .float(abs(number)) }
            guard let integer = value.integer else { throw interpreter.badOperand("abs", value) }
            return integer < 0 ? try interpreter.negated(value) : .int(integer)
        },
        "int": { interpreter, value, arguments in
            let values = try arguments.bound(to: ["default", "base"], of: "int")
            let fallback = values[0] ?? .int(0)
            let base = try values[1].map(integer) ?? 10
            if case .undefined(let message) = value { throw interpreter.undefined(message) }
            if let integer = value.integer { return .int(integer) }
            var number: Double?
            if case .float(let float) = value {
                number = float
            } else if let text = value.text {
                guard (2...36).contains(base) else { throw JinjaFailure.unsupported("int with the base \(base)") }
                try interpreter.charge(text.size)
                if let integer = try PythonNumber.integer(text, base: base) { return .int(integer) }
                number = PythonNumber.float(text)
                if number?.isInfinite == true { return fallback }
            }
            guard let number, !number.isNaN else { return fallback }
            guard let whole = Int(exactly: number.rounded(.towardZero)) else {
                throw JinjaFailure.unsupported("the number \(number) does not fit 64 bits")
            }
            return .int(whole)
        },
        "float": { interpreter, value, arguments in
            let fallback = try arguments.bound(to: ["default"], of: "float")[0] ?? .float(0)
            if case .undefined(let message) = value { throw interpreter.undefined(message) }
            if let number = value.number { return .float(number) }
            guard let text = value.text else { return fallback }
            try interpreter.charge(text.size)
            return PythonNumber.float(text).map { .float($0) } ?? fallback
        },
        "round": { interpreter, value, arguments in
            let values = try arguments.bound(to: ["precision", "method"], of: "round")
            let precision = try values[0].map(integer) ?? 0
            let method = try values[1].map(interpreter.text)?.text ?? "common"
            guard (0...100).contains(precision) else {
                throw JinjaFailure.unsupported("round to \(precision) digits is not supported")
            }
            guard let number = value.number else { throw interpreter.badOperand("round", value) }
            switch method {
            case "common":
                if let integer = value.integer { return .int(integer) }
                guard number.isFinite else { return value }
                return .float(Double(PythonNumber.fixed(number, digits: precision)) ?? number)
            case "ceil", "floor":
                let scale = PythonNumber.power(10, Double(precision))
                let scaled = number * scale
                guard scaled.isFinite, abs(scaled) <= 0x1p53 else {
                    throw JinjaFailure.unsupported("the number is too large to be rounded")
                }
                return .float(scaled.rounded(method == "ceil" ? .up : .down) / scale)
            default: throw JinjaFailure.invalid("round: the method must be common, ceil or floor")
            }
        },
    ]
}
