import Foundation

/// Renders one template once.
///
/// A template comes with a model from somewhere, so work, output and nesting are bounded: it ends in an error, never in
/// a hang, whatever it says.
final class JinjaInterpreter {
    /// What one render may use.
    struct Limits: Sendable {
        /// Nodes evaluated, and sixteenths of the bytes that strings are made of.
        var steps = 8_000_000
        /// Bytes of one string, and of the output.
        var bytes = 32 << 20
        /// Evaluations inside evaluations, which use the stack.
        var depth = 400
    }

    let limits: Limits
    let clock: Date
    private let variables: [String: JinjaValue]
    private var steps = 0
    var depth = 0

    /// The text so far, of the template or of the innermost block whose text is captured.
    var output: [UInt8] = []
    private var captures = 0
    /// What the innermost finished block rendered, for the filters behind it.
    var captured = JinjaValue.none

    /// The byte ranges of the output that generation blocks rendered.
    private(set) var generated: [Range<Int>] = []
    /// Whether a generation block stood inside a macro or a captured block, where its place is not known.
    private(set) var hasMisplacedGeneration = false

    // Macros, namespaces and loops can hold each other in circles; these are opened when the render ends.
    private var heldFrames: [JinjaFrame] = []
    private var heldNamespaces: [JinjaNamespace] = []
    private var heldLoops: [JinjaLoop] = []

    init(variables: [String: JinjaValue], clock: Date, limits: Limits) {
        self.variables = variables
        self.clock = clock
        self.limits = limits
    }

    func run(_ template: JinjaTemplate) throws {
        defer {
            for namespace in heldNamespaces { namespace.clear() }
            for loop in heldLoops { loop.clear() }
            for frame in heldFrames { frame.slots = [] }
        }
        let frame = try enter(template.body.layout, parent: nil)
        _ = try execute(template.body.statements, frame)
    }

    // MARK: Bounds

    /// Counts work done on so many bytes.
    func charge(_ bytes: Int) throws {
        steps += 1 + bytes / 16
        guard steps <= limits.steps else {
            throw JinjaFailure(
                .templateLimit, "rendering takes more than \(limits.steps) steps; does the template loop without end?")
        }
    }

    /// Counts the making of a string.
    func checkedSize(_ bytes: Int) throws {
        guard bytes <= limits.bytes else {
            throw JinjaFailure(.templateLimit, "a text is longer than \(limits.bytes >> 20) MiB")
        }
        try charge(bytes)
    }

    func descend<Result>(_ work: () throws -> Result) throws -> Result {
        depth += 1
        defer { depth -= 1 }
        guard depth <= limits.depth else {
            throw JinjaFailure(.templateLimit, "calls are nested too deeply; does a macro call itself without end?")
        }
        return try work()
    }

    func keep(_ namespace: JinjaNamespace) { heldNamespaces.append(namespace) }
    func keep(_ loop: JinjaLoop) { heldLoops.append(loop) }
    func keep(_ frame: JinjaFrame) { if heldFrames.last !== frame { heldFrames.append(frame) } }

    // MARK: Scopes

    /// A new scope, with what it takes from outside.
    func enter(_ layout: JinjaScopeLayout, parent: JinjaFrame?) throws -> JinjaFrame {
        let frame = JinjaFrame(count: layout.loads.count, parent: parent)
        for (slot, load) in layout.loads.enumerated() {
            switch load {
            case .parameter, .undefined: break
            case .variable(let name): frame.slots[slot] = try variables[name] ?? JinjaGlobals.value(of: name)
            case .copy(let address): frame.slots[slot] = frame.at(address.hops).slots[address.slot]
            }
        }
        return frame
    }

    func assign(_ value: JinjaValue, to target: JinjaTarget, _ frame: JinjaFrame) throws {
        switch target {
        case .name(let name): frame.at(name.address.hops).slots[name.address.slot] = value
        case .attribute(let name, let attribute):
            guard case .namespace(let namespace)? = frame.at(name.address.hops).slots[name.address.slot] else {
                throw JinjaFailure.invalid("cannot set an attribute of '\(name.text)', which is no namespace")
            }
            try namespace.set(attribute, value)
        case .tuple(let targets):
            let iterator = try iterate(value)
            var values: [JinjaValue] = []
            while let item = try iterator.next() {
                values.append(item)
                guard values.count <= targets.count else {
                    throw JinjaFailure.invalid("too many values to unpack (expected \(targets.count))")
                }
            }
            guard values.count == targets.count else {
                throw JinjaFailure.invalid(
                    "not enough values to unpack (expected \(targets.count), got \(values.count))")
            }
            for (target, value) in zip(targets, values) { try assign(value, to: target, frame) }
        }
    }

