import Artifacts
import Foundation
import PipelineSpec

/// The JSON that the command line prints: sorted keys, one spelling per number.
typealias JSON = PipelineSpec.JSONValue

extension PipelineSpec.JSONValue {
    static func optional(_ text: String?) -> JSON { text.map { .string($0) } ?? .null }
    static func optional(_ number: Double?) -> JSON { number.map { .number($0) } ?? .null }
    static func optional(_ number: Int?) -> JSON { number.map { .integer($0) } ?? .null }
    static func optional(_ date: Date?) -> JSON { date.map { .string(Moments.json($0)) } ?? .null }

    /// The same value as the store holds it.
    init(_ stored: Artifacts.JSONValue) {
        switch stored {
        case .null: self = .null
        case .bool(let value): self = .bool(value)
        case .integer(let value): self = .integer(Int(value))
        case .unsigned(let value): self = Int(exactly: value).map { .integer($0) } ?? .number(Double(value))
        case .number(let value): self = .number(value)
        case .string(let value): self = .string(value)
        case .array(let values): self = .array(values.map { JSON($0) })
        case .object(let members): self = .object(members.mapValues { JSON($0) })
        }
    }
}
