/// What a scope holds when it is entered.
struct JinjaScopeLayout: Sendable {
    enum Load: Sendable {
        /// Set by whoever enters the scope.
        case parameter
        /// Looked up among the variables of the render.
        case variable(String)
        /// A copy of what the scope `hops` outwards keeps in `slot`.
        case copy(JinjaAddress)
        /// Nothing: an assignment comes before any use.
        case undefined
    }

    /// The names of the slots, for messages.
    var names: [String] = []
    var loads: [Load] = []
}

/// Finds where every name of a template lives.
///
/// Jinja decides this while it compiles: which names a scope assigns, reads, or takes from outside, in the order of the
/// text (pallets/jinja, `src/jinja2/idtracking.py`). The results are visible: what a loop assigns is gone in its next
/// turn, a name that is assigned further down in the same scope is undefined before, and a branch of an `if` has no
/// scope of its own. So the same analysis is done here.
final class JinjaScope {
    private let parent: JinjaScope?
    private var symbols = Symbols()
    private var slots: [String: Int] = [:]
    private var names: [String] = []

    private struct Symbols {
        var references: Set<String> = []
        var loads: [String: Load] = [:]
        var stores: Set<String> = []
    }

    private enum Load {
        case parameter
        case variable
        case copy(JinjaScope)
        case undefined
    }

    private init(parent: JinjaScope?) { self.parent = parent }

    /// Gives every name in the template its address.
    static func resolve(_ template: JinjaBody) throws {
        let scope = JinjaScope(parent: nil)
        scope.analyze(template.statements)
        try scope.resolve(template.statements)
        template.layout = scope.layout()
    }

    // MARK: Symbols

    private func define(_ name: String, _ load: Load) {
        if slots[name] == nil {
            slots[name] = names.count
            names.append(name)
        }
        symbols.references.insert(name)
        symbols.loads[name] = load
    }

    private func owner(of name: String) -> JinjaScope? {
        symbols.references.contains(name) ? self : parent?.owner(of: name)
    }

    private func load(_ name: String) {
        if owner(of: name) == nil { define(name, .variable) }
    }

    private func store(_ name: String) {
        symbols.stores.insert(name)
        guard !symbols.references.contains(name) else { return }
        if let outer = parent?.owner(of: name) {
            define(name, .copy(outer))
        } else {
            define(name, .undefined)
        }
    }

    private func declare(_ name: String) -> Int {
        symbols.stores.insert(name)
        define(name, .parameter)
        return slots[name] ?? 0
    }

    /// Takes over what the branches of an `if` did, starting from `before`.
    private func merge(_ branches: [Symbols], into before: Symbols) {
        var assigned: Set<String> = []
        for branch in branches { assigned.formUnion(branch.stores) }
        assigned.subtract(before.stores)
        symbols = before
        for branch in branches {
            symbols.references.formUnion(branch.references)
            symbols.loads.merge(branch.loads) { $1 }
            symbols.stores.formUnion(branch.stores)
        }
        for name in assigned {
            symbols.loads[name] = parent?.owner(of: name).map { .copy($0) } ?? .variable
        }
    }

    // MARK: Analysis of one scope, in the order of the text

    private func analyze(_ expression: JinjaExpression) {
        if case .name(let name) = expression.kind { load(name.text) }
        expression.visitChildren { analyze($0) }
    }

    private func analyze(_ target: JinjaTarget, asParameter: Bool = false) {
        switch target {
        case .name(let name): if asParameter { _ = declare(name.text) } else { store(name.text) }
        case .attribute(let name, _): load(name.text)
        case .tuple(let targets): for part in targets { analyze(part, asParameter: asParameter) }
        }
    }

    private func analyze(_ statements: [JinjaStatement]) {
        for statement in statements { analyze(statement) }
    }

    private func analyze(_ statement: JinjaStatement) {
        switch statement.kind {
        case .text, .breakLoop, .continueLoop, .generation: break
        case .output(let value): analyze(value)
        case .condition(let branches, let otherwise): analyze(branches, otherwise: otherwise)
        case .loop(let loop): analyze(loop.iterable)
        case .assignment(let target, let value):
            analyze(value)
            analyze(target)
        case .blockAssignment(let target, _, _): analyze(target)
        case .macro(let name, _): store(name.text)
        case .call(let call, _): analyze(call)
        case .filter(let filter, _): analyze(filter)
        case .with(let assignments, _): for assignment in assignments { analyze(assignment.value) }
        }
    }

