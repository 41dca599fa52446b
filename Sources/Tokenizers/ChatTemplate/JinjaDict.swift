/// A Python dict that keeps the order of its keys; it never changes, as the sandbox forbids that.
final class JinjaDict {
    /// What of a dict a view shows.
    enum Part: String {
        case keys = "dict_keys"
        case values = "dict_values"
        case items = "dict_items"
    }

    /// A key as Python hashes it: 1, 1.0 and true are one key.
    enum Key: Hashable {
        case none
        case undefined
        case int(Int)
        case float(Double)
        case string(PythonString)
        case tuple([Key])
        case range(Int, Int, Int)

        init(_ value: JinjaValue) throws {
            switch value {
            case .none: self = .none
            case .undefined: self = .undefined
            case .bool(let value): self = .int(value ? 1 : 0)
            case .int(let value): self = .int(value)
            case .float(let value): self = Int(exactly: value).map(Key.int) ?? .float(value)
            case .string(let text), .markup(let text): self = .string(text)
            case .tuple(let sequence): self = .tuple(try sequence.items.map(Key.init))
            case .range(let range): self = .range(range.start, range.step, range.count)
            default: throw JinjaFailure.invalid("unhashable type: '\(value.typeName)'")
            }
        }
    }

    private(set) var pairs: [(key: JinjaValue, value: JinjaValue)] = []
    private var places: [Key: Int] = [:]
    private(set) var depth = 1

    init(_ pairs: [(JinjaValue, JinjaValue)] = []) throws {
        var deepest = 0
        for (key, value) in pairs {
            deepest = max(deepest, key.depth, value.depth)
            let hashed = try Key(key)
            if let place = places[hashed] {
                self.pairs[place].value = value
            } else {
                places[hashed] = self.pairs.count
                self.pairs.append((key, value))
            }
        }
        depth = try JinjaValue.checkedDepth(deepest + 1)
    }

    var count: Int { pairs.count }

    subscript(key: Key) -> JinjaValue? { places[key].map { pairs[$0].value } }
    subscript(key: String) -> JinjaValue? { self[.string(PythonString(key))] }

    /// The items of a view.
    func items(of part: Part) throws -> [JinjaValue] {
        switch part {
        case .keys: pairs.map(\.key)
        case .values: pairs.map(\.value)
        case .items: try pairs.map { .tuple(try JinjaSequence([$0.key, $0.value])) }
        }
    }
}