    // MARK: Statements

    enum Flow { case normal, broken, continued }

    func execute(_ statements: [JinjaStatement], _ frame: JinjaFrame) throws -> Flow {
        for statement in statements {
            do {
                let flow = try execute(statement, frame)
                if flow != .normal { return flow }
            } catch let failure as JinjaFailure {
                throw failure.at(statement.line)
            }
        }
        return .normal
    }

    func write(_ text: PythonString) throws {
        guard output.count + text.size <= limits.bytes else { return try checkedSize(limits.bytes + 1) }
        try charge(text.size)
        output.append(contentsOf: text.text.utf8)
    }

    private func execute(_ statement: JinjaStatement, _ frame: JinjaFrame) throws -> Flow {
        try charge(0)
        switch statement.kind {
        case .text(let text): try write(PythonString(text))
        case .output(let expression): try write(try text(of: try evaluate(expression, frame)))
        case .condition(let branches, let otherwise):
            for branch in branches where try isTrue(try evaluate(branch.test, frame)) {
                return try execute(branch.body, frame)
            }
            return try execute(otherwise, frame)
        case .loop(let loop): return try execute(loop, frame)
        case .assignment(let target, let expression):
            try assign(try evaluate(expression, frame), to: target, frame)
        case .blockAssignment(let target, let filter, let body):
            let inner = try enter(body.layout, parent: frame)
            let (text, flow) = try capture { try execute(body.statements, inner) }
            guard flow == .normal else { return flow }
            var value = JinjaValue.string(text)
            if let filter {
                captured = value
                value = .string(try self.text(of: try evaluate(filter, inner)))
            }
            try assign(value, to: target, frame)
        case .macro(let name, let macro):
            try assign(.callable(try callable(of: macro, frame)), to: .name(name), frame)
        case .call(let call, let macro):
            guard case .call(let function, let arguments) = call.kind else { break }
            var values = try evaluate(arguments, frame)
            values.keywords.append(("caller", .callable(try callable(of: macro, frame))))
            let callee = try evaluate(function, frame)
            try write(try text(of: try self.call(callee, values)))
        case .generation(let macro):
            let inner = try enter(macro.body.layout, parent: frame)
            if let slot = macro.callerSlot { inner.slots[slot] = .undefined("no caller is defined") }
            if let slot = macro.keywordsSlot { inner.slots[slot] = .dict(try JinjaDict()) }
            if let slot = macro.extrasSlot { inner.slots[slot] = .tuple(try JinjaSequence([])) }
            let start = output.count
            _ = try execute(macro.body.statements, inner)
            if captures == 0 { generated.append(start..<output.count) } else { hasMisplacedGeneration = true }
        case .filter(let filter, let body):
            let inner = try enter(body.layout, parent: frame)
            let (text, flow) = try capture { try execute(body.statements, inner) }
            guard flow == .normal else { return flow }
            captured = .string(text)
            try write(try self.text(of: try evaluate(filter, inner)))
        case .with(let assignments, let body):
            let inner = try enter(body.layout, parent: frame)
            for assignment in assignments {
                try assign(try evaluate(assignment.value, frame), to: assignment.target, inner)
            }
            return try execute(body.statements, inner)
        case .breakLoop: return .broken
        case .continueLoop: return .continued
        }
        return .normal
    }

    /// Runs `work` and returns what it rendered.
    func capture<Result>(_ work: () throws -> Result) throws -> (PythonString, Result) {
        let outer = output
        output = []
        captures += 1
        defer {
            output = outer
            captures -= 1
        }
        let result = try descend(work)
        return (PythonString(String(decoding: output, as: UTF8.self)), result)
    }

    // MARK: Loops

    private func execute(_ loop: JinjaLoopStatement, _ frame: JinjaFrame) throws -> Flow {
        guard loop.isRecursive else { return try run(loop, over: try evaluate(loop.iterable, frame), frame, 0) }
        keep(frame)
        try write(try render(loop, over: try evaluate(loop.iterable, frame), frame, 0))
        return .normal
    }

    private func render(
        _ loop: JinjaLoopStatement, over iterable: JinjaValue, _ frame: JinjaFrame, _ depth: Int
    ) throws -> PythonString {
        try capture { try run(loop, over: iterable, frame, depth) }.0
    }

