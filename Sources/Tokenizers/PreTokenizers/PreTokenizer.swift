/// A step that cuts normalised text into the pieces that the model sees one by one.
protocol PreTokenizer: Sendable {
    /// Cuts, and possibly rewrites, the pieces of `text`.
    func preTokenize(_ text: inout PreTokenizedText)
}

/// The kinds of pre-tokenizer a tokenizer file may name, one line each.
///
/// A kind may expand to several steps.
enum PreTokenizerRegistry {
    static let kinds: [String: @Sendable (JSONNode) throws -> [any PreTokenizer]] = [
        "BertPreTokenizer": { [try BertPreTokenizer(from: $0)] },
        "ByteLevel": { try ByteLevelPreTokenizer.steps(from: $0) },
        "CharDelimiterSplit": { [try CharDelimiterSplitPreTokenizer(from: $0)] },
        "Digits": { [try DigitsPreTokenizer(from: $0)] },
        "FixedLength": { [try FixedLengthPreTokenizer(from: $0)] },
        "Metaspace": { [try MetaspacePreTokenizer(from: $0)] },
        "Punctuation": { [try PunctuationPreTokenizer(from: $0)] },
        "Split": { [try SplitPreTokenizer.step(from: $0)] },
        "UnicodeScripts": { [try UnicodeScriptsPreTokenizer(from: $0)] },
        "Whitespace": { [try WhitespacePreTokenizer(from: $0)] },
        "WhitespaceSplit": { [try WhitespaceSplitPreTokenizer(from: $0)] },
        "Sequence": { try sequence($0) },
    ]

    /// The steps of the pre-tokenizer at `node`, sequences flattened.
    static func steps(from node: JSONNode) throws -> [any PreTokenizer] {
        try node.component("pre-tokenizer", in: kinds)(node)
    }

    private static func sequence(_ node: JSONNode) throws -> [any PreTokenizer] {
        try node.allow(only: "type", "pretokenizers")
        return try node.required("pretokenizers").elements().flatMap(steps)
    }
}
