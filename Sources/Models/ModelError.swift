/// Why a base model could not be loaded.
package struct ModelError: Error, CustomStringConvertible {
    /// What kind of mistake it is.
    package enum Code: String, Sendable {
        /// A file the folder needs is missing or unreadable.
        case incomplete
        /// `config.json` says something that cannot be, or lacks what it must say.
        case configuration
        /// The architecture, or an option of it, is not supported.
        case unsupported
        /// A tensor is missing, misshapen or unexpected.
        case weights
    }

    package let code: Code
    package let description: String

    init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
