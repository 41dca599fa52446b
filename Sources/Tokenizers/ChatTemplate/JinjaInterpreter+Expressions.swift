/// The evaluation of expressions.
extension JinjaInterpreter {
    func evaluate(_ expression: JinjaExpression, _ frame: JinjaFrame) throws -> JinjaValue {
        try charge(0)
        depth += 1
        defer { depth -= 1 }
        guard depth <= limits.depth else {
            throw JinjaFailure(
                .templateLimit, line: expression.line,
                "calls are nested too deeply; does a macro call itself without end?")
        }
        do {
            return try evaluateKind(expression, frame)
        } catch let failure as JinjaFailure {
            throw failure.at(expression.line)
        }
    }

    private func evaluateKind(_ expression: JinjaExpression, _ frame: JinjaFrame) throws -> JinjaValue {
        switch expression.kind {
        case .literal(let literal): return value(of: literal)
        case .name(let name):
            return frame.at(name.address.hops).slots[name.address.slot] ?? .undefined("'\(name.text)' is undefined")
        case .captured: return captured
        case .list(let items): return .list(try JinjaSequence(try items.map { try evaluate($0, frame) }))
        case .tuple(let items): return .tuple(try JinjaSequence(try items.map { try evaluate($0, frame) }))
        case .dict(let pairs):
            return .dict(
                try JinjaDict(try pairs.map { (try evaluate($0.key, frame), try evaluate($0.value, frame)) }))
        case .attribute(let base, let name): return try attribute(name, of: try evaluate(base, frame))
        case .item(let base, let index):
            return try item(try evaluate(index, frame), of: try evaluate(base, frame))
        case .slice(let base, let from, let to, let step):
            return try slice(
                try evaluate(base, frame), from: try from.map { try evaluate($0, frame) },
                to: try to.map { try evaluate($0, frame) }, step: try step.map { try evaluate($0, frame) })
        case .call(let function, let arguments): return try evaluateCall(function, arguments, frame)
        case .filter(let base, let name, let arguments):
            let value = try evaluate(base, frame)
            return try filter(name, value, try evaluate(arguments, frame))
        case .test(let base, let name, let arguments):
            let value = try evaluate(base, frame)
            return .bool(try test(name, value, try evaluate(arguments, frame)))
        default: return try evaluateOperation(expression, frame)
        }
    }

    private func evaluateOperation(_ expression: JinjaExpression, _ frame: JinjaFrame) throws -> JinjaValue {
        switch expression.kind {
        case .not(let operand): return .bool(try !isTrue(try evaluate(operand, frame)))
        case .negative(let operand): return try negated(try evaluate(operand, frame))
        case .positive(let operand):
            let value = try evaluate(operand, frame)
            if case .float = value { return value }
            guard let integer = value.integer else { throw badOperand("+", value) }
            return .int(integer)
        case .and(let left, let right):
            let value = try evaluate(left, frame)
            return try isTrue(value) ? try evaluate(right, frame) : value
        case .or(let left, let right):
            let value = try evaluate(left, frame)
            return try isTrue(value) ? value : try evaluate(right, frame)
        case .operation(let operation, let left, let right):
            return try operate(operation, try evaluate(left, frame), try evaluate(right, frame))
        case .concatenation(let items): return try concatenate(try items.map { try evaluate($0, frame) })
        case .comparison(let first, let rest):
            var left = try evaluate(first, frame)
            for (comparison, operand) in rest {
                let right = try evaluate(operand, frame)
                guard try compare(comparison, left, right) else { return .bool(false) }
                left = right
            }
            return .bool(true)
        case .conditional(let condition, let then, let otherwise):
            if try isTrue(try evaluate(condition, frame)) { return try evaluate(then, frame) }
            if let otherwise { return try evaluate(otherwise, frame) }
            return .undefined(
                "the 'if' in an expression was false and has no 'else' (line \(expression.line))")
        default: throw JinjaFailure.invalid("an expression of an unknown kind")
        }
    }

