/// `BPEDecoder`: the mark of a word's end becomes a space, or nothing at the end of the text.
struct BPEDecoder: TokenDecoder {
    private let suffix: String

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "suffix")
        suffix = try node.optional("suffix")?.string() ?? "</w>"
    }

    func decode(_ tokens: [String]) -> [String] {
        tokens.enumerated().map { index, token in
            token.replacingBytes(of: suffix, with: index == tokens.count - 1 ? "" : " ")
        }
    }
}
