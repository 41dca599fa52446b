/// Why an image or its preprocessing could not be read.
package struct ImageError: Error, CustomStringConvertible {
    /// What kind of mistake it is.
    package enum Code: String, Sendable {
        /// The file is missing or unreadable.
        case incomplete
        /// The file is damaged, or of a kind that is not read.
        case malformed
        /// A preprocessing that is not built.
        case unsupported
    }

    package let code: Code
    package let description: String

    init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
