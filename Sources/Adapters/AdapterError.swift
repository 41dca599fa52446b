/// Why an adapter could not be attached, read or written.
package struct AdapterError: Error, CustomStringConvertible {
    /// What kind of mistake it is; more kinds may come.
    package struct Code: Sendable, Hashable, CustomStringConvertible {
        package let description: String

        /// A setting has a value that cannot be.
        package static let configuration = Code(description: "configuration")
        /// The targets name no module of the model.
        package static let noMatchingModule = Code(description: "no_matching_module")
        /// The method, or an option that changes what the adapter computes, is not built.
        package static let unsupported = Code(description: "unsupported")
        /// A file of the folder is missing or unreadable.
        package static let incomplete = Code(description: "incomplete")
        /// The weights are there only as a Python pickle, which is a program and is not run.
        package static let pickle = Code(description: "pickle")
        /// The adapter lacks a tensor that its configuration asks for.
        package static let missingTensor = Code(description: "missing_tensor")
        /// The adapter holds a tensor that its configuration does not ask for.
        package static let unexpectedTensor = Code(description: "unexpected_tensor")
        /// A tensor has another shape than its configuration and the model give it.
        package static let shape = Code(description: "shape")
        /// What was written does not read back as it was.
        package static let verification = Code(description: "verification")
        /// The model has an adapter already.
        package static let alreadyAttached = Code(description: "already_attached")
    }

    package let code: Code
    package let description: String

    package init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
