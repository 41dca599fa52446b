/// The methods of Python's strings, lists and dicts that templates call.
enum JinjaMethods {
    private typealias StringMethod =
        @Sendable (JinjaInterpreter, PythonString, JinjaArguments) throws -> JinjaValue

    /// Whether a value has a method of that name here.
    static func has(_ name: String, _ value: JinjaValue) -> Bool {
        switch value {
        case .string, .markup: strings[name] != nil
        case .list, .tuple, .range: name == "index" || name == "count"
        case .dict: ["get", "items", "keys", "values", "copy"].contains(name)
        case .float: name == "is_integer"
        default: false
        }
    }

    /// Whether it is one that changes the value, which the sandbox hides.
    static func isRefused(_ name: String, _ value: JinjaValue) -> Bool {
        switch value {
        case .list:
            ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"].contains(name)
        case .dict: ["clear", "pop", "popitem", "setdefault", "update"].contains(name)
        default: false
        }
    }

    /// Whether Python has it and this renderer does not.
    static func isUnsupported(_ name: String, _ value: JinjaValue) -> Bool {
        switch value {
        case .string, .markup:
            [
                "encode", "expandtabs", "format_map", "isidentifier", "maketrans", "translate", "casefold", "unescape",
                "striptags", "escape",
            ].contains(name)
        case .list: name == "copy"
        case .dict: name == "fromkeys"
        case .view: name == "isdisjoint" || name == "mapping"
        case .range: ["start", "stop", "step"].contains(name)
        case .int, .bool, .float:
            [
                "real", "imag", "numerator", "denominator", "conjugate", "bit_length", "bit_count", "to_bytes",
                "from_bytes", "as_integer_ratio", "is_integer", "hex", "fromhex",
            ].contains(name)
        case .iterator: ["send", "throw", "close"].contains(name) || name.hasPrefix("gi_")
        default: false
        }
    }

    static func call(
        _ name: String, _ receiver: JinjaValue, _ arguments: JinjaArguments, _ interpreter: JinjaInterpreter
    ) throws -> JinjaValue {
        switch receiver {
        case .string(let text):
            guard let method = strings[name] else { break }
            try interpreter.checkedSize(text.size)
            return try method(interpreter, text, arguments)
        case .markup:
            throw JinjaFailure.unsupported("the method '\(name)' of a string marked as safe is not supported")
        case .list, .tuple, .range: return try search(name, receiver, arguments, interpreter)
        case .dict(let dict): return try call(name, dict, arguments)
        case .float(let number):
            _ = try arguments.bound(to: [], of: name)
            return .bool(number.isFinite && number == number.rounded())
        default: break
        }
        throw JinjaFailure.unsupported("the method '\(name)' of a \(receiver.typeName) is not supported")
    }

    private static func call(_ name: String, _ dict: JinjaDict, _ arguments: JinjaArguments) throws -> JinjaValue {
        if name == "get" {
            let values = try arguments.bound(to: ["", ""], of: "get", required: 1)
            return dict[try JinjaDict.Key(values[0] ?? .none)] ?? values[1] ?? .none
        }
        _ = try arguments.bound(to: [], of: name)
        switch name {
        case "keys": return .view(dict, .keys)
        case "values": return .view(dict, .values)
        case "items": return .view(dict, .items)
        default: return .dict(try JinjaDict(dict.pairs.map { ($0.key, $0.value) }))
        }
    }

    private static func search(
        _ name: String, _ receiver: JinjaValue, _ arguments: JinjaArguments, _ interpreter: JinjaInterpreter
    ) throws -> JinjaValue {
        let values = try arguments.bound(to: name == "index" ? ["", "", ""] : [""], of: name, required: 1)
        let items = try interpreter.items(of: receiver)
        let (start, end) = (try bound(values, 1, 0, items.count), try bound(values, 2, items.count, items.count))
        var count = 0
        for index in items.indices where start <= index && index < end {
            guard try interpreter.areEqual(items[index], values[0] ?? .none) else { continue }
            if name == "index" { return .int(index) }
            count += 1
        }
        guard name == "count" else { throw JinjaFailure.invalid("the value is not in the \(receiver.typeName)") }
        return .int(count)
    }

    /// An optional start or end, counted from the right when negative.
    private static func bound(_ values: [JinjaValue?], _ index: Int, _ fallback: Int, _ count: Int) throws -> Int {
        guard index < values.count, let value = values[index], !JinjaFilters.isNone(value) else { return fallback }
        let place = try JinjaFilters.integer(value)
        return place < 0 ? (place < -count ? 0 : place + count) : min(place, count + 1)
    }

