/// Something that is wrong, or doubtful, in an adapter folder that another program wrote.
package struct AdapterRemark: Sendable, Equatable {
    /// What kind of fault it is, for programs; more kinds may come.
    package struct Code: Sendable, Hashable, CustomStringConvertible {
        package let description: String

        /// A file that every adapter has is not there.
        package static let missingFile = Code(description: "missing_file")
        /// A file cannot be parsed.
        package static let syntax = Code(description: "syntax")
        /// The weights are there only as a Python pickle.
        package static let pickle = Code(description: "pickle")
        /// The weights are in several files.
        package static let sharded = Code(description: "sharded")
        /// It is an adapter, in the format of another program.
        package static let otherFormat = Code(description: "other_format")
        /// A key that no release of PEFT has.
        package static let unknownKey = Code(description: "unknown_key")
        /// A value that cannot be.
        package static let invalidValue = Code(description: "invalid_value")
        /// A method or an option that is not built.
        package static let unsupported = Code(description: "unsupported")
        /// A value is absent and PEFT's default is taken, which is seldom what was trained with.
        package static let missingKey = Code(description: "missing_key")
        /// The scale of the adapter is 0, or unlike any that people train with.
        package static let scaling = Code(description: "scaling")
        /// A pattern or a target that fits no tensor.
        package static let unusedPattern = Code(description: "unused_pattern")
        /// A tensor's name does not begin as PEFT's do: PEFT would pass over it.
        package static let wrongPrefix = Code(description: "wrong_prefix")
        /// A tensor that the configuration does not ask for.
        package static let unexpectedTensor = Code(description: "unexpected_tensor")
        /// Half of a pair, or a tensor that the configuration asks for, is not there.
        package static let missingTensor = Code(description: "missing_tensor")
        /// A layer is without a module that the others have.
        package static let missingLayer = Code(description: "missing_layer")
        /// A tensor does not have the rank that the configuration gives its module.
        package static let rankMismatch = Code(description: "rank_mismatch")
        /// A tensor has another shape than the base needs.
        package static let shape = Code(description: "shape")
        /// A tensor's elements are of a type that adapters do not have.
        package static let dtype = Code(description: "dtype")
        /// A value is infinite or not a number.
        package static let nonFinite = Code(description: "non_finite")
        /// The adapter changes nothing.
        package static let untrained = Code(description: "untrained")
        /// The names of modules are those of another release of transformers.
        package static let dialect = Code(description: "dialect")
        /// The adapter does not fit the base.
        package static let base = Code(description: "base_mismatch")
    }

    /// Whether the adapter cannot be used as it is.
    package let isError: Bool
    package let code: Code
    /// The file of the folder, where one is to blame.
    package let file: String?
    /// The key or the tensor in it.
    package let member: String?
    /// One sentence.
    package let message: String
    /// What to do.
    package let hint: String?
}