    private func value(of literal: JinjaExpression.Literal) -> JinjaValue {
        switch literal {
        case .none: .none
        case .bool(let value): .bool(value)
        case .int(let value): .int(value)
        case .float(let value): .float(value)
        case .string(let text): .string(PythonString(text))
        }
    }

    func evaluate(_ arguments: JinjaExpression.Arguments, _ frame: JinjaFrame) throws -> JinjaArguments {
        var values = JinjaArguments()
        for argument in arguments.positional { values.positional.append(try evaluate(argument, frame)) }
        for (name, argument) in arguments.keywords { values.keywords.append((name, try evaluate(argument, frame))) }
        return values
    }

    // MARK: Calls

    private func evaluateCall(
        _ function: JinjaExpression, _ arguments: JinjaExpression.Arguments, _ frame: JinjaFrame
    ) throws -> JinjaValue {
        if case .attribute(let base, let name) = function.kind {
            let receiver = try evaluate(base, frame)
            if JinjaMethods.has(name, receiver) {
                return try JinjaMethods.call(name, receiver, try evaluate(arguments, frame), self)
            }
            let callee = try attribute(name, of: receiver)
            return try call(callee, try evaluate(arguments, frame))
        }
        let callee = try evaluate(function, frame)
        return try call(callee, try evaluate(arguments, frame))
    }

    func call(_ callee: JinjaValue, _ arguments: JinjaArguments) throws -> JinjaValue {
        switch callee {
        case .callable(let callable): return try callable.body(self, arguments)
        case .loop(let loop):
            guard let recurse = loop.recurse else {
                throw JinjaFailure.invalid("only a loop marked 'recursive' can be called")
            }
            let values = try arguments.bound(to: ["iterable"], of: "loop", required: 1)
            return try recurse(self, values[0] ?? .none, loop.depth0 + 1)
        case .undefined(let message): throw undefined(message)
        default: throw JinjaFailure.invalid("a value of the type \(callee.typeName) cannot be called")
        }
    }

    func filter(_ name: String, _ value: JinjaValue, _ arguments: JinjaArguments) throws -> JinjaValue {
        guard let filter = JinjaFilters.table[name] else {
            throw JinjaFailure.unsupported("the filter '\(name)' is not supported")
        }
        try charge(0)
        return try filter(self, value, arguments)
    }

    func test(_ name: String, _ value: JinjaValue, _ arguments: JinjaArguments) throws -> Bool {
        guard let test = JinjaTests.table[name] else {
            throw JinjaFailure.unsupported("the test '\(name)' is not supported")
        }
        return try test(self, value, arguments)
    }

    // MARK: Attributes and items

    func undefined(_ message: String) -> JinjaFailure { JinjaFailure(.templateFailed, message) }

    private func missing(_ what: String, of value: JinjaValue) -> JinjaValue {
        let owner =
            switch value {
            case .none: "None"
            default: "'\(value.typeName) object'"
            }
        return .undefined("\(owner) has no \(what)")
    }

    /// `value.name`: a method or attribute of Python's object first, then an item.
    func attribute(_ name: String, of value: JinjaValue) throws -> JinjaValue {
        if let found = try objectAttribute(name, of: value) { return found }
        if case .dict(let dict) = value, let found = dict[name] { return found }
        return missing("attribute '\(name)'", of: value)
    }

    private func objectAttribute(_ name: String, of value: JinjaValue) throws -> JinjaValue? {
        if case .undefined(let message) = value { throw undefined(message) }
        if name.hasPrefix("__"), name.hasSuffix("__") {
            return .undefined("access to the attribute '\(name)' is unsafe")
        }
        switch value {
        case .namespace(let namespace): return namespace[name]
        case .loop(let loop): return try loop.attribute(name)
        case .callable(let callable): return try callable.attribute(name)
        case .tuple(let sequence):
            if let index = sequence.names.firstIndex(of: name) { return sequence.items[index] }
        default: break
        }
        guard JinjaMethods.has(name, value) else {
            if JinjaMethods.isRefused(name, value) {
                return .undefined("'\(name)' changes a \(value.typeName), which the sandbox does not allow")
            }
            if JinjaMethods.isUnsupported(name, value) {
                throw JinjaFailure.unsupported("the method '\(name)' of a \(value.typeName) is not supported")
            }
            return nil
        }
        return .callable(
            try JinjaCallable(depth: value.depth) { interpreter, arguments in
                try JinjaMethods.call(name, value, arguments, interpreter)
            })
    }

