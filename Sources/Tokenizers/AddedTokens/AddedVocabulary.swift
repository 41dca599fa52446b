/// The added tokens of a tokenizer, and how they are found in text.
struct AddedVocabulary: Sendable {
    /// The tokens, in the order of the file.
    let tokens: [AddedToken]
    /// Finds the tokens that are looked for in the original text.
    let inOriginal: AddedTokenMatcher
    /// Finds the tokens that are looked for in the normalised text.
    let inNormalized: AddedTokenMatcher
    private let byID: [Int32: AddedToken]

    /// Reads the array at `node`.
    ///
    /// Tokens that are in the model's vocabulary too must have the same id there.
    init(from node: JSONNode?, _ vocabulary: Vocabulary, normalizer: NormalizerChain?) throws {
        var tokens: [AddedToken] = []
        var byID: [Int32: AddedToken] = [:]
        for element in try node?.elements() ?? [] {
            let token = try AddedToken(from: element)
            if let id = vocabulary.id(of: token.content), id != token.id {
                throw element.error(
                    .invalidValue,
                    "the added token \"\(token.content)\" has the id \(token.id) here and \(id) in the vocabulary")
            }
            if let other = vocabulary.token(of: token.id), !other.utf8.elementsEqual(token.content.utf8) {
                throw element.error(
                    .invalidValue,
                    "the added token \"\(token.content)\" has the id \(token.id), which is \"\(other)\" in the vocabulary"
                )
            }
            if let other = byID[token.id], !other.content.utf8.elementsEqual(token.content.utf8) {
                throw element.error(
                    .invalidValue,
                    "the added tokens \"\(other.content)\" and \"\(token.content)\" have the same id \(token.id)")
            }
            guard !token.content.isEmpty else { continue }
            tokens.append(token)
            byID[token.id] = token
        }
        self.tokens = tokens
        self.byID = byID
        let original = tokens.filter { !$0.isNormalized }
        inOriginal = AddedTokenMatcher(original, patterns: original.map { Array($0.content.utf8) })
        let normalized = tokens.filter(\.isNormalized)
        let patterns = normalized.map { token in
            token.content.withUTF8Bytes { utf8 in
                var text = AlignedText(utf8, base: 0, tracksOrigins: false)
                normalizer?.normalize(&text)
                return text.bytes
            }
        }
        inNormalized = AddedTokenMatcher(normalized, patterns: patterns)
    }

    /// The added token with this id.
    func token(of id: Int32) -> AddedToken? { byID[id] }

    /// The id of an added token.
    func id(of content: String) -> Int32? {
        tokens.last { $0.content.utf8.elementsEqual(content.utf8) }?.id
    }
}
