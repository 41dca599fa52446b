/// What went wrong in data, training, checkpoints, evaluation or generation, for the person who has to mend it.
package struct TrainingError: Error, CustomStringConvertible, Hashable {
    /// The kind of trouble, for callers that react to it. More kinds may come.
    package struct Code: Sendable, Hashable, CustomStringConvertible {
        package let description: String

        /// The system refused to open, read, write or rename.
        package static let system = Code(description: "system")
        /// The disk, or the user's share of it, is full.
        package static let noSpace = Code(description: "no_space")
        /// A dataset file is shorter than its header promises, or was never finished.
        package static let truncated = Code(description: "truncated")
        /// A file is not what its format asks for, or its content does not match its checksum.
        package static let malformed = Code(description: "malformed")
        /// A format or version this build does not know.
        package static let unsupported = Code(description: "unsupported")
        /// An option, or what a caller passed on from a user, cannot be.
        package static let invalidInput = Code(description: "invalid_input")
        /// There is no parameter to train, or no token to train on.
        package static let nothingToTrain = Code(description: "nothing_to_train")
        /// A sequence is longer than the model's context.
        package static let tooLong = Code(description: "too_long")
        /// A token id that the model's vocabulary does not have.
        package static let vocabulary = Code(description: "vocabulary")
        /// A loss or a gradient became infinite or not a number.
        package static let nonFiniteLoss = Code(description: "non_finite_loss")
        /// A checkpoint belongs to another run: other options, data or parameters.
        package static let checkpointMismatch = Code(description: "checkpoint_mismatch")
    }

    package let code: Code
    /// What is wrong, where, and what to do.
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }
}
