/// Parses the statements of a template.
///
/// The grammar is Jinja's (pallets/jinja, `src/jinja2/parser.py`) with the extensions transformers switches on:
/// `break`, `continue` and `generation`. Inheritance, inclusion and `autoescape` are refused by name.
struct JinjaParser {
    /// Bounds that keep a hostile template from exhausting the stack.
    static let maximumHeight = 120
    static let maximumNesting = 40

    private var tokens: [JinjaToken]
    private var index = 0
    private var nesting = 0
    /// Loops around the statement in the same function body, which `break` may leave.
    private var openLoops = 0
    var expressionNesting = 0
    private(set) var hasGenerationTags = false

    init(tokens: [JinjaToken]) { self.tokens = tokens }

    /// The whole template, with the address of every name.
    static func parse(_ text: String) throws -> JinjaTemplate {
        var parser = JinjaParser(tokens: try JinjaLexer.tokens(of: text))
        let body = JinjaBody(try parser.parseBody(until: [], of: nil))
        try JinjaScope.resolve(body)
        return JinjaTemplate(body: body, hasGenerationTags: parser.hasGenerationTags)
    }

    // MARK: Tokens

    var current: JinjaToken { tokens[index] }
    var line: Int { current.line }

    func peek(_ offset: Int = 1) -> JinjaToken { tokens[min(index + offset, tokens.count - 1)] }

    mutating func advance() { if index + 1 < tokens.count { index += 1 } }

    func isSymbol(_ symbol: String) -> Bool { current.kind == .symbol(symbol) }
    func isName(_ name: String) -> Bool { current.kind == .name(name) }

    mutating func skip(symbol: String) -> Bool {
        guard isSymbol(symbol) else { return false }
        advance()
        return true
    }

    mutating func skip(name: String) -> Bool {
        guard isName(name) else { return false }
        advance()
        return true
    }

    func failure(_ message: String) -> JinjaFailure { JinjaFailure(.templateSyntax, line: line, message) }

    mutating func expect(symbol: String) throws {
        guard skip(symbol: symbol) else { throw failure("expected '\(symbol)', found \(current.shown)") }
    }

    mutating func expectName() throws -> String {
        guard case .name(let name) = current.kind else { throw failure("expected a name, found \(current.shown)") }
        advance()
        return name
    }

    private mutating func expect(name: String) throws {
        guard skip(name: name) else { throw failure("expected '\(name)', found \(current.shown)") }
    }

    mutating func expect(_ kind: JinjaToken.Kind, _ what: String) throws {
        guard current.kind == kind else { throw failure("expected \(what), found \(current.shown)") }
        advance()
    }

    // MARK: Bodies

    /// Statements until a block that begins with one of `ends`, whose name is then the current token.
    private mutating func parseBody(until ends: [String], of tag: (name: String, line: Int)?) throws
        -> [JinjaStatement]
    {
        nesting += 1
        defer { nesting -= 1 }
        guard nesting <= Self.maximumNesting else {
            throw JinjaFailure(.templateLimit, line: line, "blocks are nested more than \(Self.maximumNesting) deep")
        }
        var statements: [JinjaStatement] = []
        while true {
            let token = current
            switch token.kind {
            case .data(let text):
                advance()
                statements.append(JinjaStatement(kind: .text(text), line: token.line))
            case .variableBegin:
                advance()
                let value = try parseTuple()
                try expect(.variableEnd, "'}}'")
                statements.append(JinjaStatement(kind: .output(value), line: token.line))
            case .blockBegin:
                advance()
                guard case .name(let name) = current.kind else {
                    throw failure("expected the name of a tag, found \(current.shown)")
                }
                if ends.contains(name) { return statements }
                statements += try parseStatement(name)
                try expect(.blockEnd, "'%}'")
            default:
                if let tag {
                    throw JinjaFailure(
                        .templateSyntax, line: tag.line, "'\(tag.name)' is not closed with '\(ends.last ?? "")'")
                }
                return statements
            }
        }
    }

