/// `Replace`: every match of a pattern in a token's text becomes a fixed string.
struct ReplaceDecoder: TokenDecoder {
    private let pattern: TextPattern
    private let content: String

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "pattern", "content")
        pattern = try TextPattern(from: try node.required("pattern"))
        content = try node.required("content").string()
    }

    func decode(_ tokens: [String]) -> [String] {
        tokens.map { token in
            token.withUTF8Bytes { utf8 in
                var result: [UInt8] = []
                var last = 0
                pattern.forEachMatch(in: utf8) { match in
                    result.append(contentsOf: utf8[last..<match.lowerBound])
                    result.append(contentsOf: content.utf8)
                    last = match.upperBound
                }
                if last == 0, result.isEmpty { return token }
                result.append(contentsOf: utf8[last...])
                return String(decoding: result, as: UTF8.self)
            }
        }
    }
}
