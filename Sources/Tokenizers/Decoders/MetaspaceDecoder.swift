/// `Metaspace`: the visible space becomes a space again, and the one put before the text disappears.
struct MetaspaceDecoder: TokenDecoder {
    private let replacement: Unicode.Scalar
    private let scheme: MetaspacePrefix

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "replacement", "str_rep", "add_prefix_space", "prepend_scheme", "split")
        replacement = try node.required("replacement").scalar()
        scheme = try MetaspacePrefix(from: node)
    }

    func decode(_ tokens: [String]) -> [String] {
        tokens.enumerated().map { index, token in
            var text = String.UnicodeScalarView()
            for scalar in token.unicodeScalars {
                if scalar != replacement {
                    text.append(scalar)
                } else if index > 0 || scheme == .never {
                    text.append(" ")
                }
            }
            return String(text)
        }
    }
}