    private func run(
        _ loop: JinjaLoopStatement, over iterable: JinjaValue, _ frame: JinjaFrame, _ depth: Int
    ) throws -> Flow {
        var source = try iterate(iterable)
        var length = try self.length(of: iterable)
        if let test = loop.test {
            let unfiltered = source
            let inner = try enter(loop.testLayout, parent: frame)
            length = nil
            source = try JinjaIterator(depth: unfiltered.depth) { [unowned self] in
                while let item = try unfiltered.next() {
                    try charge(0)
                    try assign(item, to: loop.testTarget, inner)
                    if try isTrue(try evaluate(test, inner)) { return item }
                }
                return nil
            }
        }
        var state: JinjaLoop?
        if loop.loopSlot != nil {
            var recurse: ((JinjaInterpreter, JinjaValue, Int) throws -> JinjaValue)?
            if loop.isRecursive {
                recurse = { interpreter, iterable, depth in
                    .string(try interpreter.render(loop, over: iterable, frame, depth))
                }
            }
            state = try JinjaLoop(source, length: length, depth0: depth, recurse: recurse)
        }
        // As in Jinja, `else` runs unless some turn came to the end of its body.
        var completesTurn = false
        turns: while let item = try state.map({ try $0.next() }) ?? source.next() {
            try charge(0)
            let inner = try enter(loop.body.layout, parent: frame)
            if let slot = loop.loopSlot, let state { inner.slots[slot] = .loop(state) }
            try assign(item, to: loop.target, inner)
            switch try execute(loop.body.statements, inner) {
            case .normal: completesTurn = true
            case .continued: break
            case .broken: break turns
            }
        }
        if !completesTurn, let otherwise = loop.otherwise {
            return try execute(otherwise.statements, try enter(otherwise.layout, parent: frame))
        }
        return .normal
    }

    // MARK: Macros

    private func callable(of macro: JinjaMacro, _ frame: JinjaFrame) throws -> JinjaCallable {
        keep(frame)
        let name = macro.name
        let printed = name.map { "<Macro \(PythonString($0).quoted)>" } ?? "<Macro anonymous>"
        return try JinjaCallable(
            printed: printed,
            attribute: { attribute in
                switch attribute {
                case "name": name.map { .string($0) } ?? JinjaValue.none
                case "arguments": .tuple(try JinjaSequence(macro.parameters.map { .string($0.name.text) }))
                case "catch_kwargs": .bool(macro.keywordsSlot != nil)
                case "catch_varargs": .bool(macro.extrasSlot != nil)
                case "caller": .bool(macro.callerSlot != nil)
                default: nil
                }
            }
        ) { interpreter, arguments in
            .string(try interpreter.call(macro, arguments, frame))
        }
    }

    private func call(_ macro: JinjaMacro, _ arguments: JinjaArguments, _ frame: JinjaFrame) throws -> PythonString {
        let inner = try enter(macro.body.layout, parent: frame)
        let shown = macro.name.map { "the macro '\($0)'" } ?? "the caller"
        var keywords = arguments.keywords
        func take(_ name: String) -> JinjaValue? {
            keywords.firstIndex { $0.name == name }.map { keywords.remove(at: $0).value }
        }
        for (index, parameter) in macro.parameters.enumerated() {
            let slot = parameter.name.address.slot
            if index < arguments.positional.count {
                inner.slots[slot] = arguments.positional[index]
            } else {
                inner.slots[slot] = take(parameter.name.text)
            }
        }
        if let slot = macro.callerSlot {
            inner.slots[slot] = take("caller") ?? .undefined("no caller is defined")
        }
        if let slot = macro.keywordsSlot {
            inner.slots[slot] = .dict(try JinjaDict(keywords.map { (.string($0.name), $0.value) }))
        } else if let first = keywords.first {
            throw JinjaFailure.invalid("\(shown) takes no argument named '\(first.name)'")
        }
        let extras = arguments.positional.dropFirst(macro.parameters.count)
        if let slot = macro.extrasSlot {
            inner.slots[slot] = .tuple(try JinjaSequence(Array(extras)))
        } else if !extras.isEmpty {
            throw JinjaFailure.invalid("\(shown) takes at most \(macro.parameters.count) arguments")
        }
        return try capture {
            for parameter in macro.parameters where inner.slots[parameter.name.address.slot] == nil {
                let fallback = try parameter.fallback.map { try evaluate($0, inner) }
                inner.slots[parameter.name.address.slot] =
                    fallback ?? .undefined("the parameter '\(parameter.name.text)' was not provided")
            }
            _ = try execute(macro.body.statements, inner)
        }.0
    }
}

/// A scope while a template renders; `nil` is a name that has no value.
final class JinjaFrame {
    var slots: [JinjaValue?]
    private let parent: JinjaFrame?

    init(count: Int, parent: JinjaFrame?) {
        slots = Array(repeating: nil, count: count)
        self.parent = parent
    }

    func at(_ hops: Int) -> JinjaFrame {
        var frame = self
        for _ in 0..<hops { frame = frame.parent ?? frame }
        return frame
    }
}
