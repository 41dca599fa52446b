/// `WordPiece`: continuing pieces join the word before them, words get a space, and English spacing is tidied if asked
/// for.
struct WordPieceDecoder: TokenDecoder {
    private let prefix: String
    private let cleansUp: Bool

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "prefix", "cleanup")
        prefix = try node.optional("prefix")?.string() ?? "##"
        cleansUp = try node.bool("cleanup", default: true)
    }

    func decode(_ tokens: [String]) -> [String] {
        tokens.enumerated().map { index, token in
            var text = token
            if index > 0 {
                let isContinuing = token.utf8.starts(with: prefix.utf8)
                text = isContinuing ? String(Substring(token.utf8.dropFirst(prefix.utf8.count))) : " " + token
            }
            return cleansUp ? EnglishSpacing.tidied(text) : text
        }
    }
}

/// The spaces that tokenization leaves before punctuation and contractions in English.
enum EnglishSpacing {
    private static let replacements = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ]

    static func tidied(_ text: String) -> String {
        guard text.utf8.contains(UInt8(ascii: " ")) else { return text }
        return replacements.reduce(text) { $0.replacingBytes(of: $1.0, with: $1.1) }
    }
}