    /// The body of a tag whose head ends here, up to one of `ends`.
    private mutating func parseBlock(_ name: String, line: Int, until ends: String...) throws -> [JinjaStatement] {
        _ = skip(symbol: ":")
        try expect(.blockEnd, "'%}'")
        return try parseBody(until: ends, of: (name, line))
    }

    /// The same for a body that is a function of its own, which `break` cannot leave.
    private mutating func parseFunctionBody(_ name: String, line: Int, until end: String) throws -> JinjaBody {
        let outer = openLoops
        openLoops = 0
        defer { openLoops = outer }
        let body = try parseBlock(name, line: line, until: end)
        advance()
        return JinjaBody(body)
    }

    // MARK: Statements

    private mutating func parseStatement(_ name: String) throws -> [JinjaStatement] {
        let line = self.line
        func statement(_ kind: JinjaStatement.Kind) -> [JinjaStatement] { [JinjaStatement(kind: kind, line: line)] }
        advance()
        switch name {
        case "if": return statement(try parseCondition(line))
        case "for": return statement(try parseLoop(line))
        case "set": return statement(try parseAssignment(line))
        case "macro":
            let target = try parseTargetName()
            let parameters = try parseParameters()
            let body = try parseFunctionBody("macro", line: line, until: "endmacro")
            let macro = JinjaMacro(name: target.text, parameters: parameters, body: body)
            return statement(.macro(target, macro))
        case "call":
            let parameters = isSymbol("(") ? try parseParameters() : []
            let call = try parseExpression()
            guard case .call = call.kind else { throw failure("'call' needs a call of a macro") }
            let body = try parseFunctionBody("call", line: line, until: "endcall")
            return statement(.call(call, JinjaMacro(name: nil, parameters: parameters, body: body)))
        case "generation":
            hasGenerationTags = true
            let body = try parseFunctionBody("generation", line: line, until: "endgeneration")
            return statement(.generation(JinjaMacro(name: nil, parameters: [], body: body)))
        case "filter":
            let filter = try parseFilters(of: JinjaExpression(.captured, line: line), isFirstNamed: true)
            let body = try parseBlock("filter", line: line, until: "endfilter")
            advance()
            return statement(.filter(filter, JinjaBody(body)))
        case "with":
            var assignments: [(JinjaTarget, JinjaExpression)] = []
            while current.kind != .blockEnd {
                if !assignments.isEmpty { try expect(symbol: ",") }
                let target = try parseTarget(allowsAttributes: false)
                try expect(symbol: "=")
                assignments.append((target, try parseExpression()))
            }
            let body = try parseBlock("with", line: line, until: "endwith")
            advance()
            return statement(.with(assignments, JinjaBody(body)))
        case "print":
            var values: [JinjaStatement] = []
            while current.kind != .blockEnd {
                if !values.isEmpty { try expect(symbol: ",") }
                values.append(JinjaStatement(kind: .output(try parseExpression()), line: line))
            }
            return values
        case "break", "continue":
            guard openLoops > 0 else { throw JinjaFailure(.templateSyntax, line: line, "'\(name)' outside a loop") }
            return statement(name == "break" ? .breakLoop : .continueLoop)
        case "block", "extends", "include", "import", "from", "autoescape":
            throw JinjaFailure.unsupported("the tag '\(name)' is not supported in a chat template", line: line)
        default:
            throw JinjaFailure(.templateSyntax, line: line, "unknown tag '\(name)'")
        }
    }

    private mutating func parseCondition(_ line: Int) throws -> JinjaStatement.Kind {
        var branches: [(test: JinjaExpression, body: [JinjaStatement])] = []
        while true {
            let test = try parseTuple(allowsConditional: false)
            branches.append((test, try parseBlock("if", line: line, until: "elif", "else", "endif")))
            if skip(name: "elif") { continue }
            if skip(name: "else") {
                let otherwise = try parseBlock("if", line: line, until: "endif")
                advance()
                return .condition(branches, otherwise: otherwise)
            }
            advance()
            return .condition(branches, otherwise: [])
        }
    }

