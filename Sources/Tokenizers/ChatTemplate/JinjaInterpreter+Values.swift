/// What Python's built-in operators and functions do with values.
extension JinjaInterpreter {
    // MARK: Truth, length, iteration

    func isTrue(_ value: JinjaValue) throws -> Bool {
        switch value {
        case .undefined, .none: false
        case .bool(let flag): flag
        case .int(let number): number != 0
        case .float(let number): number != 0
        case .loop(let loop): try loop.length() != 0
        case .namespace, .iterator, .callable: true
        default: try length(of: value) != 0
        }
    }

    /// `len(value)`; `nil` for what has no length.
    func length(of value: JinjaValue) throws -> Int? {
        switch value {
        case .undefined: return 0
        case .string(let text), .markup(let text):
            try charge(text.size)
            return text.count
        case .list(let sequence), .tuple(let sequence): return sequence.items.count
        case .dict(let dict), .view(let dict, _): return dict.count
        case .range(let range): return range.count
        case .loop(let loop): return try loop.length()
        default: return nil
        }
    }

    /// `iter(value)`.
    func iterate(_ value: JinjaValue) throws -> JinjaIterator {
        switch value {
        case .undefined: return try JinjaIterator([], depth: 0)
        case .string(let text), .markup(let text):
            var rest = text.text.unicodeScalars[...]
            return try JinjaIterator(depth: 0) { [unowned self] in
                try charge(0)
                return rest.popFirst().map { .string(PythonString(CollectionOfOne($0))) }
            }
        case .list(let sequence), .tuple(let sequence):
            return try JinjaIterator(sequence.items, depth: sequence.depth)
        case .dict(let dict): return try JinjaIterator(try dict.items(of: .keys), depth: dict.depth)
        case .view(let dict, let part): return try JinjaIterator(try dict.items(of: part), depth: dict.depth)
        case .range(let range):
            var index = 0
            return try JinjaIterator(depth: 0) {
                guard index < range.count else { return nil }
                defer { index += 1 }
                return .int(range[index])
            }
        case .iterator(let iterator): return iterator
        default: throw JinjaFailure.invalid("a value of the type \(value.typeName) cannot be iterated over")
        }
    }

    /// `list(value)`.
    func items(of value: JinjaValue) throws -> [JinjaValue] {
        if case .list(let sequence) = value { return sequence.items }
        if case .tuple(let sequence) = value { return sequence.items }
        let iterator = try iterate(value)
        var items: [JinjaValue] = []
        while let item = try iterator.next() {
            try charge(16)
            items.append(item)
        }
        return items
    }

    // MARK: Printing

    /// `str(value)`.
    func text(of value: JinjaValue) throws -> PythonString {
        switch value {
        case .string(let text), .markup(let text): text
        case .undefined: PythonString("")
        default: try representation(of: value)
        }
    }

    /// `repr(value)`.
    func representation(of value: JinjaValue) throws -> PythonString {
        var result = ""
        try represent(value, level: 0, into: &result)
        return PythonString(result)
    }

    private func represent(_ value: JinjaValue, level: Int, into result: inout String) throws {
        guard level <= JinjaValue.maximumDepth else {
            throw JinjaFailure(.templateLimit, "a value is nested too deeply to be printed")
        }
        try charge(16)
        switch value {
        case .undefined: result += "Undefined"
        case .none: result += "None"
        case .bool(let flag): result += flag ? "True" : "False"
        case .int(let number): result += String(number)
        case .float(let number): result += PythonNumber.text(of: number)
        case .string(let text):
            try charge(text.size)
            result += text.quoted
        case .markup(let text):
            try charge(text.size)
            result += "Markup(\(text.quoted))"
        case .list(let sequence): try represent(sequence.items, "[", "]", level: level, into: &result)
        case .tuple(let sequence):
            try represent(sequence.items, "(", sequence.items.count == 1 ? ",)" : ")", level: level, into: &result)
        case .dict(let dict): try represent(dict.pairs, level: level, into: &result)
        case .view(let dict, let part):
            result += part.rawValue
            try represent(try dict.items(of: part), "([", "])", level: level, into: &result)
        case .range(let range):
            let step = range.step == 1 ? "" : ", \(range.step)"
            result += "range(\(range.start), \(range.end)\(step))"
        case .namespace(let namespace):
            result += "<Namespace "
            try represent(
                namespace.attributes.map { (key: JinjaValue.string($0.name), value: $0.value) }, level: level,
                into: &result)
            result += ">"
        case .callable(let callable) where callable.printed != nil: result += callable.printed ?? ""
        case .loop(let loop): result += "<LoopContext \(loop.index0 + 1)/\(try loop.length())>"
        case .iterator, .callable:
            throw JinjaFailure.unsupported("Python prints a \(value.typeName) as a memory address; is '|list' missing?")
        }
        try checkedSize(result.utf8.count > limits.bytes ? result.utf8.count : 0)
    }

