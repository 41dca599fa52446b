/// A value while a template renders, with the meaning Python gives it.
enum JinjaValue {
    /// Nothing, and what to say when it is used.
    case undefined(String)
    case none
    case bool(Bool)
    case int(Int)
    case float(Double)
    case string(PythonString)
    /// A string marked as safe; what is joined to it gets HTML-escaped.
    case markup(PythonString)
    case list(JinjaSequence)
    case tuple(JinjaSequence)
    case dict(JinjaDict)
    case view(JinjaDict, JinjaDict.Part)
    case range(JinjaRange)
    case namespace(JinjaNamespace)
    case iterator(JinjaIterator)
    case callable(JinjaCallable)
    case loop(JinjaLoop)

    /// Python's name of the type, for messages.
    var typeName: String {
        switch self {
        case .undefined: "undefined"
        case .none: "NoneType"
        case .bool: "bool"
        case .int: "int"
        case .float: "float"
        case .string: "str"
        case .markup: "Markup"
        case .list: "list"
        case .tuple: "tuple"
        case .dict: "dict"
        case .view(_, let part): part.rawValue
        case .range: "range"
        case .namespace: "namespace"
        case .iterator: "generator"
        case .callable: "function"
        case .loop: "loop"
        }
    }

    static func string(_ text: String) -> JinjaValue { .string(PythonString(text)) }

    var isUndefined: Bool {
        if case .undefined = self { true } else { false }
    }

    /// The text of a string, marked or not.
    var text: PythonString? {
        switch self {
        case .string(let text), .markup(let text): text
        default: nil
        }
    }

    /// Integers and booleans, which Python counts among them.
    var integer: Int? {
        switch self {
        case .int(let value): value
        case .bool(let value): value ? 1 : 0
        default: nil
        }
    }

    /// Any number.
    var number: Double? {
        if case .float(let value) = self { return value }
        return integer.map(Double.init)
    }

    /// How deep values are nested in this one; bounded, since printing and releasing recurse.
    var depth: Int {
        switch self {
        case .list(let sequence), .tuple(let sequence): sequence.depth
        case .dict(let dict), .view(let dict, _): dict.depth
        case .iterator(let iterator): iterator.depth
        case .callable(let callable): callable.depth
        case .loop(let loop): loop.depth
        default: 0
        }
    }

    static let maximumDepth = 300

    static func checkedDepth(_ depth: Int) throws -> Int {
        guard depth <= maximumDepth else {
            throw JinjaFailure(.templateLimit, "values are nested more than \(maximumDepth) deep")
        }
        return depth
    }

    /// The value of a JSON text.
    ///
    /// - Throws: When a number is outside what 64 bits hold exactly: Python would print all its digits.
    init(_ json: OrderedJSON) throws {
        switch json {
        case .null: self = .none
        case .bool(let value): self = .bool(value)
        case .integer(let value): self = .int(value)
        case .number(let value):
            guard abs(value) < 0x1p63 else {
                throw JinjaFailure.unsupported("the number \(value) is too large to be rendered exactly")
            }
            self = .float(value)
        case .string(let text): self = .string(PythonString(text))
        case .array(let items): self = .list(try JinjaSequence(items.map { try JinjaValue($0) }))
        case .object(let members):
            var pairs: [(JinjaValue, JinjaValue)] = []
            pairs.reserveCapacity(members.count)
            for member in members { pairs.append((.string(member.key), try JinjaValue(member.value))) }
            self = .dict(try JinjaDict(pairs))
        }
    }
}

/// The items of a list or tuple; it never changes, as the sandbox forbids that.
final class JinjaSequence {
    let items: [JinjaValue]
    let depth: Int
    /// The names of the items of a named tuple.
    let names: [String]

    init(_ items: [JinjaValue], names: [String] = []) throws {
        var deepest = 0
        for item in items { deepest = max(deepest, item.depth) }
        depth = try JinjaValue.checkedDepth(deepest + 1)
        self.items = items
        self.names = names
    }
}

/// A Python `range`.
struct JinjaRange: Equatable {
    let start: Int
    /// The end as it was given, which is what is printed.
    let end: Int
    let step: Int
    let count: Int

    /// What the sandbox allows.
    static let maximumCount = 100_000

    /// The numbers at `places` of another range, each `stride` after the one before.
    init(slicing range: JinjaRange, from start: Int, to end: Int, by stride: Int, count: Int) {
        self.start = range[start]
        self.end = range[end]
        step = range.step * stride
        self.count = count
    }

    init(from start: Int, to end: Int, by step: Int) throws {
        guard step != 0 else { throw JinjaFailure.invalid("range() arg 3 must not be zero") }
        let limit = 1 << 60
        guard abs(start) < limit, abs(end) < limit, step > -limit, step < limit else {
            throw JinjaFailure.unsupported("the numbers of a range are too large")
        }
        let distance = step > 0 ? end - start : start - end
        let stride = abs(step)
        self.start = start
        self.end = end
        self.step = step
        count = distance <= 0 ? 0 : (distance - 1) / stride + 1
        guard count <= Self.maximumCount else {
            throw JinjaFailure(
                .templateLimit, "a range of \(count) numbers is too big; the sandbox allows \(Self.maximumCount)")
        }
    }

