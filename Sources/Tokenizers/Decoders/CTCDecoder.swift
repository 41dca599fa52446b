/// `CTC`: repeated tokens are one, the pad token between them is nothing, and a delimiter is a space (Graves et al.
/// 2006).
struct CTCDecoder: TokenDecoder {
    private let padToken: String
    private let delimiter: String
    private let cleansUp: Bool

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "pad_token", "word_delimiter_token", "cleanup")
        padToken = try node.optional("pad_token")?.string() ?? "<pad>"
        delimiter = try node.optional("word_delimiter_token")?.string() ?? "|"
        cleansUp = try node.bool("cleanup", default: true)
    }

    func decode(_ tokens: [String]) -> [String] {
        var result: [String] = []
        for (index, token) in tokens.enumerated() {
            if index > 0, token.utf8.elementsEqual(tokens[index - 1].utf8) { continue }
            var text = token.replacingBytes(of: padToken, with: "")
            if cleansUp { text = EnglishSpacing.tidied(text).replacingBytes(of: delimiter, with: " ") }
            if !text.isEmpty { result.append(text) }
        }
        return result
    }
}