    /// Jinja hangs every `elif` off the first `if`, as an `if` without branches of its own.
    private func analyze(
        _ branches: [(test: JinjaExpression, body: [JinjaStatement])], otherwise: [JinjaStatement]
    ) {
        func collect(_ work: () -> Void) -> Symbols {
            let before = symbols
            work()
            defer { symbols = before }
            return symbols
        }
        guard let first = branches.first else { return }
        analyze(first.test)
        let before = symbols
        let body = collect { analyze(first.body) }
        let alternatives = collect {
            for branch in branches.dropFirst() {
                analyze(branch.test)
                let inner = symbols
                let body = collect { analyze(branch.body) }
                merge([body], into: inner)
            }
        }
        let rest = collect { analyze(otherwise) }
        merge([body, alternatives, rest], into: before)
    }

    // MARK: Addresses

    private func layout() -> JinjaScopeLayout {
        var layout = JinjaScopeLayout()
        layout.names = names
        layout.loads = names.map { name in
            switch symbols.loads[name] {
            case .parameter?: .parameter
            case .variable?: .variable(name)
            case .copy(let outer)?: .copy(address(of: name, in: outer))
            case .undefined?, nil: .undefined
            }
        }
        return layout
    }

    private func address(of name: String, in owner: JinjaScope) -> JinjaAddress {
        var hops = 0
        var scope: JinjaScope? = self
        while let here = scope, here !== owner {
            hops += 1
            scope = here.parent
        }
        return JinjaAddress(hops: hops, slot: owner.slots[name] ?? 0)
    }

    private func resolve(_ name: JinjaExpression.Name) {
        guard let owner = owner(of: name.text) else { return }
        name.address = address(of: name.text, in: owner)
    }

