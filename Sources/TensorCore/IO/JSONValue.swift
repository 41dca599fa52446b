package import Foundation

/// A JSON value that keeps what Foundation's parser loses: the order of members, and numbers as they were written.
///
/// PEFT takes the *first* pattern that matches a module, so order has meaning; and a configuration that is copied
/// should differ only where it was changed, not in the spelling of `1e-05`.
package indirect enum JSONValue: Equatable, Sendable {
    case null
    case bool(Bool)
    /// The digits as written.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([Member])

    /// A key of an object and its value.
    package struct Member: Equatable, Sendable {
        package let key: String
        package var value: JSONValue

        package init(_ key: String, _ value: JSONValue) {
            self.key = key
            self.value = value
        }
    }

    /// Parses a whole text, which must be one value.
    ///
    /// - Parameter file: the path that errors name.
    /// - Throws: ``WeightFileError`` with code `malformed` and the offending byte; a key that comes twice is an error
    ///   too.
    package init(_ data: Data, file: String) throws {
        do {
            self = try data.withUnsafeBytes { bytes in
                var cursor = JSONCursor(bytes)
                let value = try cursor.readValue()
                try cursor.readEnd()
                return value
            }
        } catch let failure as JSONCursor.Failure {
            throw WeightFileError(.malformed, file: file, "is not JSON at byte \(failure.offset): \(failure.message)")
        }
    }

    package static func number(_ value: Int) -> JSONValue { .number(String(value)) }

    /// The shortest decimal that reads back as `value`, with a point as Python's `repr` has.
    ///
    /// - Precondition: `value` is finite; JSON has no other numbers.
    package static func number(_ value: Double) -> JSONValue {
        precondition(value.isFinite, "JSONValue: \(value) is not a JSON number")
        return .number("\(value)")
    }

    /// The members of an object in the order of their keys' bytes, for output that is the same every time.
    package static func sortedObject(_ members: [String: JSONValue]) -> JSONValue {
        .object(
            members.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.compactMap { key in
                members[key].map { Member(key, $0) }
            })
    }

    /// The value of a member, when this is an object that has it.
    package subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key == key }?.value
    }

    /// The text as Python's `json.dumps(indent=2)` lays it out, without a final newline; nothing but ASCII.
    package var text: String {
        var text = ""
        write(to: &text, indentation: "")
        return text
    }

    private func write(to text: inout String, indentation: String) {
        let inner = indentation + "  "
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .number(let digits): text += digits
        case .string(let string): text += Self.quoted(string)
        case .array(let elements):
            guard !elements.isEmpty else { return text += "[]" }
            for (index, element) in elements.enumerated() {
                text += (index == 0 ? "[\n" : ",\n") + inner
                element.write(to: &text, indentation: inner)
            }
            text += "\n\(indentation)]"
        case .object(let members):
            guard !members.isEmpty else { return text += "{}" }
            for (index, member) in members.enumerated() {
                text += (index == 0 ? "{\n" : ",\n") + inner + Self.quoted(member.key) + ": "
                member.value.write(to: &text, indentation: inner)
            }
            text += "\n\(indentation)}"
        }
    }

    private static func quoted(_ string: String) -> String {
        string.jsonQuoted.utf16.reduce(into: "") { result, unit in
            if unit < 0x7F, let scalar = Unicode.Scalar(unit) {
                result.unicodeScalars.append(scalar)
            } else {
                let digits = String(unit, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            }
        }
    }
}
