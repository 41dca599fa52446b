import Foundation

/// A JSON value with its place, so that every complaint can name the file and the JSON pointer.
struct JSONNode {
    let value: JSONValue
    let file: String?
    let pointer: String

    /// Reads and parses a whole file.
    init(contentsOf url: URL, decimals: DecimalReading = .nearest) throws {
        let data: Data
        do {
            data = try Data(contentsOf: url, options: .mappedIfSafe)
        } catch {
            throw TokenizerError(.unreadable, file: url.path, "cannot be read: \(error.localizedDescription)")
        }
        self.init(
            value: try JSONParser.parse(data, file: url.path, decimals: decimals), file: url.path, pointer: "")
    }

    init(value: JSONValue, file: String?, pointer: String) {
        self.value = value
        self.file = file
        self.pointer = pointer
    }

    /// An error about this value.
    func error(_ code: TokenizerError.Code, _ message: String) -> TokenizerError {
        TokenizerError(code, file: file, pointer: pointer, message)
    }

    var isNull: Bool {
        if case .null = value { true } else { false }
    }

    private func child(_ value: JSONValue, _ key: String) -> JSONNode {
        let escaped = key.replacing("~", with: "~0").replacing("/", with: "~1")
        return JSONNode(value: value, file: file, pointer: pointer + "/" + escaped)
    }

    /// The member `key`; `nil` when it is absent or null.
    func optional(_ key: String) throws -> JSONNode? {
        guard case .object(let members) = value else {
            throw error(.invalidValue, "expected an object, found \(value.kind)")
        }
        guard let member = members.last(where: { $0.key == key }) else { return nil }
        let node = child(member.value, key)
        return node.isNull ? nil : node
    }

    /// The member `key`, which must be there.
    func required(_ key: String) throws -> JSONNode {
        guard let node = try optional(key) else { throw error(.invalidValue, "\"\(key)\" is missing") }
        return node
    }

    /// Throws unless every key of this object is one of `known`.
    ///
    /// An option this program has not heard of would change ids if it were ignored.
    func allow(only known: String...) throws {
        for (key, node) in try members() where !known.contains(key) {
            let list = known.sorted().joined(separator: ", ")
            throw node.error(.unsupported, "the option \"\(key)\" is not supported; supported here: \(list)")
        }
    }

    func string() throws -> String {
        guard case .string(let text) = value else {
            throw error(.invalidValue, "expected a string, found \(value.kind)")
        }
        return text
    }

    func bool() throws -> Bool {
        guard case .bool(let flag) = value else {
            throw error(.invalidValue, "expected true or false, found \(value.kind)")
        }
        return flag
    }

    func number() throws -> Double {
        switch value {
        case .integer(let number): return Double(number)
        case .number(let number): return number
        default: throw error(.invalidValue, "expected a number, found \(value.kind)")
        }
    }

    func integer(in range: ClosedRange<Int>) throws -> Int {
        guard case .integer(let number) = value else {
            throw error(.invalidValue, "expected an integer, found \(value.kind)")
        }
        guard range.contains(number) else {
            throw error(
                .invalidValue, "\(number) is out of range; it must be \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// A token id.
    ///
    /// The bound keeps a broken file from asking for gigabytes of tables.
    func tokenID() throws -> Int32 {
        guard case .integer(let number) = value else {
            throw error(.invalidValue, "expected a token id, found \(value.kind)")
        }
        guard (0...Vocabulary.maximumID).contains(number) else {
            throw error(
                .invalidValue, "the token id \(number) is out of range; ids are 0 to \(Vocabulary.maximumID)")
        }
        return Int32(number)
    }

    func scalar() throws -> Unicode.Scalar {
        let scalars = try string().unicodeScalars
        guard let first = scalars.first, scalars.count == 1 else {
            throw error(.invalidValue, "expected a string of one character")
        }
        return first
    }

    func elements() throws -> [JSONNode] {
        guard case .array(let elements) = value else {
            throw error(.invalidValue, "expected an array, found \(value.kind)")
        }
        return elements.enumerated().map { child($1, String($0)) }
    }

    func members() throws -> [(key: String, node: JSONNode)] {
        guard case .object(let members) = value else {
            throw error(.invalidValue, "expected an object, found \(value.kind)")
        }
        return members.map { ($0.key, child($0.value, $0.key)) }
    }

    func bool(_ key: String, default fallback: Bool) throws -> Bool {
        try optional(key)?.bool() ?? fallback
    }

    /// Looks the member "type" up in a table of component kinds.
    func component<Value>(_ what: String, in table: [String: Value]) throws -> Value {
        let type = try required("type")
        let name = try type.string()
        guard let value = table[name] else {
            let known = table.keys.sorted().joined(separator: ", ")
            throw type.error(.unsupported, "the \(what) \"\(name)\" is not supported; supported: \(known)")
        }
        return value
    }
}
