/// What is wrong with a file of weights, for the person who has to mend it.
package struct WeightFileError: Error, CustomStringConvertible, Hashable {
    /// The kind of trouble, for callers that react to it; more kinds may come.
    package struct Code: Sendable, Hashable, CustomStringConvertible {
        package let description: String

        /// The file, or every file that could hold the weights, is not there.
        package static let notFound = Code(description: "not_found")
        /// The system refused to open, read or write.
        package static let system = Code(description: "system")
        /// The disk, or the user's share of it, is full.
        package static let noSpace = Code(description: "no_space")
        /// The file ends before the bytes its header promises.
        package static let truncated = Code(description: "truncated")
        /// The header, or the index of the shards, is not what the format asks for.
        package static let malformed = Code(description: "malformed")
        /// The format is right, and something in it is not built: an element type, a pickle.
        package static let unsupported = Code(description: "unsupported")
        /// There is no tensor of that name.
        package static let noSuchTensor = Code(description: "no_such_tensor")
        /// The tensor has another element count or type than the caller needs.
        package static let mismatch = Code(description: "mismatch")
        /// The index and the shards of a checkpoint contradict each other.
        package static let inconsistentShards = Code(description: "inconsistent_shards")
        /// What was given to be written cannot be: a name twice, a shape that does not fit the bytes.
        package static let invalidInput = Code(description: "invalid_input")
    }

    package let code: Code
    /// The path of the file.
    package let file: String
    /// The tensor in question, if it is about one.
    package let tensor: String?
    /// What is wrong and, where there is something to do, what to do.
    package let message: String

    package init(_ code: Code, file: String, tensor: String? = nil, _ message: String) {
        self.code = code
        self.file = file
        self.tensor = tensor
        self.message = message
    }

    package var description: String {
        guard let tensor else { return "\(file): \(message)" }
        return "\(file): tensor \(tensor): \(message)"
    }
}
