/// A step after the model: it adds special tokens around the text or corrects offsets.
protocol PostProcessor: Sendable {
    /// Where texts and special tokens go, or `nil` when the step adds none.
    var arrangement: Arrangement? { get }

    /// Corrects the offsets of the tokens of one text.
    func adjustOffsets(_ encoding: inout Encoding)
}

extension PostProcessor {
    var arrangement: Arrangement? { nil }
    func adjustOffsets(_ encoding: inout Encoding) {}
}

/// The kinds of post-processor a tokenizer file may name, one line each.
enum PostProcessorRegistry {
    static let kinds: [String: @Sendable (JSONNode, TokenLookup) throws -> [any PostProcessor]] = [
        "BertProcessing": { [try BertPostProcessor(from: $0, tokens: $1)] },
        "ByteLevel": { node, _ in [try ByteLevelPostProcessor(from: node)] },
        "RobertaProcessing": { try RobertaPostProcessor.steps(from: $0, tokens: $1) },
        "TemplateProcessing": { [try TemplatePostProcessor(from: $0, tokens: $1)] },
        "Sequence": { try sequence($0, $1) },
    ]

    /// The steps of the post-processor at `node`, sequences flattened.
    ///
    /// `tokens` finds the token of an id. At most one step may add special tokens.
    static func steps(from node: JSONNode, tokens: TokenLookup) throws -> [any PostProcessor] {
        let steps = try node.component("post-processor", in: kinds)(node, tokens)
        guard steps.count(where: { $0.arrangement != nil }) <= 1 else {
            throw node.error(.unsupported, "more than one post-processor that adds special tokens is not supported")
        }
        return steps
    }

    private static func sequence(_ node: JSONNode, _ tokens: TokenLookup) throws -> [any PostProcessor] {
        try node.allow(only: "type", "processors")
        return try node.required("processors").elements().flatMap { try steps(from: $0, tokens: tokens) }
    }
}

/// Which ids and tokens exist, for the checks of components that name tokens.
typealias TokenLookup = (_ id: Int32) -> String?
