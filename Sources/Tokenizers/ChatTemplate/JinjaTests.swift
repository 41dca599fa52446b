/// The tests behind `is` (pallets/jinja, `src/jinja2/tests.py`).
enum JinjaTests {
    typealias Test = @Sendable (JinjaInterpreter, JinjaValue, JinjaArguments) throws -> Bool

    static let table: [String: Test] = {
        var table = kinds
        table.merge(comparisons) { $1 }
        for (alias, name) in [
            ("eq", "=="), ("equalto", "=="), ("ne", "!="), ("gt", ">"), ("greaterthan", ">"), ("ge", ">="),
            ("lt", "<"), ("lessthan", "<"), ("le", "<="),
        ] { table[alias] = table[name] }
        return table
    }()

    private static func plain(_ name: String, _ test: @escaping @Sendable (JinjaValue) -> Bool) -> Test {
        { _, value, arguments in
            _ = try arguments.bound(to: [], of: "the test '\(name)'")
            return test(value)
        }
    }

    private static let kinds: [String: Test] = [
        "defined": plain("defined") { !$0.isUndefined },
        "undefined": plain("undefined") { $0.isUndefined },
        "none": plain("none", JinjaFilters.isNone),
        "boolean": plain("boolean") { if case .bool = $0 { true } else { false } },
        "true": plain("true") { if case .bool(true) = $0 { true } else { false } },
        "false": plain("false") { if case .bool(false) = $0 { true } else { false } },
        "integer": plain("integer") { if case .int = $0 { true } else { false } },
        "float": plain("float") { if case .float = $0 { true } else { false } },
        "number": plain("number") { $0.number != nil },
        "string": plain("string") { $0.text != nil },
        "mapping": plain("mapping") { if case .dict = $0 { true } else { false } },
        "escaped": plain("escaped") { if case .markup = $0 { true } else { false } },
        "callable": plain("callable") {
            switch $0 {
            case .undefined, .callable, .loop: true
            default: false
            }
        },
        "sequence": plain("sequence") {
            switch $0 {
            case .undefined, .string, .markup, .list, .tuple, .dict, .range: true
            default: false
            }
        },
        "iterable": plain("iterable") {
            switch $0 {
            case .none, .bool, .int, .float, .namespace, .callable: false
            default: true
            }
        },
        "lower": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "the test 'lower'")
            return try interpreter.text(of: value).isCased { $0.isLowercase }
        },
        "upper": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "the test 'upper'")
            return try interpreter.text(of: value).isCased { $0.isUppercase }
        },
        "filter": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "the test 'filter'")
            return value.text.map { JinjaFilters.table[$0.text] != nil } ?? false
        },
        "test": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "the test 'test'")
            return value.text.map { table[$0.text] != nil } ?? false
        },
    ]

    private static func comparing(_ comparison: JinjaExpression.Comparison) -> Test {
        { interpreter, value, arguments in
            let other = try arguments.bound(to: [""], of: "the test '\(comparison.rawValue)'", required: 1)[0]
            return try interpreter.compare(comparison, value, other ?? .none)
        }
    }

    private static func remainder(
        _ name: String, _ interpreter: JinjaInterpreter, _ value: JinjaValue, by divisor: JinjaValue
    ) throws -> JinjaValue {
        guard value.text == nil else { throw JinjaFailure.invalid("the test '\(name)' takes a number") }
        return try interpreter.operate(.modulo, value, divisor)
    }

    private static let comparisons: [String: Test] = [
        "==": comparing(.equal), "!=": comparing(.notEqual), "<": comparing(.less), "<=": comparing(.lessOrEqual),
        ">": comparing(.greater), ">=": comparing(.greaterOrEqual),
        "in": { interpreter, value, arguments in
            let container = try arguments.bound(to: ["seq"], of: "the test 'in'", required: 1)[0]
            return try interpreter.contains(container ?? .none, value)
        },
        "odd": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "the test 'odd'")
            return try interpreter.areEqual(try remainder("odd", interpreter, value, by: .int(2)), .int(1))
        },
        "even": { interpreter, value, arguments in
            _ = try arguments.bound(to: [], of: "the test 'even'")
            return try interpreter.areEqual(try remainder("even", interpreter, value, by: .int(2)), .int(0))
        },
        "divisibleby": { interpreter, value, arguments in
            let divisor = try arguments.bound(to: ["num"], of: "the test 'divisibleby'", required: 1)[0] ?? .none
            return try interpreter.areEqual(try remainder("divisibleby", interpreter, value, by: divisor), .int(0))
        },
        "sameas": { interpreter, value, arguments in
            let other = try arguments.bound(to: ["other"], of: "the test 'sameas'", required: 1)[0] ?? .none
            switch (value, other) {
            case (.none, .none): return true
            case (.bool(let left), .bool(let right)): return left == right
            // Python keeps one object for each small integer; of other numbers and strings identity says nothing.
            case (.int(let left), .int(let right)) where left != right || (-5...256).contains(left):
                return left == right
            case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)): return left === right
            case (.dict(let left), .dict(let right)): return left === right
            case (.namespace(let left), .namespace(let right)): return left === right
            case (.callable(let left), .callable(let right)): return left === right
            default:
                guard value.typeName != other.typeName else {
                    throw JinjaFailure.unsupported("'sameas' on values of the type \(value.typeName)")
                }
                return false
            }
        },
    ]
}