    // MARK: Strings

    private static func expectText(_ value: JinjaValue?, _ function: String) throws -> PythonString {
        if case .undefined(let message)? = value { throw JinjaFailure(.templateFailed, message) }
        guard let text = value?.text else {
            throw JinjaFailure.invalid("\(function) takes a string, not \(value?.typeName ?? "nothing")")
        }
        return text
    }

    private static func plain(_ name: String, _ change: @escaping @Sendable (PythonString) -> PythonString)
        -> StringMethod
    {
        { _, text, arguments in
            _ = try arguments.bound(to: [], of: name)
            return .string(change(text))
        }
    }

    private static func every(_ name: String, _ test: @escaping @Sendable (Unicode.Scalar) -> Bool) -> StringMethod {
        { _, text, arguments in
            _ = try arguments.bound(to: [], of: name)
            return .bool(!text.isEmpty && text.text.unicodeScalars.allSatisfy(test))
        }
    }

    private static func strip(_ name: String, left: Bool, right: Bool) -> StringMethod {
        { _, text, arguments in
            let set = try arguments.bound(to: [""], of: name)[0]
            return .string(text.stripped(left: left, right: right, of: try JinjaFilters.characters(set)))
        }
    }

    private static func split(_ name: String, fromRight: Bool) -> StringMethod {
        { interpreter, text, arguments in
            let values = try arguments.bound(to: ["sep", "maxsplit"], of: name)
            let limit = try values[1].map(JinjaFilters.integer) ?? -1
            let bounded = limit < 0 ? Int.max : limit
            // Pieces cost more than the text they come from.
            try interpreter.charge(text.size * 4)
            var pieces: [PythonString]
            if let separator = values[0], !JinjaFilters.isNone(separator) {
                let mark = try expectText(separator, name)
                guard !mark.isEmpty else { throw JinjaFailure.invalid("empty separator") }
                try interpreter.charge(text.occurrenceCount(of: mark, limit: bounded) * 64)
                pieces =
                    fromRight
                    ? text.splitFromRight(by: mark, limit: bounded) : text.split(by: mark, limit: bounded)
            } else {
                pieces = fromRight ? text.splitAtSpaceFromRight(limit: bounded) : text.splitAtSpace(limit: bounded)
            }
            try interpreter.charge(pieces.count * 16)
            return .list(try JinjaSequence(pieces.map { .string($0) }))
        }
    }

    /// The part of a string between two optional indices, and where it begins.
    private static func window(_ text: PythonString, _ values: [JinjaValue?]) throws
        -> (part: PythonString, start: Int)?
    {
        guard values.count > 2, values[1] != nil || values[2] != nil else { return (text, 0) }
        let scalars = text.scalars
        let start = try bound(values, 1, 0, scalars.count)
        let end = min(try bound(values, 2, scalars.count, scalars.count), scalars.count)
        guard start <= end else { return nil }
        return (PythonString(scalars[start..<end]), start)
    }

    private static func find(_ name: String, fromRight: Bool) -> StringMethod {
        { _, text, arguments in
            let values = try arguments.bound(to: ["", "", ""], of: name, required: 1)
            let part = try expectText(values[0], name)
            var found: Int?
            if let (window, start) = try window(text, values) {
                if part.isEmpty {
                    found = start + (fromRight ? window.count : 0)
                } else if fromRight {
                    let reversed = PythonString(window.text.unicodeScalars.reversed())
                    let place = reversed.occurrences(of: PythonString(part.text.unicodeScalars.reversed()), limit: 1)
                    found = place.first.map { start + window.count - reversed.scalarIndex(ofByte: $0) - part.count }
                } else {
                    found = window.occurrences(of: part, limit: 1).first.map { start + window.scalarIndex(ofByte: $0) }
                }
            }
            guard found != nil || name.hasSuffix("find") else { throw JinjaFailure.invalid("substring not found") }
            return .int(found ?? -1)
        }
    }

    private static func affix(
        _ name: String, _ test: @escaping @Sendable (PythonString, PythonString) -> Bool
    ) -> StringMethod {
        { interpreter, text, arguments in
            let values = try arguments.bound(to: ["", "", ""], of: name, required: 1)
            guard let (window, _) = try window(text, values) else { return .bool(false) }
            if case .tuple(let sequence)? = values[0] {
                for item in sequence.items where test(window, try expectText(item, name)) { return .bool(true) }
                return .bool(false)
            }
            return .bool(test(window, try expectText(values[0], name)))
        }
    }

