import Foundation
import PipelineSpec

/// The JSON that the command line prints: sorted keys, one spelling per number.
typealias JSON = PipelineSpec.JSONValue

extension PipelineSpec.JSONValue {
    static func optional(_ text: String?) -> JSON { text.map { .string($0) } ?? .null }
    static func optional(_ number: Double?) -> JSON { number.map { .number($0) } ?? .null }
    static func optional(_ number: Int?) -> JSON { number.map { .integer($0) } ?? .null }
    static func optional(_ date: Date?) -> JSON { date.map { .string(Moments.json($0)) } ?? .null }
}
