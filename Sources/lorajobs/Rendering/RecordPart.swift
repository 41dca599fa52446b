import Foundation
import PipelineSpec

/// A set of an evaluation, or a check of a gate: what a record has several of, each with its name, as a line for people.
enum RecordPart {
    /// The members of a list by name; `nil` when they have none.
    static func parts(of value: JSON) -> [(name: String, value: JSON)]? {
        guard case .array(let elements) = value, !elements.isEmpty else { return nil }
        var parts: [(name: String, value: JSON)] = []
        for element in elements {
            guard case .object(let members) = element, case .string(let name)? = members["rule"] ?? members["name"],
                !parts.contains(where: { $0.name == name })
            else { return nil }
            parts.append((name, element))
        }
        return parts
    }

    /// A part in a line: what a check says, or what a set's models were worth.
    static func text(_ value: JSON) -> String {
        if case .string(let message)? = value["message"], case .bool(let passed)? = value["passed"] {
            return "\(passed ? "passed" : "failed"): \(message)"
        }
        guard case .object(let roles)? = value["values"], case .array(let metrics)? = value["metrics"] else {
            return value.plainText
        }
        var words = metrics.compactMap { metric -> String? in
            guard case .string(let name) = metric, let own = roles["trained"]?[name] else { return nil }
            let others = ["base", "champion", "best"].compactMap { role in
                roles[role]?[name].map { "\(role) \(number($0))" }
            }
            return "\(name) \(number(own))" + (others.isEmpty ? "" : " (\(others.joined(separator: ", ")))")
        }
        if case .integer(let count)? = value["examples"] { words.append("\(count) examples") }
        return words.joined(separator: "; ")
    }

    private static func number(_ value: JSON) -> String {
        switch value {
        case .number(let number): String(format: "%.4g", number)
        default: value.plainText
        }
    }
}