    private static func partition(_ name: String, fromRight: Bool) -> StringMethod {
        { _, text, arguments in
            let mark = try expectText(try arguments.bound(to: [""], of: name, required: 1)[0], name)
            guard !mark.isEmpty else { throw JinjaFailure.invalid("empty separator") }
            let pieces = fromRight ? text.splitFromRight(by: mark, limit: 1) : text.split(by: mark, limit: 1)
            let none = PythonString("")
            let parts =
                pieces.count == 2
                ? [pieces[0], mark, pieces[1]] : fromRight ? [none, none, text] : [text, none, none]
            return .tuple(try JinjaSequence(parts.map { .string($0) }))
        }
    }

    private static func padded(_ name: String, left: Bool) -> StringMethod {
        { interpreter, text, arguments in
            let values = try arguments.bound(to: ["", ""], of: name, required: 1)
            let missing = max(try JinjaFilters.integer(values[0] ?? .none) - text.count, 0)
            try interpreter.checkedSize(missing)
            let fill = try values[1].map { try filler($0) } ?? " "
            let padding = PythonString(repeatElement(fill, count: missing))
            return .string(left ? padding + text : text + padding)
        }
    }

    private static func filler(_ value: JinjaValue) throws -> Unicode.Scalar {
        let fill = try expectText(value, "the fill character").scalars
        guard fill.count == 1 else { throw JinjaFailure.invalid("the fill character must be one character") }
        return fill[0]
    }

    /// `str.center`: of an odd rest the left gets more when the width is odd.
    static func centered(
        _ text: PythonString, _ width: Int, _ fill: Unicode.Scalar, _ interpreter: JinjaInterpreter
    ) throws -> PythonString {
        let missing = max(width.subtractingReportingOverflow(text.count).partialValue, 0)
        try interpreter.checkedSize(missing)
        let left = missing / 2 + (missing & width & 1)
        return PythonString(repeatElement(fill, count: left)) + text
            + PythonString(repeatElement(fill, count: missing - left))
    }

    static func replaced(
        _ text: PythonString, _ old: PythonString, _ new: PythonString, _ count: JinjaValue?,
        _ interpreter: JinjaInterpreter
    ) throws -> PythonString {
        let given = try count.flatMap { JinjaFilters.isNone($0) ? nil : try JinjaFilters.integer($0) } ?? -1
        let limit = given < 0 ? Int.max : given
        try interpreter.charge(text.size)
        let places = old.isEmpty ? min(text.count + 1, limit) : text.occurrenceCount(of: old, limit: limit)
        let (growth, overflow) = places.multipliedReportingOverflow(by: new.size)
        try interpreter.checkedSize(overflow ? .max / 2 : text.size + min(growth, .max / 2))
        return text.replacing(old, with: new, limit: limit)
    }