    /// `value[index]`: an item first, then an attribute.
    func item(_ index: JinjaValue, of value: JinjaValue) throws -> JinjaValue {
        switch value {
        case .undefined(let message): throw undefined(message)
        case .dict(let dict):
            // A key that cannot be hashed is an error that Jinja turns into an undefined value.
            if let key = try? JinjaDict.Key(index), let found = dict[key] { return found }
        case .list(let sequence), .tuple(let sequence):
            if let place = index.integer, let found = place.inside(sequence.items.count) {
                return sequence.items[found]
            }
        case .string(let text), .markup(let text):
            if let place = index.integer {
                let scalars = text.text.unicodeScalars
                try charge(text.size)
                if let found = place.inside(scalars.count) {
                    let scalar = scalars[scalars.index(scalars.startIndex, offsetBy: found)]
                    return .string(PythonString(CollectionOfOne(scalar)))
                }
            }
        case .range(let range):
            if let place = index.integer, let found = place.inside(range.count) { return .int(range[found]) }
        default: break
        }
        if let name = index.text, let found = try objectAttribute(name.text, of: value) { return found }
        return missing("element \(try representation(of: index).text)", of: value)
    }

    private func slice(
        _ value: JinjaValue, from: JinjaValue?, to: JinjaValue?, step: JinjaValue?
    ) throws -> JinjaValue {
        func bound(_ value: JinjaValue?) throws -> Int? {
            guard let value else { return nil }
            if case .none = value { return nil }
            if case .undefined(let message) = value { throw undefined(message) }
            guard let integer = value.integer else {
                throw JinjaFailure.invalid("slice indices must be integers or None")
            }
            return integer
        }
        let stride = try bound(step) ?? 1
        let (low, high) = (try bound(from), try bound(to))
        guard stride != 0 else { throw JinjaFailure.invalid("slice step cannot be zero") }
        func bounds(_ count: Int) -> (start: Int, end: Int, stride: Int) {
            func clamped(_ index: Int?, _ fallback: Int) -> Int {
                guard let index else { return fallback }
                let place = index < 0 ? (index < -count ? -1 : index + count) : index
                return stride > 0 ? min(max(place, 0), count) : min(max(place, -1), count - 1)
            }
            let start = clamped(low, stride > 0 ? 0 : count - 1)
            let end = clamped(high, stride > 0 ? count : -1)
            return (start, end, max(-count - 1, min(stride, count + 1)))
        }
        func places(_ count: Int) throws -> [Int] {
            try charge(count)
            let (start, end, stride) = bounds(count)
            return Array(Swift.stride(from: start, to: end, by: stride))
        }
        switch value {
        case .undefined(let message): throw undefined(message)
        case .list(let sequence):
            return .list(try JinjaSequence(try places(sequence.items.count).map { sequence.items[$0] }))
        case .tuple(let sequence):
            return .tuple(try JinjaSequence(try places(sequence.items.count).map { sequence.items[$0] }))
        case .string(let text):
            let scalars = text.scalars
            return .string(PythonString(try places(scalars.count).map { scalars[$0] }))
        case .range(let range):
            let (start, end, stride) = bounds(range.count)
            return .range(
                JinjaRange(
                    slicing: range, from: start, to: end, by: stride, count: try places(range.count).count))
        default: throw JinjaFailure.invalid("a value of the type \(value.typeName) cannot be sliced")
        }
    }
}

extension Int {
    /// An index from the left or, when negative, from the right; `nil` outside.
    fileprivate func inside(_ count: Int) -> Int? {
        let place = self < 0 ? self + count : self
        return (0..<count).contains(place) ? place : nil
    }
}
