import PipelineSpec

/// How the store reads the members it wrote into a record.
extension JSONValue {
    /// The text of a string value.
    var string: String? {
        guard case .string(let value) = self else { return nil }
        return value
    }

    /// The value of an integer.
    var int: Int? {
        guard case .integer(let value) = self else { return nil }
        return value
    }
}
