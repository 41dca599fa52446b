package import Foundation

/// The name that the readers of tokenizer files use.
typealias JSONValue = OrderedJSON

/// A parsed JSON value whose objects keep the order of their members.
///
/// Vocabularies, error messages and chat templates want that order: a template prints the members of a tool
/// description as they came.
package enum OrderedJSON: Sendable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([OrderedJSON])
    case object([(key: String, value: OrderedJSON)])

    /// Parses a whole JSON text (RFC 8259).
    ///
    /// - Parameter file: Names the text in errors, which carry line and column.
    /// - Throws: ``TokenizerError`` with the code `malformed_json`.
    package init(parsing data: Data, file: String? = nil) throws {
        self = try JSONParser.parse(data, file: file)
    }

    /// The member `key` of an object, the last one when it is there twice; `nil` for anything else.
    package subscript(key: String) -> OrderedJSON? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.key == key }?.value
    }

    /// The value of a number, whole or not.
    var number: Double? {
        switch self {
        case .integer(let number): Double(number)
        case .number(let number): number
        default: nil
        }
    }

    /// What the value is, for messages.
    package var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .integer: "an integer"
        case .number: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}