    private func resolve(_ expression: JinjaExpression) throws {
        if case .name(let name) = expression.kind {
            if ["self", "super", "lipsum"].contains(name.text), let owner = owner(of: name.text),
                case .variable? = owner.symbols.loads[name.text]
            {
                throw JinjaFailure.unsupported("'\(name.text)' is not supported", line: expression.line)
            }
            resolve(name)
        }
        var failure: (any Error)?
        expression.visitChildren { child in
            do { try resolve(child) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    private func resolve(_ target: JinjaTarget) {
        switch target {
        case .name(let name), .attribute(let name, _): resolve(name)
        case .tuple(let targets): targets.forEach(resolve)
        }
    }

    private func resolve(_ statements: [JinjaStatement]) throws {
        for statement in statements { try resolve(statement) }
    }

    private func resolve(_ statement: JinjaStatement) throws {
        switch statement.kind {
        case .text, .breakLoop, .continueLoop: break
        case .output(let value): try resolve(value)
        case .condition(let branches, let otherwise):
            for branch in branches {
                try resolve(branch.test)
                try resolve(branch.body)
            }
            try resolve(otherwise)
        case .loop(let loop): try resolve(loop, line: statement.line)
        case .assignment(let target, let value):
            try resolve(value)
            resolve(target)
        case .blockAssignment(let target, let filter, let body):
            resolve(target)
            try resolve(body) { scope in
                filter.map(scope.analyze)
            } then: { scope in
                try filter.map(scope.resolve)
            }
        case .macro(let name, let macro):
            resolve(name)
            try resolve(macro, line: statement.line)
        case .call(let call, let macro):
            try resolve(call)
            try resolve(macro, line: statement.line)
        case .generation(let macro): try resolve(macro, line: statement.line)
        case .filter(let filter, let body):
            try resolve(body) { scope in
                scope.analyze(filter)
            } then: { scope in
                try scope.resolve(filter)
            }
        case .with(let assignments, let body):
            for assignment in assignments { try resolve(assignment.value) }
            try resolve(body, beforehand: true) { scope in
                for assignment in assignments { scope.analyze(assignment.target, asParameter: true) }
            } then: { scope in
                for assignment in assignments { scope.resolve(assignment.target) }
            }
        }
    }

    /// Resolves a body in a scope of its own; `prepare` adds names to it, before or after those of the statements.
    private func resolve(
        _ body: JinjaBody, beforehand: Bool = false, prepare: (JinjaScope) -> Void,
        then finish: (JinjaScope) throws -> Void
    ) throws {
        let scope = JinjaScope(parent: self)
        if beforehand { prepare(scope) }
        scope.analyze(body.statements)
        if !beforehand { prepare(scope) }
        try scope.resolve(body.statements)
        try finish(scope)
        body.layout = scope.layout()
    }

    private func resolve(_ loop: JinjaLoopStatement, line: Int) throws {
        try resolve(loop.iterable)
        var uses = NameUses()
        uses.visit(loop.target)
        guard !uses.assigns("loop") else {
            throw JinjaFailure(.templateSyntax, line: line, "'loop' cannot be the target of a loop")
        }
        var bodyUses = NameUses()
        bodyUses.visit(loop.body.statements)
        try resolve(loop.body, beforehand: true) { scope in
            if loop.isRecursive || bodyUses.readsFirst("loop") { loop.loopSlot = scope.declare("loop") }
            scope.analyze(loop.target, asParameter: true)
        } then: { scope in
            scope.resolve(loop.target)
        }
        if let otherwise = loop.otherwise {
            try resolve(otherwise) { _ in
            } then: { _ in
            }
        }
        if let test = loop.test {
            let scope = JinjaScope(parent: self)
            scope.analyze(loop.testTarget, asParameter: true)
            scope.analyze(test)
            scope.resolve(loop.testTarget)
            try scope.resolve(test)
            loop.testLayout = scope.layout()
        }
    }

    private func resolve(_ macro: JinjaMacro, line: Int) throws {
        var uses = NameUses()
        uses.visit(macro.body.statements)
        let named = Set(macro.parameters.map(\.name.text))
        if uses.readsFirst("caller"), named.contains("caller"),
            macro.parameters.first(where: { $0.name.text == "caller" })?.fallback == nil
        {
            throw JinjaFailure(
                .templateSyntax, line: line, "the parameter 'caller' of a macro must be left out or have a default")
        }
        try resolve(macro.body, beforehand: true) { scope in
            for parameter in macro.parameters { _ = scope.declare(parameter.name.text) }
            for parameter in macro.parameters { parameter.fallback.map(scope.analyze) }
            if uses.readsFirst("caller"), !named.contains("caller") { macro.callerSlot = scope.declare("caller") }
            if uses.readsFirst("kwargs"), !named.contains("kwargs") { macro.keywordsSlot = scope.declare("kwargs") }
            if uses.readsFirst("varargs"), !named.contains("varargs") { macro.extrasSlot = scope.declare("varargs") }
        } then: { scope in
            for parameter in macro.parameters {
                scope.resolve(parameter.name)
                try parameter.fallback.map(scope.resolve)
            }
        }
    }
}

/// The names that a piece of template mentions, in the order of the text.
private struct NameUses {
    private var events: [(name: String, isRead: Bool)] = []

    func assigns(_ name: String) -> Bool { events.contains { $0.name == name && !$0.isRead } }

    /// Whether the name is read before it is assigned.
    func readsFirst(_ name: String) -> Bool { events.first { $0.name == name }?.isRead == true }

    mutating func visit(_ target: JinjaTarget) {
        switch target {
        case .name(let name): events.append((name.text, false))
        case .attribute: break
        case .tuple(let targets): for part in targets { visit(part) }
        }
    }

    mutating func visit(_ expression: JinjaExpression) {
        if case .name(let name) = expression.kind { events.append((name.text, true)) }
        var children: [JinjaExpression] = []
        expression.visitChildren { children.append($0) }
        for child in children { visit(child) }
    }

    mutating func visit(_ statements: [JinjaStatement]) {
        for statement in statements { visit(statement) }
    }

    private mutating func visit(_ macro: JinjaMacro) {
        for parameter in macro.parameters { events.append((parameter.name.text, false)) }
        for parameter in macro.parameters { if let fallback = parameter.fallback { visit(fallback) } }
        visit(macro.body.statements)
    }

    private mutating func visit(_ statement: JinjaStatement) {
        switch statement.kind {
        case .text, .breakLoop, .continueLoop: break
        case .output(let value): visit(value)
        case .condition(let branches, let otherwise):
            for branch in branches {
                visit(branch.test)
                visit(branch.body)
            }
            visit(otherwise)
        case .loop(let loop):
            visit(loop.target)
            visit(loop.iterable)
            visit(loop.body.statements)
            if let otherwise = loop.otherwise { visit(otherwise.statements) }
            if let test = loop.test { visit(test) }
        case .assignment(let target, let value):
            visit(target)
            visit(value)
        case .blockAssignment(let target, let filter, let body):
            visit(target)
            if let filter { visit(filter) }
            visit(body.statements)
        case .macro(_, let macro), .generation(let macro): visit(macro)
        case .call(let call, let macro):
            visit(call)
            visit(macro)
        case .filter(let filter, let body):
            visit(body.statements)
            visit(filter)
        case .with(let assignments, let body):
            for assignment in assignments { visit(assignment.target) }
            for assignment in assignments { visit(assignment.value) }
            visit(body.statements)
        }
    }
}
