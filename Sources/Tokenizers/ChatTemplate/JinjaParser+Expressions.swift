/// Expressions, from the loosest to the tightest binding.
extension JinjaParser {
    private func node(_ kind: JinjaExpression.Kind, _ line: Int) throws -> JinjaExpression {
        let node = JinjaExpression(kind, line: line)
        guard node.height <= Self.maximumHeight else {
            throw JinjaFailure(
                .templateLimit, line: line, "an expression is nested more than \(Self.maximumHeight) deep")
        }
        return node
    }

    mutating func parseExpression(allowsConditional: Bool = true) throws -> JinjaExpression {
        expressionNesting += 1
        defer { expressionNesting -= 1 }
        guard expressionNesting <= Self.maximumHeight / 2 else {
            throw JinjaFailure(
                .templateLimit, line: line, "an expression is nested more than \(Self.maximumHeight / 2) deep")
        }
        return allowsConditional ? try parseConditional() : try parseOr()
    }

    /// One expression, or several with commas between them, which are a tuple.
    mutating func parseTuple(
        allowsConditional: Bool = true, endsAt name: String? = nil, inParentheses: Bool = false
    ) throws -> JinjaExpression {
        let line = self.line
        var items: [JinjaExpression] = []
        var isTuple = false
        while !isTupleEnd(name) {
            items.append(try parseExpression(allowsConditional: allowsConditional))
            guard skip(symbol: ",") else { break }
            isTuple = true
        }
        if !isTuple, let only = items.first { return only }
        guard isTuple || inParentheses else { throw failure("expected an expression, found \(current.shown)") }
        return try node(.tuple(items), line)
    }

    private func isTupleEnd(_ name: String?) -> Bool {
        switch current.kind {
        case .variableEnd, .blockEnd, .symbol(")"): true
        case .name(let text): text == name
        default: false
        }
    }

    private mutating func parseConditional() throws -> JinjaExpression {
        var line = self.line
        var value = try parseOr()
        while skip(name: "if") {
            let condition = try parseOr()
            let otherwise = skip(name: "else") ? try parseExpression() : nil
            value = try node(.conditional(condition: condition, then: value, otherwise: otherwise), line)
            line = self.line
        }
        return value
    }

    private mutating func parseOr() throws -> JinjaExpression {
        let line = self.line
        var left = try parseAnd()
        while skip(name: "or") { left = try node(.or(left, try parseAnd()), line) }
        return left
    }

    private mutating func parseAnd() throws -> JinjaExpression {
        let line = self.line
        var left = try parseNot()
        while skip(name: "and") { left = try node(.and(left, try parseNot()), line) }
        return left
    }

    private mutating func parseNot() throws -> JinjaExpression {
        let line = self.line
        var count = 0
        while skip(name: "not") { count += 1 }
        var value = try parseComparison()
        for _ in 0..<count { value = try node(.not(value), line) }
        return value
    }

    private mutating func parseComparison() throws -> JinjaExpression {
        let line = self.line
        let first = try parseSum()
        var rest: [(JinjaExpression.Comparison, JinjaExpression)] = []
        while let comparison = comparison() {
            rest.append((comparison, try parseSum()))
        }
        return rest.isEmpty ? first : try node(.comparison(first, rest), line)
    }

    private mutating func comparison() -> JinjaExpression.Comparison? {
        switch current.kind {
        case .symbol(let symbol):
            guard let comparison = JinjaExpression.Comparison(rawValue: symbol) else { return nil }
            advance()
            return comparison
        case .name("in"):
            advance()
            return .contained
        case .name("not") where peek().kind == .name("in"):
            advance()
            advance()
            return .notContained
        default: return nil
        }
    }

    private mutating func parseSum() throws -> JinjaExpression {
        let line = self.line
        var left = try parseConcatenation()
        while isSymbol("+") || isSymbol("-") {
            let operation: JinjaExpression.Operation = isSymbol("+") ? .add : .subtract
            advance()
            left = try node(.operation(operation, left, try parseConcatenation()), line)
        }
        return left
    }

