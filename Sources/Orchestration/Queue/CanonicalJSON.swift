import Foundation

/// The one spelling of a value as JSON: sorted keys, no white space, slashes as they are. Equal values give equal
/// bytes, which is what digests and comparisons need.
enum CanonicalJSON {
    static func data(_ value: some Encodable) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(value)
    }
}