    private static let strings: [String: StringMethod] = [
        "upper": plain("upper") { $0.uppercased },
        "lower": plain("lower") { $0.lowercased },
        "title": plain("title") { $0.titlecased },
        "capitalize": plain("capitalize") { $0.capitalized },
        "swapcase": { _, text, arguments in
            _ = try arguments.bound(to: [], of: "swapcase")
            guard !text.text.unicodeScalars.contains("\u{3A3}") else {
                throw JinjaFailure.unsupported("swapcase on a capital sigma")
            }
            var result = String.UnicodeScalarView()
            for scalar in text.text.unicodeScalars {
                let properties = scalar.properties
                let mapped =
                    properties.isUppercase
                    ? properties.lowercaseMapping
                    : properties.isLowercase ? properties.uppercaseMapping : String(Character(scalar))
                result.append(contentsOf: mapped.unicodeScalars)
            }
            return .string(PythonString(String(result)))
        },
        "strip": strip("strip", left: true, right: true),
        "lstrip": strip("lstrip", left: true, right: false),
        "rstrip": strip("rstrip", left: false, right: true),
        "split": split("split", fromRight: false),
        "rsplit": split("rsplit", fromRight: true),
        "splitlines": { interpreter, text, arguments in
            try interpreter.charge(text.size * 8)
            let keeps = try arguments.bound(to: ["keepends"], of: "splitlines")[0]
            let lines = text.lines(keepingEnds: keeps?.integer ?? 0 != 0)
            return .list(try JinjaSequence(lines.map { .string($0) }))
        },
        "partition": partition("partition", fromRight: false),
        "rpartition": partition("rpartition", fromRight: true),
        "startswith": affix("startswith") { $0.hasPrefix($1) },
        "endswith": affix("endswith") { $0.hasSuffix($1) },
        "removeprefix": { _, text, arguments in
            let part = try expectText(
                try arguments.bound(to: [""], of: "removeprefix", required: 1)[0], "removeprefix")
            return .string(text.hasPrefix(part) ? text.dropFirst(bytes: part.size) : text)
        },
        "removesuffix": { _, text, arguments in
            let part = try expectText(
                try arguments.bound(to: [""], of: "removesuffix", required: 1)[0], "removesuffix")
            return .string(text.hasSuffix(part) ? text.dropLast(bytes: part.size) : text)
        },
        "find": find("find", fromRight: false),
        "rfind": find("rfind", fromRight: true),
        "index": find("index", fromRight: false),
        "rindex": find("rindex", fromRight: true),
        "count": { _, text, arguments in
            let values = try arguments.bound(to: ["", "", ""], of: "count", required: 1)
            let part = try expectText(values[0], "count")
            guard let (window, _) = try window(text, values) else { return .int(0) }
            return .int(part.isEmpty ? window.count + 1 : window.occurrenceCount(of: part))
        },
        "replace": { interpreter, text, arguments in
            let values = try arguments.bound(to: ["", "", ""], of: "replace", required: 2)
            return .string(
                try replaced(
                    text, try expectText(values[0], "replace"), try expectText(values[1], "replace"), values[2],
                    interpreter))
        },
        "join": { interpreter, text, arguments in
            let iterable = try arguments.bound(to: [""], of: "join", required: 1)[0] ?? .none
            let pieces = try interpreter.items(of: iterable).map { try expectText($0, "join") }
            try interpreter.checkedSize(pieces.reduce(0) { $0 + $1.size + text.size })
            return .string(PythonString.joined(pieces, by: text))
        },
        "format": { interpreter, text, arguments in
            .string(try PythonFormat.braces(text, arguments, interpreter))
        },
        "center": { interpreter, text, arguments in
            let values = try arguments.bound(to: ["", ""], of: "center", required: 1)
            let fill = try values[1].map { try filler($0) } ?? " "
            return .string(
                try centered(text, try JinjaFilters.integer(values[0] ?? .none), fill, interpreter))
        },
        "ljust": padded("ljust", left: false),
        "rjust": padded("rjust", left: true),
        "zfill": { interpreter, text, arguments in
            let width = try JinjaFilters.integer(
                try arguments.bound(to: [""], of: "zfill", required: 1)[0] ?? .none)
            let missing = max(width - text.count, 0)
            try interpreter.checkedSize(missing)
            let zeros = PythonString(String(repeating: "0", count: missing))
            let sign = PythonString(text.text.unicodeScalars.prefix { $0 == "+" || $0 == "-" }.prefix(1))
            return .string(sign + zeros + text.dropFirst(bytes: sign.size))
        },
        "isdigit": every("isdigit", PythonScalars.isDigit),
        "isdecimal": every("isdecimal", PythonScalars.isDecimal),
        "isnumeric": every("isnumeric", PythonScalars.isNumeric),
        "isalpha": every("isalpha", PythonScalars.isLetter),
        "isalnum": every("isalnum", PythonScalars.isAlphanumeric),
        "isspace": every("isspace", PythonScalars.isSpace),
        "isascii": { _, text, arguments in
            _ = try arguments.bound(to: [], of: "isascii")
            return .bool(text.text.utf8.allSatisfy { $0 < 0x80 })
        },
        "isprintable": { _, text, arguments in
            _ = try arguments.bound(to: [], of: "isprintable")
            return .bool(text.text.unicodeScalars.allSatisfy(PythonScalars.isPrintable))
        },
        "islower": { _, text, arguments in
            _ = try arguments.bound(to: [], of: "islower")
            return .bool(text.isCased { $0.isLowercase })
        },
        "isupper": { _, text, arguments in
            _ = try arguments.bound(to: [], of: "isupper")
            return .bool(text.isCased { $0.isUppercase })
        },
        "istitle": { _, text, arguments in
            _ = try arguments.bound(to: [], of: "istitle")
            var isInWord = false
            var found = false
            for scalar in text.text.unicodeScalars {
                let properties = scalar.properties
                if properties.isUppercase || properties.generalCategory == .titlecaseLetter {
                    if isInWord { return .bool(false) }
                    found = true
                } else if properties.isLowercase, !isInWord {
                    return .bool(false)
                }
                isInWord = properties.isCased
            }
            return .bool(found)
        },
    ]
}
