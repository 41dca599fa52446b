/// The filters that take sequences apart and put them together.
extension JinjaFilters {
    static let sequences: [String: Filter] = [
        "length": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "length")
            guard let length = try interpreter.length(of: value) else {
                throw JinjaFailure.invalid("a value of the type \(value.typeName) has no length")
            }
            return .int(length)
        },
        "default": { interpreter, value, arguments in
            let values = try arguments.bound(to: ["default_value", "boolean"], of: "default")
            let fallback = values[0] ?? .string("")
            if value.isUndefined { return fallback }
            let isLoose = try values[1].map(interpreter.isTrue) ?? false
            return try isLoose && !interpreter.isTrue(value) ? fallback : value
        },
        "attr": { interpreter, value, arguments in
            let name = try arguments.bound(to: ["name"], of: "attr", required: 1)[0]
            guard let text = name?.text else { throw JinjaFailure.invalid("attr takes the name of an attribute") }
            if case .dict = value, !JinjaMethods.has(text.text, value) {
                return .undefined("'dict object' has no attribute '\(text.text)'")
            }
            return try interpreter.attribute(text.text, of: value)
        },
        "first": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "first")
            return try interpreter.iterate(value).next() ?? .undefined("no first item, the sequence is empty")
        },
        "last": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "last")
            return try reversible(value, interpreter).last ?? .undefined("no last item, the sequence is empty")
        },
        "list": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "list")
            return .list(try JinjaSequence(try interpreter.items(of: value)))
        },
        "items": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "items")
            switch value {
            case .undefined: return .iterator(try JinjaIterator([], depth: 0))
            case .dict(let dict): return .iterator(try JinjaIterator(try dict.items(of: .items), depth: dict.depth))
            default: throw JinjaFailure.invalid("items takes a mapping, not a value of the type \(value.typeName)")
            }
        },
        "reverse": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "reverse")
            if case .string(let text) = value { return .string(PythonString(text.text.unicodeScalars.reversed())) }
            if case .iterator = value {
                return .list(try JinjaSequence(try interpreter.items(of: value).reversed()))
            }
            return .iterator(try JinjaIterator(try reversible(value, interpreter).reversed(), depth: value.depth))
        },
        "join": { interpreter, value, arguments in
            let values = try arguments.bound(to: ["d", "attribute"], of: "join")
            let separator = values[0] ?? .string("")
            let getter = try values[1].flatMap { isNone($0) ? nil : try Getter($0) }
            var pieces: [PythonString] = []
            var size = 0
            let iterator = try interpreter.iterate(value)
            let gap = try interpreter.text(of: separator)
            while let item = try iterator.next() {
                let value = try getter?.value(of: item, interpreter) ?? item
                let piece = try interpreter.text(of: value)
                size += piece.size + gap.size
                try interpreter.checkedSize(min(size, interpreter.limits.bytes + 1) == size ? piece.size : size)
                pieces.append(piece)
            }
            try interpreter.checkedSize(size)
            return .string(PythonString.joined(pieces, by: gap))
        },
        "sort": { interpreter, value, arguments in
            let values = try arguments.bound(to: ["reverse", "case_sensitive", "attribute"], of: "sort")
            let isReversed = try values[0].map(interpreter.isTrue) ?? false
            let foldsCase = try !(values[1].map(interpreter.isTrue) ?? false)
            var getters = [Getter()]
            if let attribute = values[2] {
                if let names = attribute.text {
                    getters = try names.split(by: PythonString(","), limit: .max).map { try Getter(.string($0)) }
                } else if !isNone(attribute) {
                    getters = [try Getter(attribute)]
                }
            }
            let keyed = try interpreter.items(of: value).map { item in
                let key = try getters.map { folded(try $0.value(of: item, interpreter), foldsCase) }
                return (key: JinjaValue.list(try JinjaSequence(key)), item: item)
            }
            let sorted = try interpreter.sorted(keyed, reversed: isReversed) {
                try interpreter.isLess($0.key, $1.key)
            }
            return .list(try JinjaSequence(sorted.map(\.item)))
        },
        "dictsort": { interpreter, value, arguments in
            let values = try arguments.bound(to: ["case_sensitive", "by", "reverse"], of: "dictsort")
            let foldsCase = try !(values[0].map(interpreter.isTrue) ?? false)
            let by = try values[1].map(interpreter.text)?.text ?? "key"
            guard by == "key" || by == "value" else {
                throw JinjaFailure.invalid("dictsort sorts by 'key' or 'value', not '\(by)'")
            }
            guard case .dict(let dict) = value else { throw interpreter.badOperand("dictsort", value) }
            let sorted = try interpreter.sorted(dict.pairs, reversed: values[2].map(interpreter.isTrue) ?? false) {
                let left = by == "key" ? $0.key : $0.value
                let right = by == "key" ? $1.key : $1.value
                return try interpreter.isLess(folded(left, foldsCase), folded(right, foldsCase))
            }
            return .list(try JinjaSequence(try sorted.map { .tuple(try JinjaSequence([$0.key, $0.value])) }))
        },
        "unique": { interpreter, value, arguments in
            let values = try arguments.bound(to: ["case_sensitive", "attribute"], of: "unique")
            let foldsCase = try !(values[0].map(interpreter.isTrue) ?? false)
            let getter = try values[1].map { try Getter($0) } ?? Getter()
            var seen: Set<JinjaDict.Key> = []
            var iterator: JinjaIterator?
            return .iterator(
                try JinjaIterator(depth: value.depth) { [unowned interpreter] in
                    let source = try iterator ?? interpreter.iterate(value)
                    iterator = source
                    while let item = try source.next() {
                        let key = try JinjaDict.Key(folded(try getter.value(of: item, interpreter), foldsCase))
                        try interpreter.charge(32)
                        if seen.insert(key).inserted { return item }
                    }
                    return nil
                })
        },
        "min": { try extreme($0, $1, $2, "min") { interpreter, left, right in try interpreter.isLess(left, right) } },
        "max": { try extreme($0, $1, $2, "max") { interpreter, left, right in try interpreter.isLess(right, left) } },
        "sum": { interpreter, value, arguments in
            let values = try arguments.bound(to: ["attribute", "start"], of: "sum")
            let getter = try values[0].flatMap { isNone($0) ? nil : try Getter($0) }
            var total = values[1] ?? .int(0)
            guard total.text == nil else { throw JinjaFailure.invalid("sum cannot sum strings; join does that") }
            let iterator = try interpreter.iterate(value)
            while let item = try iterator.next() {
                total = try interpreter.operate(.add, total, try getter?.value(of: item, interpreter) ?? item)
            }
            return total
        },
        "groupby": groupBy,
        "batch": { interpreter, value, arguments in
            let values = try arguments.bound(to: ["linecount", "fill_with"], of: "batch", required: 1)
            let size = try integer(values[0] ?? .none)
            guard size > 0 else { throw JinjaFailure.unsupported("batch with a size of \(size) is not supported") }
            let items = try interpreter.items(of: value)
            var batches: [JinjaValue] = []
            for start in stride(from: 0, to: items.count, by: size) {
                var batch = Array(items[start..<min(items.count, start + min(size, items.count))])
                if let filler = values[1], !isNone(filler), batch.count < size {
                    try interpreter.checkedSize(min(size, interpreter.limits.bytes) * 16)
                    batch += repeatElement(filler, count: size - batch.count)
                }
                batches.append(.list(try JinjaSequence(batch)))
            }
            return .iterator(try JinjaIterator(batches, depth: (batches.map(\.depth).max() ?? 0) + 1))
        },
        "slice": { interpreter, value, arguments in
            let values = try arguments.bound(to: ["slices", "fill_with"], of: "slice", required: 1)
            let count = try integer(values[0] ?? .none)
            guard count > 0 else { throw JinjaFailure.invalid("slice needs a positive number of slices") }
            try interpreter.checkedSize(min(count, interpreter.limits.bytes + 1) * 16)
            let items = try interpreter.items(of: value)
            let (size, longer) = items.count.quotientAndRemainder(dividingBy: count)
            var slices: [JinjaValue] = []
            var start = 0
            for index in 0..<count {
                let end = start + size + (index < longer ? 1 : 0)
                var slice = Array(items[start..<end])
                if let filler = values[1], !isNone(filler), index >= longer { slice.append(filler) }
                slices.append(.list(try JinjaSequence(slice)))
                start = end
            }
            return .iterator(try JinjaIterator(slices, depth: (slices.map(\.depth).max() ?? 0) + 1))
        },
        "map": map,
        "select": { try select($0, $1, $2, "select", keeps: true, hasAttribute: false) },
        "reject": { try select($0, $1, $2, "reject", keeps: false, hasAttribute: false) },
        "selectattr": { try select($0, $1, $2, "selectattr", keeps: true, hasAttribute: true) },
        "rejectattr": { try select($0, $1, $2, "rejectattr", keeps: false, hasAttribute: true) },
    ]

    /// A path of attributes, such as `function.name` or `0`.
    private struct Getter {
        private var parts: [JinjaValue] = []

        init() {}

        init(_ attribute: JinjaValue) throws {
            guard let text = attribute.text else {
                if !isNone(attribute) { parts = [attribute] }
                return
            }
            parts = try text.split(by: PythonString("."), limit: .max).map { part in
                let isNumber = !part.isEmpty && part.text.unicodeScalars.allSatisfy(PythonScalars.isDigit)
                guard isNumber else { return .string(part) }
                return try PythonNumber.integer(part, base: 10).map { .int($0) } ?? .string(part)
            }
        }

        func value(
            of item: JinjaValue, _ interpreter: JinjaInterpreter, fallback: JinjaValue? = nil
        ) throws -> JinjaValue {
            try parts.reduce(item) { value, part in
                let found = try interpreter.item(part, of: value)
                return found.isUndefined ? fallback ?? found : found
            }
        }
    }

    private static func folded(_ value: JinjaValue, _ foldsCase: Bool) -> JinjaValue {
        guard foldsCase, let text = value.text else { return value }
        return .string(text.lowercased)
    }

    /// What Python's `reversed` accepts, in its order.
    private static func reversible(_ value: JinjaValue, _ interpreter: JinjaInterpreter) throws -> [JinjaValue] {
        switch value {
        case .iterator, .loop, .namespace, .callable, .none, .bool, .int, .float:
            throw JinjaFailure.invalid("a value of the type \(value.typeName) cannot be reversed")
        default: return try interpreter.items(of: value)
        }
    }

    private static func extreme(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments, _ name: String,
        isBetter: (JinjaInterpreter, JinjaValue, JinjaValue) throws -> Bool
    ) throws -> JinjaValue {
        let values = try arguments.bound(to: ["case_sensitive", "attribute"], of: name)
        let foldsCase = try !(values[0].map(interpreter.isTrue) ?? false)
        let getter = try values[1].map { try Getter($0) } ?? Getter()
        var best: (key: JinjaValue, item: JinjaValue)?
        let iterator = try interpreter.iterate(value)
        while let item = try iterator.next() {
            let key = folded(try getter.value(of: item, interpreter), foldsCase)
            if let old = best, try !isBetter(interpreter, key, old.key) { continue }
            best = (key, item)
        }
        return best?.item ?? .undefined("no \(name) item, the sequence is empty")
    }

    @Sendable private static func groupBy(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws -> JinjaValue {
        let values = try arguments.bound(
            to: ["attribute", "default", "case_sensitive"], of: "groupby", required: 1)
        let foldsCase = try !(values[2].map(interpreter.isTrue) ?? false)
        let getter = try Getter(values[0] ?? .none)
        let fallback = values[1].flatMap { isNone($0) ? nil : $0 }
        let keyed = try interpreter.items(of: value).map { item in
            let plain = try getter.value(of: item, interpreter, fallback: fallback)
            return (key: folded(plain, foldsCase), plain: plain, item: item)
        }
        let sorted = try interpreter.sorted(keyed) { try interpreter.isLess($0.key, $1.key) }
        var groups: [(key: JinjaValue, plain: JinjaValue, items: [JinjaValue])] = []
        for entry in sorted {
            if let last = groups.last, try interpreter.areEqual(last.key, entry.key) {
                groups[groups.count - 1].items.append(entry.item)
            } else {
                groups.append((entry.key, entry.plain, [entry.item]))
            }
        }
        let tuples = try groups.map { group in
            let items = JinjaValue.list(try JinjaSequence(group.items))
            return JinjaValue.tuple(try JinjaSequence([group.plain, items], names: ["grouper", "list"]))
        }
        return .list(try JinjaSequence(tuples))
    }

    @Sendable private static func map(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws -> JinjaValue {
        var change: (JinjaInterpreter, JinjaValue) throws -> JinjaValue
        if arguments.positional.isEmpty, arguments.keywords.contains(where: { $0.name == "attribute" }) {
            let values = try arguments.bound(to: ["attribute", "default"], of: "map")
            let getter = try Getter(values[0] ?? .none)
            let fallback = values[1].flatMap { isNone($0) ? nil : $0 }
            change = { try getter.value(of: $1, $0, fallback: fallback) }
        } else {
            guard let name = arguments.positional.first else { throw JinjaFailure.invalid("map needs a filter") }
            let rest = JinjaArguments(
                positional: Array(arguments.positional.dropFirst()), keywords: arguments.keywords)
            let filter = try interpreter.text(of: name).text
            change = { try $0.filter(filter, $1, rest) }
        }
        return try lazily(interpreter, value, arguments) { interpreter, item in try change(interpreter, item) }
    }

    private static func select(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments, _ name: String,
        keeps: Bool, hasAttribute: Bool
    ) throws -> JinjaValue {
        var rest = arguments
        var getter = Getter()
        if hasAttribute {
            guard !rest.positional.isEmpty else { throw JinjaFailure.invalid("\(name) needs an attribute") }
            getter = try Getter(rest.positional.removeFirst())
        }
        let test = try rest.positional.isEmpty ? nil : interpreter.text(of: rest.positional.removeFirst()).text
        let path = getter
        let testArguments = rest
        return try lazily(interpreter, value, arguments) { interpreter, item in
            let subject = try path.value(of: item, interpreter)
            let passes =
                try test.map { try interpreter.test($0, subject, testArguments) } ?? interpreter.isTrue(subject)
            return passes == keeps ? item : nil
        }
    }

    /// An iterator that changes the items of another, or drops them where `change` gives nothing.
    private static func lazily(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments,
        _ change: @escaping (JinjaInterpreter, JinjaValue) throws -> JinjaValue?
    ) throws -> JinjaValue {
        var source: JinjaIterator?
        let depth = max(value.depth, arguments.positional.map(\.depth).max() ?? 0)
        return .iterator(
            try JinjaIterator(depth: depth) { [unowned interpreter] in
                try interpreter.descend {
                    if source == nil {
                        source =
                            try interpreter.isTrue(value) ? interpreter.iterate(value) : JinjaIterator([], depth: 0)
                    }
                    while let item = try source?.next() {
                        try interpreter.charge(0)
                        if let changed = try change(interpreter, item) { return changed }
                    }
                    return nil
                }
            })
    }
}