    private mutating func parseConcatenation() throws -> JinjaExpression {
        let line = self.line
        var items = [try parseProduct()]
        while skip(symbol: "~") { items.append(try parseProduct()) }
        return items.count == 1 ? items[0] : try node(.concatenation(items), line)
    }

    private mutating func parseProduct() throws -> JinjaExpression {
        let line = self.line
        var left = try parsePower()
        while case .symbol(let symbol) = current.kind, ["*", "/", "//", "%"].contains(symbol),
            let operation = JinjaExpression.Operation(rawValue: symbol)
        {
            advance()
            left = try node(.operation(operation, left, try parsePower()), line)
        }
        return left
    }

    private mutating func parsePower() throws -> JinjaExpression {
        let line = self.line
        var left = try parseUnary()
        while skip(symbol: "**") { left = try node(.operation(.power, left, try parseUnary()), line) }
        return left
    }

    private mutating func parseUnary(withFilters: Bool = true) throws -> JinjaExpression {
        let line = self.line
        var signs: [String] = []
        while isSymbol("-") || isSymbol("+") {
            signs.append(isSymbol("-") ? "-" : "+")
            advance()
        }
        var value = try parsePostfix(of: try parsePrimary())
        for sign in signs.reversed() { value = try node(sign == "-" ? .negative(value) : .positive(value), line) }
        if !signs.isEmpty { value = try parsePostfix(of: value) }
        return try parseFiltersAndTests(of: value)
    }

    private mutating func parsePrimary() throws -> JinjaExpression {
        let token = current
        switch token.kind {
        case .name(let name):
            advance()
            switch name {
            case "true", "True": return try node(.literal(.bool(true)), token.line)
            case "false", "False": return try node(.literal(.bool(false)), token.line)
            case "none", "None": return try node(.literal(.none), token.line)
            default: return try node(.name(JinjaExpression.Name(name)), token.line)
            }
        case .string(let first):
            advance()
            var text = first
            while case .string(let more) = current.kind {
                text.unicodeScalars.append(contentsOf: more.unicodeScalars)
                advance()
            }
            return try node(.literal(.string(text)), token.line)
        case .integer(let value):
            advance()
            return try node(.literal(.int(value)), token.line)
        case .float(let value):
            advance()
            return try node(.literal(.float(value)), token.line)
        case .symbol("("):
            advance()
            let value = try parseTuple(inParentheses: true)
            try expect(symbol: ")")
            return value
        case .symbol("["):
            advance()
            var items: [JinjaExpression] = []
            while !isSymbol("]") {
                items.append(try parseExpression())
                guard skip(symbol: ",") else { break }
            }
            try expect(symbol: "]")
            return try node(.list(items), token.line)
        case .symbol("{"):
            advance()
            var pairs: [(JinjaExpression, JinjaExpression)] = []
            while !isSymbol("}") {
                let key = try parseExpression()
                try expect(symbol: ":")
                pairs.append((key, try parseExpression()))
                guard skip(symbol: ",") else { break }
            }
            try expect(symbol: "}")
            return try node(.dict(pairs), token.line)
        default:
            throw failure("expected an expression, found \(token.shown)")
        }
    }

    // MARK: What follows a value

    private mutating func parsePostfix(of base: JinjaExpression) throws -> JinjaExpression {
        var value = base
        while true {
            let line = self.line
            if skip(symbol: ".") {
                switch current.kind {
                case .name(let name): value = try node(.attribute(value, name), line)
                case .integer(let number):
                    value = try node(.item(value, try node(.literal(.int(number)), line)), line)
                default: throw failure("expected a name after '.', found \(current.shown)")
                }
                advance()
            } else if skip(symbol: "[") {
                value = try parseSubscript(of: value, line)
            } else if isSymbol("(") {
                value = try node(.call(value, try parseArguments()), line)
            } else {
                return value
            }
        }
    }

