/// `Punctuation`: cuts at every punctuation character.
struct PunctuationPreTokenizer: PreTokenizer {
    private let behavior: SplitBehavior

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "behavior")
        behavior = try node.optional("behavior").map(SplitBehavior.init(from:)) ?? .isolated
    }

    func preTokenize(_ text: inout PreTokenizedText) {
        let kinds = PunctuationTable.shared
        text.split { utf8, keep in
            var matches: [Range<Int>] = []
            var index = 0
            while index < utf8.count {
                let (kind, length) = kinds.at(index, in: utf8)
                if kind == PunctuationTable.punctuation { matches.append(index..<index + length) }
                index += length
            }
            behavior.pieces(count: utf8.count, matches: matches, inverts: false).forEach(keep)
        }
    }
}
