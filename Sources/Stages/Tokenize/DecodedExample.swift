import Tokenizers

/// An example as people read it, with what is learned of it apart from what is only read.
package struct DecodedExample: Codable, Sendable, Equatable {
    /// A part whose tokens are all learned, or all only read.
    package struct Piece: Codable, Sendable, Equatable {
        package var text: String
        package var trained: Bool
    }

    package var tokens: Int
    package var pieces: [Piece] = []

    init(_ example: EncodedExample, _ tokenizer: Tokenizer) {
        tokens = example.ids.count
        var (start, text) = (0, "")
        var isTrained = false
        func finish(_ end: Int) {
            guard end > start else { return }
            // What is between two tokens belongs to the second, and decoding that one alone might lose it.
            let whole = tokenizer.decode(Array(example.ids[..<end]), skipSpecialTokens: false)
            let piece =
                whole.continuing(text)
                ?? tokenizer.decode(Array(example.ids[start..<end]), skipSpecialTokens: false)
            pieces.append(Piece(text: piece, trained: isTrained))
            (start, text) = (end, whole)
        }
        for position in example.ids.indices {
            // The first token of a sequence is never predicted.
            let counts = position > 0 && (example.scored?[position] ?? true)
            if counts != isTrained { finish(position) }
            isTrained = counts
        }
        finish(example.ids.count)
    }
}
