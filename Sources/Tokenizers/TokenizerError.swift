/// Why a tokenizer file cannot be used, or why a tokenizer cannot be trained.
package struct TokenizerError: Error, CustomStringConvertible, Sendable {
    /// The kind of failure; more kinds may come.
    package struct Code: RawRepresentable, Hashable, Sendable {
        package let rawValue: String

        package init(rawValue: String) { self.rawValue = rawValue }

        /// The file is missing or cannot be read or written.
        package static let unreadable = Code(rawValue: "unreadable")
        /// The file is not well-formed JSON.
        package static let malformedJSON = Code(rawValue: "malformed_json")
        /// A vocabulary file that is not JSON is damaged.
        package static let malformedModel = Code(rawValue: "malformed_model")
        /// A value is missing or has another type or range than the format says.
        package static let invalidValue = Code(rawValue: "invalid_value")
        /// A component, an option or a key this program does not know.
        package static let unsupported = Code(rawValue: "unsupported")
        /// A token is named (by a merge, a template or an added token) that the vocabulary does not hold.
        package static let unknownToken = Code(rawValue: "unknown_token")
        /// A regular expression does not compile.
        package static let invalidPattern = Code(rawValue: "invalid_pattern")
        /// A chat template is not well-formed.
        package static let templateSyntax = Code(rawValue: "template_syntax")
        /// A chat template refuses a conversation with `raise_exception`.
        package static let templateRaised = Code(rawValue: "template_raised")
        /// A chat template fails on a conversation.
        package static let templateFailed = Code(rawValue: "template_failed")
        /// A chat template, or what it renders, goes beyond the bounds of time, size or depth.
        package static let templateLimit = Code(rawValue: "template_limit")
        /// It cannot be told for sure which part of a rendered conversation belongs to a message.
        package static let uncertainSpans = Code(rawValue: "uncertain_spans")
        /// The trainer was asked for something impossible.
        package static let impossibleTraining = Code(rawValue: "impossible_training")
    }

    /// The kind of failure.
    package let code: Code
    /// The file concerned, if any.
    package let file: String?
    /// The place in the file as a JSON pointer (RFC 6901), such as `/pre_tokenizer/pretokenizers/0/type`.
    package let pointer: String?
    /// What is wrong and what to do about it.
    package let message: String

    package init(_ code: Code, file: String? = nil, pointer: String? = nil, _ message: String) {
        self.code = code
        self.file = file
        self.pointer = pointer
        self.message = message
    }

    package var description: String {
        let place = [file, pointer.map { $0.isEmpty ? "/" : $0 }].compactMap { $0 }.joined(separator: " at ")
        return place.isEmpty ? message : "\(place): \(message)"
    }
}
