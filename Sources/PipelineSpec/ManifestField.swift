/// One key of the manifest: what it means, what it accepts, and where its value lives in ``JobManifest``.
///
/// The parser, the list of known keys, the JSON Schema and the documentation all read these.
package struct ManifestField: Sendable {
    /// The dotted path, such as `train.learning_rate`.
    package let path: String
    /// What is accepted.
    package let constraint: ValueConstraint
    /// One sentence.
    package let documentation: String
    /// Whether a manifest without the key is refused.
    package let isRequired: Bool
    /// A key that says the same thing in another unit; only one of the two may be written.
    package let excludes: String?
    /// The value in the manifest's own syntax; `.null` where the excluding key is in force.
    let get: @Sendable (JobManifest) -> JSONValue
    let set: @Sendable (inout JobManifest, JSONValue) throws -> Void

    init(
        _ path: String, _ constraint: ValueConstraint, _ documentation: String, required: Bool = false,
        excludes: String? = nil, get: @escaping @Sendable (JobManifest) -> JSONValue,
        set: @escaping @Sendable (inout JobManifest, JSONValue) throws -> Void
    ) {
        self.path = path
        self.constraint = constraint
        self.documentation = documentation
        isRequired = required
        self.excludes = excludes
        self.get = get
        self.set = set
    }

    /// The last word of the path.
    package var key: String { String(path.split(separator: ".").last ?? "") }

    /// The path as a JSON pointer.
    package var pointer: String { "/" + path.replacing(".", with: "/") }

    /// The value a manifest that does not write the key has; `nil` when it must be written, or when another key
    /// takes its place.
    package var defaultValue: JSONValue? {
        if isRequired { return nil }
        let value = get(ManifestSchema.defaults)
        return value == .null && excludes != nil ? nil : value
    }
}

extension JSONValue {
    /// The text of a string.
    func string() throws -> String {
        guard case .string(let value) = self else { throw mismatch("text") }
        return value
    }

    func int() throws -> Int {
        switch self {
        case .integer(let value): return value
        case .number(let value):
            guard let whole = Int(exactly: value) else { throw mismatch("a whole number") }
            return whole
        default: throw mismatch("a whole number")
        }
    }

    func double() throws -> Double {
        switch self {
        case .integer(let value): return Double(value)
        case .number(let value): return value
        default: throw mismatch("a number")
        }
    }

    func bool() throws -> Bool {
        guard case .bool(let value) = self else { throw mismatch("true or false") }
        return value
    }

    /// The elements of an array; a string is an array of one.
    func strings() throws -> [String] {
        if case .string(let value) = self { return [value] }
        guard case .array(let values) = self else { throw mismatch("a list") }
        return try values.map { try $0.string() }
    }

    func members() throws -> [String: JSONValue] {
        guard case .object(let members) = self else { throw mismatch("a mapping") }
        return members
    }

    func stringMap() throws -> [String: String] { try members().mapValues { try $0.string() } }

    func choice<Choice: RawRepresentable<String>>(_ type: Choice.Type) throws -> Choice {
        guard let value = Choice(rawValue: try string()) else { throw mismatch("a \(Choice.self)") }
        return value
    }

    func seconds() throws -> Double {
        guard let value = Quantity.seconds(try string()) else { throw mismatch("a duration such as 8h") }
        return value
    }

    /// The share in a text such as `5%`.
    func share() throws -> Double {
        guard let value = Quantity.share(try string()) else { throw mismatch("a share such as 5%") }
        return value
    }

    private func mismatch(_ expected: String) -> SpecError {
        SpecError(.key, "expected \(expected), got \(PrintableText.line(text(), limit: 80))")
    }
}