    private mutating func parseLoop(_ line: Int) throws -> JinjaStatement.Kind {
        let targetStart = index
        let target = try parseTarget(allowsAttributes: false, endsAtIn: true)
        try expect(name: "in")
        let iterable = try parseTuple(allowsConditional: false, endsAt: "recursive")
        let test = skip(name: "if") ? try parseExpression() : nil
        let isRecursive = skip(name: "recursive")
        // The target is parsed once more for the scope of the test.
        let after = index
        index = targetStart
        let testTarget = try parseTarget(allowsAttributes: false, endsAtIn: true)
        index = after
        openLoops += 1
        let body = try parseBlock("for", line: line, until: "else", "endfor")
        openLoops -= 1
        var otherwise: JinjaBody?
        if skip(name: "else") {
            otherwise = JinjaBody(try parseBlock("for", line: line, until: "endfor"))
        }
        advance()
        return .loop(
            JinjaLoopStatement(
                target: target, testTarget: testTarget, iterable: iterable, test: test, isRecursive: isRecursive,
                body: JinjaBody(body), otherwise: otherwise))
    }

    private mutating func parseAssignment(_ line: Int) throws -> JinjaStatement.Kind {
        let target = try parseTarget(allowsAttributes: true)
        if skip(symbol: "=") { return .assignment(target, try parseTuple()) }
        var filter: JinjaExpression?
        if isSymbol("|") { filter = try parseFilters(of: JinjaExpression(.captured, line: line)) }
        let body = try parseBlock("set", line: line, until: "endset")
        advance()
        return .blockAssignment(target, filter: filter, JinjaBody(body))
    }

    // MARK: Targets and parameters

    private mutating func parseTargetName() throws -> JinjaExpression.Name {
        let name = try expectName()
        guard !["true", "false", "none", "True", "False", "None"].contains(name) else {
            throw failure("cannot assign to '\(name)'")
        }
        return JinjaExpression.Name(name)
    }

    private mutating func parseOneTarget(allowsAttributes: Bool) throws -> JinjaTarget {
        if isSymbol("(") {
            expressionNesting += 1
            defer { expressionNesting -= 1 }
            guard expressionNesting < Self.maximumHeight else { throw failure("the target is nested too deeply") }
            advance()
            let target = try parseTarget(allowsAttributes: allowsAttributes)
            try expect(symbol: ")")
            return target
        }
        let name = try parseTargetName()
        guard allowsAttributes, skip(symbol: ".") else { return .name(name) }
        return .attribute(name, try expectName())
    }

    private mutating func parseTarget(allowsAttributes: Bool, endsAtIn: Bool = false) throws -> JinjaTarget {
        var targets = [try parseOneTarget(allowsAttributes: allowsAttributes)]
        var isTuple = false
        while skip(symbol: ",") {
            isTuple = true
            if isSymbol("=") || isSymbol(")") || current.kind == .blockEnd || (endsAtIn && isName("in")) { break }
            targets.append(try parseOneTarget(allowsAttributes: allowsAttributes))
        }
        return isTuple ? .tuple(targets) : targets[0]
    }

    private mutating func parseParameters() throws -> [(name: JinjaExpression.Name, fallback: JinjaExpression?)] {
        var parameters: [(name: JinjaExpression.Name, fallback: JinjaExpression?)] = []
        try expect(symbol: "(")
        while !isSymbol(")") {
            if !parameters.isEmpty { try expect(symbol: ",") }
            let name = try parseTargetName()
            if skip(symbol: "=") {
                parameters.append((name, try parseExpression()))
            } else {
                guard parameters.last?.fallback == nil else {
                    throw failure("a parameter without a default follows one with a default")
                }
                parameters.append((name, nil))
            }
        }
        try expect(symbol: ")")
        return parameters
    }
}

/// A parsed template.
struct JinjaTemplate: Sendable {
    let body: JinjaBody
    /// Whether it marks the assistant's text itself.
    let hasGenerationTags: Bool
}
