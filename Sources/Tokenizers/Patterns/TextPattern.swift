/// What a Replace or a Split looks for: a literal string or a regular expression.
struct TextPattern: Sendable {
    private enum Kind: Sendable {
        case literal([UInt8])
        case expression(RegularExpression)
    }

    private let kind: Kind
    /// The text of the regular expression, or `nil` for a literal.
    let expressionText: String?

    /// Reads `{"String": …}` or `{"Regex": …}`.
    init(from node: JSONNode) throws {
        try node.allow(only: "String", "Regex")
        if let text = try node.optional("Regex") {
            expressionText = try text.string()
            do {
                kind = .expression(try RegularExpression(try text.string()))
            } catch let error as TokenizerError {
                throw text.error(error.code, error.message)
            }
        } else {
            expressionText = nil
            kind = .literal(Array(try node.required("String").string().utf8))
        }
    }

    /// Reports the matches from left to right; they do not overlap.
    func forEachMatch(in utf8: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
        switch kind {
        case .expression(let expression): expression.forEachMatch(in: utf8, body)
        case .literal(let literal): Self.forEachOccurrence(of: literal, in: utf8, body)
        }
    }

    private static func forEachOccurrence(
        of literal: [UInt8], in utf8: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void
    ) {
        guard let first = literal.first else {
            // An empty pattern matches before every scalar and at the end.
            var index = 0
            while index < utf8.count {
                body(index..<index)
                index += UTF8Reading.scalar(at: index, in: utf8).length
            }
            return body(index..<index)
        }
        literal.withUnsafeBufferPointer { literal in
            var index = 0
            while index + literal.count <= utf8.count {
                guard utf8[index] == first else {
                    index += 1
                    continue
                }
                var length = 1
                while length < literal.count, utf8[index + length] == literal[length] { length += 1 }
                if length == literal.count {
                    body(index..<index + length)
                    index += length
                } else {
                    index += 1
                }
            }
        }
    }
}
