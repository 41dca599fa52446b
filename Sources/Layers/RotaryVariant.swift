import Foundation

/// The rotary embedding of a configuration, read from either of Hugging Face's dialects.
///
/// transformers 4 writes `rope_theta` and `rope_scaling`; transformers 5 writes `rope_parameters` with both inside.
package struct RotaryVariant: Equatable, Sendable {
    /// One angle step a rotated pair, in radians per position: `theta^(−2i/dim)`.
    package let inverseFrequencies: [Double]

    /// Why a configuration's rotary embedding cannot be used.
    package struct Unsupported: Error, CustomStringConvertible {
        package let description: String
    }

    /// Reads the rotary embedding of a parsed `config.json`.
    ///
    /// - Throws: ``Unsupported`` for a variant other than `default`, with its name, and for a base that is no positive number.
    package init(configuration: [String: Any], headDimension: Int) throws {
        let parameters = configuration["rope_parameters"] as? [String: Any]
        let scaling = configuration["rope_scaling"] as? [String: Any]
        let kind = (parameters ?? scaling).flatMap { ($0["rope_type"] ?? $0["type"]) as? String } ?? "default"
        guard kind == "default" else {
            throw Unsupported(description: "rope_type \(kind) is not supported; only default is")
        }
        let share = ((parameters?["partial_rotary_factor"] ?? configuration["partial_rotary_factor"]) as? NSNumber)?
            .doubleValue
        guard share ?? 1 == 1 else {
            throw Unsupported(description: "partial_rotary_factor \(share ?? 1) is not supported; only 1 is")
        }
        let given = [parameters?["rope_theta"], configuration["rope_theta"]].compactMap { $0 }.first { !($0 is NSNull) }
        let theta = given.map { ($0 as? NSNumber)?.doubleValue ?? .nan } ?? 10000
        guard theta > 0, theta.isFinite else {
            throw Unsupported(description: "rope_theta must be a positive number, not \(given ?? "missing")")
        }
        inverseFrequencies = (0..<headDimension / 2).map { pow(theta, -2 * Double($0) / Double(headDimension)) }
    }
}
