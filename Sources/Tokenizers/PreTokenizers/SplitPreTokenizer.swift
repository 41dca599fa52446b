/// `Split`: cuts at the matches of a pattern.
struct SplitPreTokenizer: PreTokenizer {
    private let pattern: TextPattern
    private let behavior: SplitBehavior
    private let inverts: Bool

    /// The step for `node`: a scanner where the pattern is a well-known one and every match becomes a piece.
    static func step(from node: JSONNode) throws -> any PreTokenizer {
        try node.allow(only: "type", "pattern", "behavior", "invert")
        let split = SplitPreTokenizer(
            pattern: try TextPattern(from: try node.required("pattern")),
            behavior: try SplitBehavior(from: try node.required("behavior")),
            inverts: try node.bool("invert", default: false))
        let keepsMatches = split.behavior == .isolated || split.behavior == .removed && split.inverts
        if keepsMatches, let text = split.pattern.expressionText, let scanner = PatternScanner(pattern: text) {
            return ScannerPreTokenizer(scanner: scanner)
        }
        if split.behavior == .removed, split.inverts, split.pattern.expressionText == PatternScanner.clipPattern {
            return ClipScannerPreTokenizer()
        }
        return split
    }

    private init(pattern: TextPattern, behavior: SplitBehavior, inverts: Bool) {
        self.pattern = pattern
        self.behavior = behavior
        self.inverts = inverts
    }

    func preTokenize(_ text: inout PreTokenizedText) {
        text.split { utf8, keep in
            var matches: [Range<Int>] = []
            pattern.forEachMatch(in: utf8) { matches.append($0) }
            behavior.pieces(count: utf8.count, matches: matches, inverts: inverts).forEach(keep)
        }
    }
}
