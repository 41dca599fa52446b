import Tokenizers
import Training

/// An example as people read it, with what is learned of it apart from what is only read.
package struct DecodedExample: Codable, Sendable, Equatable {
    /// A part whose tokens are all learned, or all only read.
    package struct Piece: Codable, Sendable, Equatable {
        package var text: String
        package var trained: Bool
    }

    package var tokens: Int
    package var pieces: [Piece] = []

    /// - Parameter classes: names for a label.
    init(_ example: EncodedExample, _ tokenizer: Tokenizer, classes: [String]? = nil) {
        tokens = example.ids.count
        defer { appendLabel(of: example, classes) }
        // Of tagged words the tokens that are judged, of anything else those that are predicted.
        var judged: [Int32]?
        if case .tokens(let indices)? = example.label { judged = indices }
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
            let counts =
                judged.map { $0[position] >= 0 } ?? (position > 0 && (example.scored?[position] ?? true))
            if counts != isTrained { finish(position) }
            isTrained = counts
        }
        finish(example.ids.count)
    }

    /// An image, of which only the class can be read.
    init(image example: EncodedExample, rows: Int, classes: [String]?) {
        tokens = rows
        pieces = [Piece(text: "an image", trained: false)]
        appendLabel(of: example, classes)
    }

    /// What the whole is to be judged as, where nothing of it is predicted.
    private mutating func appendLabel(of example: EncodedExample, _ classes: [String]?) {
        guard example.scored?.allSatisfy({ !$0 }) ?? false else { return }
        switch example.label {
        case .class(let index)?:
            guard let classes, classes.indices.contains(Int(index)) else { return }
            pieces.append(Piece(text: " " + classes[Int(index)], trained: true))
        case .values(let values)?:
            pieces.append(Piece(text: " " + values.map { "\($0)" }.joined(separator: " "), trained: true))
        case .tokens?, nil: return
        }
    }
}