    private mutating func parseSubscript(of base: JinjaExpression, _ line: Int) throws -> JinjaExpression {
        var parts: [JinjaExpression?] = [nil]
        while !isSymbol("]") {
            if skip(symbol: ":") {
                parts.append(nil)
                guard parts.count <= 3 else { throw failure("a slice has at most three parts") }
            } else if isSymbol(",") {
                throw JinjaFailure.unsupported("several subscripts at once are not supported", line: line)
            } else {
                guard parts[parts.count - 1] == nil else { throw failure("expected ']', found \(current.shown)") }
                parts[parts.count - 1] = try parseExpression()
            }
        }
        try expect(symbol: "]")
        if parts.count > 1 {
            let step = parts.count > 2 ? parts[2] : nil
            return try node(.slice(base, from: parts[0], to: parts[1], step: step), line)
        }
        guard let index = parts[0] else { throw failure("a subscript is empty") }
        return try node(.item(base, index), line)
    }

    private mutating func parseArguments() throws -> JinjaExpression.Arguments {
        try expect(symbol: "(")
        var arguments = JinjaExpression.Arguments()
        while !isSymbol(")") {
            if isSymbol("*") || isSymbol("**") {
                throw JinjaFailure.unsupported("'*' and '**' in a call are not supported", line: line)
            }
            if case .name(let name) = current.kind, peek().kind == .symbol("=") {
                advance()
                advance()
                guard !arguments.keywords.contains(where: { $0.name == name }) else {
                    throw failure("the argument '\(name)' is given twice")
                }
                arguments.keywords.append((name, try parseExpression()))
            } else {
                guard arguments.keywords.isEmpty else { throw failure("a positional argument follows a named one") }
                arguments.positional.append(try parseExpression())
            }
            guard skip(symbol: ",") else { break }
        }
        try expect(symbol: ")")
        return arguments
    }

    private mutating func parseFiltersAndTests(of base: JinjaExpression) throws -> JinjaExpression {
        var value = base
        while true {
            if isSymbol("|") {
                value = try parseFilters(of: value)
            } else if isName("is") {
                value = try parseTest(of: value)
            } else if isSymbol("(") {
                let line = self.line
                value = try node(.call(value, try parseArguments()), line)
            } else {
                return value
            }
        }
    }

    /// The filters that follow; `isFirstNamed` when the first comes without its bar, as in `{% filter upper %}`.
    mutating func parseFilters(of base: JinjaExpression, isFirstNamed: Bool = false) throws -> JinjaExpression {
        var value = base
        var isNamed = isFirstNamed
        while isNamed || skip(symbol: "|") {
            isNamed = false
            let line = self.line
            let name = try parseDottedName()
            guard JinjaFilters.table[name] != nil else {
                throw JinjaFailure.unsupported("the filter '\(name)' is not supported", line: line)
            }
            let arguments = isSymbol("(") ? try parseArguments() : JinjaExpression.Arguments()
            value = try node(.filter(value, name, arguments), line)
        }
        return value
    }

    private mutating func parseDottedName() throws -> String {
        var name = try expectName()
        while skip(symbol: ".") { name += "." + (try expectName()) }
        return name
    }

    private mutating func parseTest(of base: JinjaExpression) throws -> JinjaExpression {
        let line = self.line
        advance()
        let isNegated = skip(name: "not")
        let name = try parseDottedName()
        guard JinjaTests.table[name] != nil else {
            throw JinjaFailure.unsupported("the test '\(name)' is not supported", line: line)
        }
        var arguments = JinjaExpression.Arguments()
        switch current.kind {
        case .symbol("("): arguments = try parseArguments()
        case .name("else"), .name("or"), .name("and"): break
        case .name("is"): throw failure("tests with 'is' cannot be chained")
        case .name, .string, .integer, .float, .symbol("["), .symbol("{"):
            arguments.positional.append(try parsePostfix(of: try parsePrimary()))
        default: break
        }
        let test = try node(.test(base, name, arguments), line)
        return isNegated ? try node(.not(test), line) : test
    }
}
