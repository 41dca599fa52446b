/// The parsed expression of a template.
///
/// Sendable holds: everything is set while the template is parsed, by one thread, and only read afterwards.
final class JinjaExpression: @unchecked Sendable {
    /// A value that is written in the template.
    enum Literal: Sendable {
        case none
        case bool(Bool)
        case int(Int)
        case float(Double)
        case string(String)
    }

    /// A name, and the place where its scope keeps it.
    final class Name: @unchecked Sendable {
        let text: String
        var address = JinjaAddress(hops: 0, slot: 0)

        init(_ text: String) { self.text = text }
    }

    enum Operation: String, Sendable {
        case add = "+"
        case subtract = "-"
        case multiply = "*"
        case divide = "/"
        case floorDivide = "//"
        case modulo = "%"
        case power = "**"
    }

    enum Comparison: String, Sendable {
        case equal = "=="
        case notEqual = "!="
        case less = "<"
        case lessOrEqual = "<="
        case greater = ">"
        case greaterOrEqual = ">="
        case contained = "in"
        case notContained = "not in"
    }

    /// What stands between the parentheses of a call.
    struct Arguments: Sendable {
        var positional: [JinjaExpression] = []
        var keywords: [(name: String, value: JinjaExpression)] = []
    }

    enum Kind: Sendable {
        case literal(Literal)
        case name(Name)
        case list([JinjaExpression])
        case tuple([JinjaExpression])
        case dict([(key: JinjaExpression, value: JinjaExpression)])
        case attribute(JinjaExpression, String)
        case item(JinjaExpression, JinjaExpression)
        case slice(JinjaExpression, from: JinjaExpression?, to: JinjaExpression?, step: JinjaExpression?)
        case call(JinjaExpression, Arguments)
        case filter(JinjaExpression, String, Arguments)
        case test(JinjaExpression, String, Arguments)
        case not(JinjaExpression)
        case negative(JinjaExpression)
        case positive(JinjaExpression)
        case and(JinjaExpression, JinjaExpression)
        case or(JinjaExpression, JinjaExpression)
        case operation(Operation, JinjaExpression, JinjaExpression)
        case concatenation([JinjaExpression])
        case comparison(JinjaExpression, [(Comparison, JinjaExpression)])
        case conditional(condition: JinjaExpression, then: JinjaExpression, otherwise: JinjaExpression?)
        /// What the block around a `filter` or a `set` with filters rendered.
        case captured
    }

    let kind: Kind
    let line: Int
    /// The height of the tree, which bounds the recursion over it.
    let height: Int

    init(_ kind: Kind, line: Int) {
        self.kind = kind
        self.line = line
        var highest = 0
        Self.visitChildren(of: kind) { highest = max(highest, $0.height) }
        height = highest + 1
    }

    func visitChildren(_ visit: (JinjaExpression) -> Void) { Self.visitChildren(of: kind, visit) }

    private static func visitChildren(of kind: Kind, _ visit: (JinjaExpression) -> Void) {
        func visitArguments(_ arguments: Arguments) {
            arguments.positional.forEach(visit)
            arguments.keywords.forEach { visit($0.value) }
        }
        switch kind {
        case .literal, .name, .captured: break
        case .list(let items), .tuple(let items), .concatenation(let items): items.forEach(visit)
        case .dict(let pairs):
            for pair in pairs {
                visit(pair.key)
                visit(pair.value)
            }
        case .attribute(let base, _), .not(let base), .negative(let base), .positive(let base): visit(base)
        case .item(let left, let right), .and(let left, let right), .or(let left, let right),
            .operation(_, let left, let right):
            visit(left)
            visit(right)
        case .slice(let base, let from, let to, let step):
            visit(base)
            for part in [from, to, step] { part.map(visit) }
        case .call(let base, let arguments), .filter(let base, _, let arguments), .test(let base, _, let arguments):
            visit(base)
            visitArguments(arguments)
        case .comparison(let first, let rest):
            visit(first)
            for (_, operand) in rest { visit(operand) }
        case .conditional(let condition, let then, let otherwise):
            visit(condition)
            visit(then)
            otherwise.map(visit)
        }
    }
}

/// Where a name is kept: so many scopes outwards, in that slot.
struct JinjaAddress: Sendable {
    let hops: Int
    let slot: Int
}

/// What an assignment assigns to.
indirect enum JinjaTarget: Sendable {
    case name(JinjaExpression.Name)
    case attribute(JinjaExpression.Name, String)
    case tuple([JinjaTarget])
}

/// A parsed statement of a template.
struct JinjaStatement: Sendable {
    indirect enum Kind: Sendable {
        case text(String)
        case output(JinjaExpression)
        case condition([(test: JinjaExpression, body: [JinjaStatement])], otherwise: [JinjaStatement])
        case loop(JinjaLoopStatement)
        case assignment(JinjaTarget, JinjaExpression)
        case blockAssignment(JinjaTarget, filter: JinjaExpression?, JinjaBody)
        case macro(JinjaExpression.Name, JinjaMacro)
        case call(JinjaExpression, JinjaMacro)
        case generation(JinjaMacro)
        case filter(JinjaExpression, JinjaBody)
        case with([(target: JinjaTarget, value: JinjaExpression)], JinjaBody)
        case breakLoop
        case continueLoop
    }

    let kind: Kind
    let line: Int
}

/// Statements with a scope of their own.
final class JinjaBody: @unchecked Sendable {
    // Sendable holds as for JinjaExpression.
    let statements: [JinjaStatement]
    var layout = JinjaScopeLayout()

    init(_ statements: [JinjaStatement]) { self.statements = statements }
}

/// A `for` loop: its body, its test and its `else` have scopes of their own.
final class JinjaLoopStatement: @unchecked Sendable {
    // Sendable holds as for JinjaExpression.
    let target: JinjaTarget
    /// The same names in the scope of the test.
    let testTarget: JinjaTarget
    let iterable: JinjaExpression
    let test: JinjaExpression?
    let isRecursive: Bool
    let body: JinjaBody
    let otherwise: JinjaBody?
    var testLayout = JinjaScopeLayout()
    /// The slot of `loop` in the body's scope, when the body speaks of it.
    var loopSlot: Int?

    init(
        target: JinjaTarget, testTarget: JinjaTarget, iterable: JinjaExpression, test: JinjaExpression?,
        isRecursive: Bool, body: JinjaBody, otherwise: JinjaBody?
    ) {
        self.target = target
        self.testTarget = testTarget
        self.iterable = iterable
        self.test = test
        self.isRecursive = isRecursive
        self.body = body
        self.otherwise = otherwise
    }
}

/// A macro, or the body of a `call` or `generation` block, which is a macro without a name.
final class JinjaMacro: @unchecked Sendable {
    // Sendable holds as for JinjaExpression.
    let name: String?
    let parameters: [(name: JinjaExpression.Name, fallback: JinjaExpression?)]
    let body: JinjaBody
    /// The slots of the special parameters, when the body speaks of them.
    var callerSlot: Int?
    var keywordsSlot: Int?
    var extrasSlot: Int?

    init(
        name: String?, parameters: [(name: JinjaExpression.Name, fallback: JinjaExpression?)],
        body: JinjaBody
    ) {
        self.name = name
        self.parameters = parameters
        self.body = body
    }
}