    private func represent(
        _ items: [JinjaValue], _ open: String, _ close: String, level: Int, into result: inout String
    ) throws {
        result += open
        for (index, item) in items.enumerated() {
            if index > 0 { result += ", " }
            try represent(item, level: level + 1, into: &result)
        }
        result += close
    }

    private func represent(
        _ pairs: [(key: JinjaValue, value: JinjaValue)], level: Int, into result: inout String
    ) throws {
        result += "{"
        for (index, pair) in pairs.enumerated() {
            if index > 0 { result += ", " }
            try represent(pair.key, level: level + 1, into: &result)
            result += ": "
            try represent(pair.value, level: level + 1, into: &result)
        }
        result += "}"
    }

    // MARK: Comparison

    func areEqual(_ left: JinjaValue, _ right: JinjaValue) throws -> Bool {
        try charge(0)
        if let left = left.integer, let right = right.integer { return left == right }
        if let left = left.number, let right = right.number {
            return left == right
        }
        if let left = left.text, let right = right.text {
            try charge(min(left.size, right.size))
            return left == right
        }
        switch (left, right) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            return try left === right || areEqual(left.items, right.items)
        case (.dict(let left), .dict(let right)):
            guard left !== right else { return true }
            guard left.count == right.count else { return false }
            for pair in left.pairs {
                guard let other = right[try JinjaDict.Key(pair.key)] else { return false }
                guard try areEqual(pair.value, other) else { return false }
            }
            return true
        case (.view(let left, let part), .view(let right, let otherPart)):
            guard part == otherPart, part != .values else { return left === right && part == otherPart }
            guard left.count == right.count else { return false }
            for pair in left.pairs {
                guard let other = right[try JinjaDict.Key(pair.key)] else { return false }
                if part == .items { guard try areEqual(pair.value, other) else { return false } }
            }
            return true
        case (.range(let left), .range(let right)):
            guard left.count == right.count else { return false }
            return left.count == 0 || left.start == right.start && (left.count == 1 || left.step == right.step)
        case (.namespace(let left), .namespace(let right)): return left === right
        case (.iterator(let left), .iterator(let right)): return left === right
        case (.callable(let left), .callable(let right)): return left === right
        case (.loop(let left), .loop(let right)): return left === right
        default: return false
        }
    }

    func areEqual(_ left: [JinjaValue], _ right: [JinjaValue]) throws -> Bool {
        guard left.count == right.count else { return false }
        for (left, right) in zip(left, right) { guard try areEqual(left, right) else { return false } }
        return true
    }

    /// `left < right`.
    func isLess(_ left: JinjaValue, _ right: JinjaValue, _ symbol: String = "<") throws -> Bool {
        try charge(0)
        if let left = left.integer, let right = right.integer { return left < right }
        if let left = left.number, let right = right.number { return left < right }
        if let left = left.text, let right = right.text {
            try charge(min(left.size, right.size))
            return left.precedes(right)
        }
        switch (left, right) {
        case (.undefined(let message), _), (_, .undefined(let message)): throw undefined(message)
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            for (left, right) in zip(left.items, right.items) where try !areEqual(left, right) {
                return try isLess(left, right, symbol)
            }
            return left.items.count < right.items.count
        default:
            throw JinjaFailure.invalid(
                "'\(symbol)' cannot compare the types \(left.typeName) and \(right.typeName)")
        }
    }

    func compare(
        _ comparison: JinjaExpression.Comparison, _ left: JinjaValue, _ right: JinjaValue
    ) throws -> Bool {
        // With not-a-number every order is false, so 'not less' is no substitute for 'greater or equal'.
        switch comparison {
        case .equal: try areEqual(left, right)
        case .notEqual: try !areEqual(left, right)
        case .less: try isLess(left, right)
        case .greater: try isLess(right, left, ">")
        case .lessOrEqual: try isLess(left, right, "<=") || areEqual(left, right)
        case .greaterOrEqual: try isLess(right, left, ">=") || areEqual(left, right)
        case .contained: try contains(right, left)
        case .notContained: try !contains(right, left)
        }
    }

    /// `item in container`.
    func contains(_ container: JinjaValue, _ item: JinjaValue) throws -> Bool {
        switch container {
        case .string(let text), .markup(let text):
            guard let part = item.text else {
                if case .undefined(let message) = item { throw undefined(message) }
                throw JinjaFailure.invalid("'in <string>' requires a string, not \(item.typeName)")
            }
            try charge(text.size)
            return text.contains(part)
        case .dict(let dict), .view(let dict, .keys): return dict[try JinjaDict.Key(item)] != nil
        case .range(let range):
            guard let number = item.number else { return false }
            guard let whole = Int(exactly: number), range.count > 0 else { return false }
            let (offset, overflow) = whole.subtractingReportingOverflow(range.start)
            return !overflow && offset % range.step == 0 && (0..<range.count).contains(offset / range.step)
        default:
            let iterator = try iterate(container)
            while let candidate = try iterator.next() { if try areEqual(candidate, item) { return true } }
            return false
        }
    }

    /// `sorted(items)`: stable, also when reversed.
    func sorted<Item>(
        _ items: [Item], reversed: Bool = false, by isLess: (Item, Item) throws -> Bool
    ) throws -> [Item] {
        try charge(items.count * 64)
        return try items.enumerated().sorted { left, right in
            if try isLess(left.element, right.element) { return !reversed }
            if try isLess(right.element, left.element) { return reversed }
            return left.offset < right.offset
        }.map(\.element)
    }

    // MARK: Arithmetic

    func badOperand(_ symbol: String, _ values: JinjaValue...) -> JinjaFailure {
        for value in values { if case .undefined(let message) = value { return undefined(message) } }
        return .invalid("'\(symbol)' cannot take \(values.map(\.typeName).joined(separator: " and "))")
    }

    private func overflow() -> JinjaFailure { .unsupported("an integer grows beyond 64 bits") }

    func negated(_ value: JinjaValue) throws -> JinjaValue {
        if case .float(let number) = value { return .float(-number) }
        guard let integer = value.integer else { throw badOperand("-", value) }
        guard integer != .min else { throw overflow() }
        return .int(-integer)
    }

    /// `a ~ b`, which forgets that a string is marked as safe.
    func concatenate(_ values: [JinjaValue]) throws -> JinjaValue {
        let pieces = try values.map(text)
        try checkedSize(pieces.reduce(0) { $0 + $1.size })
        return .string(PythonString.joined(pieces, by: PythonString("")))
    }

    /// `a + b` where one is marked as safe: the other gets escaped.
    private func joinedMarkup(_ values: JinjaValue...) throws -> JinjaValue {
        let pieces = try values.map { value in
            if case .markup(let text) = value { text } else { try text(of: value).htmlEscaped }
        }
        try checkedSize(pieces.reduce(0) { $0 + $1.size })
        return .markup(PythonString.joined(pieces, by: PythonString("")))
    }

    func operate(
        _ operation: JinjaExpression.Operation, _ left: JinjaValue, _ right: JinjaValue
    ) throws -> JinjaValue {
        if let left = left.integer, let right = right.integer { return try integers(operation, left, right) }
        if let left = left.number, let right = right.number { return try floats(operation, left, right) }
        switch (operation, left, right) {
        case (.add, .string(let first), .string(let second)):
            try checkedSize(first.size + second.size)
            return .string(first + second)
        case (.add, .string, .markup), (.add, .markup, .string), (.add, .markup, .markup):
            return try joinedMarkup(left, right)
        case (.add, .list(let first), .list(let second)):
            try charge((first.items.count + second.items.count) * 16)
            return .list(try JinjaSequence(first.items + second.items))
        case (.add, .tuple(let first), .tuple(let second)):
            try charge((first.items.count + second.items.count) * 16)
            return .tuple(try JinjaSequence(first.items + second.items))
        case (.multiply, _, _):
            if let count = right.integer, let result = try repeated(left, count) { return result }
            if let count = left.integer, let result = try repeated(right, count) { return result }
        case (.modulo, .string(let format), _):
            return .string(try PythonFormat.percent(format, right, self))
        default: break
        }
        throw badOperand(operation.rawValue, left, right)
    }

    private func repeated(_ value: JinjaValue, _ count: Int) throws -> JinjaValue? {
        let count = max(count, 0)
        func checked(_ size: Int) throws {
            let (total, overflow) = size.multipliedReportingOverflow(by: count)
            try checkedSize(overflow ? .max / 2 : total)
        }
        switch value {
        case .string(let text):
            try checked(text.size)
            return .string(String(repeating: text.text, count: text.isEmpty ? 0 : count))
        case .list(let sequence):
            try checked(sequence.items.count * 16)
            let items = sequence.items.isEmpty ? [] : repeatElement(sequence.items, count: count).flatMap { $0 }
            return .list(try JinjaSequence(items))
        case .tuple(let sequence):
            try checked(sequence.items.count * 16)
            let items = sequence.items.isEmpty ? [] : repeatElement(sequence.items, count: count).flatMap { $0 }
            return .tuple(try JinjaSequence(items))
        default: return nil
        }
    }

    private func integers(_ operation: JinjaExpression.Operation, _ left: Int, _ right: Int) throws -> JinjaValue {
        func checked(_ result: (partialValue: Int, overflow: Bool)) throws -> JinjaValue {
            guard !result.overflow else { throw overflow() }
            return .int(result.partialValue)
        }
        switch operation {
        case .add: return try checked(left.addingReportingOverflow(right))
        case .subtract: return try checked(left.subtractingReportingOverflow(right))
        case .multiply: return try checked(left.multipliedReportingOverflow(by: right))
        case .divide:
            guard right != 0 else { throw JinjaFailure.invalid("division by zero") }
            guard abs(Double(left)) <= 0x1p53, abs(Double(right)) <= 0x1p53 else {
                throw JinjaFailure.unsupported("a division of integers beyond 2^53 is not supported")
            }
            return .float(Double(left) / Double(right))
        case .floorDivide, .modulo:
            guard right != 0 else { throw JinjaFailure.invalid("integer division or modulo by zero") }
            guard right != -1 else { return operation == .modulo ? .int(0) : try negated(.int(left)) }
            let (quotient, remainder) = left.quotientAndRemainder(dividingBy: right)
            let isOff = remainder != 0 && (remainder < 0) != (right < 0)
            return .int(
                operation == .modulo ? (isOff ? remainder + right : remainder) : isOff ? quotient - 1 : quotient)
        case .power:
            if right < 0 { return try floats(.power, Double(left), Double(right)) }
            if left == 0 || left == 1 || right == 0 { return .int(right == 0 ? 1 : left) }
            if left == -1 { return .int(right % 2 == 0 ? 1 : -1) }
            guard right < 64 else { throw overflow() }
            var result = 1
            for _ in 0..<right {
                let (product, isOver) = result.multipliedReportingOverflow(by: left)
                guard !isOver else { throw overflow() }
                result = product
            }
            return .int(result)
        }
    }

    private func floats(
        _ operation: JinjaExpression.Operation, _ left: Double, _ right: Double
    ) throws -> JinjaValue {
        switch operation {
        case .add: return .float(left + right)
        case .subtract: return .float(left - right)
        case .multiply: return .float(left * right)
        case .divide:
            guard right != 0 else { throw JinjaFailure.invalid("float division by zero") }
            return .float(left / right)
        case .floorDivide, .modulo:
            guard right != 0 else { throw JinjaFailure.invalid("float modulo or floor division by zero") }
            var remainder = left.truncatingRemainder(dividingBy: right)
            var quotient = (left - remainder) / right
            if remainder != 0 {
                if (remainder < 0) != (right < 0) {
                    remainder += right
                    quotient -= 1
                }
            } else {
                remainder = right < 0 ? -0.0 : 0.0
            }
            if operation == .modulo { return .float(remainder) }
            guard quotient != 0 else { return .float(left / right < 0 ? -0.0 : 0.0) }
            let floor = quotient.rounded(.down)
            return .float(quotient - floor > 0.5 ? floor + 1 : floor)
        case .power:
            if left == 0, right < 0 { throw JinjaFailure.invalid("zero cannot be raised to a negative power") }
            if left < 0, right != right.rounded() {
                throw JinjaFailure.unsupported("a root of a negative number is complex, which is not supported")
            }
            return .float(PythonNumber.power(left, right))
        }
    }
}