    subscript(index: Int) -> Int { start + index * step }
}

/// A `namespace()`, the one thing a template may change.
final class JinjaNamespace {
    private(set) var attributes: [(name: String, value: JinjaValue)] = []

    subscript(name: String) -> JinjaValue? { attributes.first { $0.name == name }?.value }

    func set(_ name: String, _ value: JinjaValue) throws {
        guard !name.hasPrefix("_") else {
            throw JinjaFailure.invalid("a namespace has no attributes that begin with '_', such as '\(name)'")
        }
        if let index = attributes.firstIndex(where: { $0.name == name }) {
            attributes[index].value = value
        } else {
            attributes.append((name, value))
        }
    }

    func clear() { attributes = [] }
}

/// A Python iterator: it gives its values once.
final class JinjaIterator {
    private let advance: () throws -> JinjaValue?
    let depth: Int

    init(depth: Int, _ advance: @escaping () throws -> JinjaValue?) throws {
        self.depth = try JinjaValue.checkedDepth(depth + 1)
        self.advance = advance
    }

    convenience init(_ items: [JinjaValue], depth: Int) throws {
        var index = 0
        try self.init(depth: depth) {
            guard index < items.count else { return nil }
            defer { index += 1 }
            return items[index]
        }
    }

    func next() throws -> JinjaValue? { try advance() }
}

/// Something that can be called.
final class JinjaCallable {
    /// How it is printed; `nil` when Python would print an address.
    let printed: String?
    let depth: Int
    /// Attributes, such as `fromkeys` of `dict` and `name` of a macro.
    let attribute: (String) throws -> JinjaValue?
    let body: (JinjaInterpreter, JinjaArguments) throws -> JinjaValue

    init(
        printed: String? = nil, depth: Int = 0, attribute: @escaping (String) throws -> JinjaValue? = { _ in nil },
        _ body: @escaping (JinjaInterpreter, JinjaArguments) throws -> JinjaValue
    ) throws {
        self.printed = printed
        self.depth = try JinjaValue.checkedDepth(depth + 1)
        self.attribute = attribute
        self.body = body
    }
}

/// The `loop` of a `for` statement.
final class JinjaLoop {
    private let source: JinjaIterator
    /// The count, once it is known.
    private var knownLength: Int?
    private var ahead: [JinjaValue] = []
    private(set) var index0 = -1
    private var before: JinjaValue?
    private var current: JinjaValue?
    private var changedValue: [JinjaValue]?
    let depth0: Int
    let depth: Int
    /// Renders the body again, for a recursive loop.
    let recurse: ((JinjaInterpreter, JinjaValue, Int) throws -> JinjaValue)?

    init(
        _ source: JinjaIterator, length: Int?, depth0: Int,
        recurse: ((JinjaInterpreter, JinjaValue, Int) throws -> JinjaValue)?
    ) throws {
        self.source = source
        knownLength = length
        self.depth0 = depth0
        self.recurse = recurse
        depth = try JinjaValue.checkedDepth(source.depth + 1)
    }

    /// The next item, which becomes the current one.
    func next() throws -> JinjaValue? {
        let item = ahead.isEmpty ? try source.next() : ahead.removeFirst()
        guard let item else { return nil }
        index0 += 1
        before = current
        current = item
        return item
    }

    /// Lets go of everything, since values may hold the loop that holds them.
    func clear() {
        ahead = []
        before = nil
        current = nil
        changedValue = nil
    }

    private func peek() throws -> JinjaValue? {
        if ahead.isEmpty, let item = try source.next() { ahead.append(item) }
        return ahead.first
    }

    func length() throws -> Int {
        if let knownLength { return knownLength }
        while let item = try source.next() { ahead.append(item) }
        let length = index0 + 1 + ahead.count
        knownLength = length
        return length
    }

    func attribute(_ name: String) throws -> JinjaValue? {
        switch name {
        case "index": return .int(index0 + 1)
        case "index0": return .int(index0)
        case "revindex": return .int(try length() - index0)
        case "revindex0": return .int(try length() - index0 - 1)
        case "first": return .bool(index0 == 0)
        case "last": return .bool(try peek() == nil)
        case "length": return .int(try length())
        case "depth": return .int(depth0 + 1)
        case "depth0": return .int(depth0)
        case "previtem": return before ?? .undefined("there is no previous item")
        case "nextitem": return try peek() ?? .undefined("there is no next item")
        case "cycle":
            let index = index0
            return .callable(
                try JinjaCallable { _, arguments in
                    let items = try arguments.onlyPositional("cycle")
                    guard !items.isEmpty else { throw JinjaFailure.invalid("no items for cycling given") }
                    return items[index % items.count]
                })
        case "changed":
            return .callable(
                try JinjaCallable(depth: depth) { [self] interpreter, arguments in
                    let items = try arguments.onlyPositional("changed")
                    if let old = changedValue, try interpreter.areEqual(old, items) { return .bool(false) }
                    changedValue = items
                    interpreter.keep(self)
                    return .bool(true)
                })
        default: return nil
        }
    }
}
