/// `Replace`: every match of a pattern becomes a fixed string, which stands for the last byte of the match.
struct ReplaceNormalizer: Normalizer {
    private let pattern: TextPattern
    private let content: String

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "pattern", "content")
        pattern = try TextPattern(from: try node.required("pattern"))
        content = try node.required("content").string()
    }

    func normalize(_ text: inout AlignedText) {
        guard !text.isEmpty else { return }
        text.rewrite { utf8, output in
            var last = 0
            pattern.forEachMatch(in: utf8) { match in
                output.copy(last..<match.lowerBound, of: utf8)
                output.insert(content.utf8, after: match.upperBound - 1)
                last = match.upperBound
            }
            output.copy(last..<utf8.count, of: utf8)
        }
    }
}
