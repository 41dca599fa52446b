/// A file of the workspace that could not be read or written as its format asks.
package struct SpecError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A stable word for programs.
    package struct Code: RawRepresentable, Sendable, Hashable {
        package let rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }

        /// A system call failed while reading or writing.
        package static let io = Self(rawValue: "io")
        /// The bytes are not what the format asks for.
        package static let format = Self(rawValue: "format")
        /// There is no workspace here.
        package static let noWorkspace = Self(rawValue: "no_workspace")
        /// A key that the manifest does not have, or a value it cannot take.
        package static let key = Self(rawValue: "key")
    }

    package let code: Code
    package let description: String
    /// The system's error number, where there is one.
    package let systemError: Int32?

    package init(_ code: Code, _ description: String, systemError: Int32? = nil) {
        self.code = code
        self.description = description
        self.systemError = systemError
    }
}
