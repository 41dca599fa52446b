/// A step after the model: it adds special tokens around the text or corrects offsets.
protocol PostProcessor: Sendable {
    /// The special tokens it puts before the text.
    var prefix: [SpecialToken] { get }
    /// The special tokens it puts after the text.
    var suffix: [SpecialToken] { get }

    /// Corrects the offsets of the tokens present so far.
    func adjustOffsets(_ encoding: inout Encoding)
}

/// A special token that a post-processor adds.
struct SpecialToken: Sendable, Equatable {
    let id: Int32
    let content: String
}

extension PostProcessor {
    var prefix: [SpecialToken] { [] }
    var suffix: [SpecialToken] { [] }
    func adjustOffsets(_ encoding: inout Encoding) {}
}

/// The kinds of post-processor a tokenizer file may name, one line each.
enum PostProcessorRegistry {
    static let kinds: [String: @Sendable (JSONNode, TokenLookup) throws -> [any PostProcessor]] = [
        "ByteLevel": { node, _ in [try ByteLevelPostProcessor(from: node)] },
        "TemplateProcessing": { [try TemplatePostProcessor(from: $0, tokens: $1)] },
        "Sequence": { try sequence($0, $1) },
    ]

    /// The steps of the post-processor at `node`, sequences flattened.
    ///
    /// `tokens` finds the id of a token.
    static func steps(from node: JSONNode, tokens: TokenLookup) throws -> [any PostProcessor] {
        try node.component("post-processor", in: kinds)(node, tokens)
    }

    private static func sequence(_ node: JSONNode, _ tokens: TokenLookup) throws -> [any PostProcessor] {
        try node.allow(only: "type", "processors")
        return try node.required("processors").elements().flatMap { try steps(from: $0, tokens: tokens) }
    }
}

/// Which ids and tokens exist, for the checks of components that name tokens.
typealias TokenLookup = (_ id: Int32) -> String?
