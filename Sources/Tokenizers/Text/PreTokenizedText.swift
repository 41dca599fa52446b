/// A normalised segment of text being cut into pieces.
struct PreTokenizedText {
    private(set) var text: AlignedText
    /// Non-empty byte ranges of ``text``, in order.
    ///
    /// Parts that a splitter removed are in none of them.
    private(set) var pieces: [Range<Int>]

    init(_ text: AlignedText) {
        self.text = text
        pieces = text.isEmpty ? [] : [0..<text.bytes.count]
    }

    /// Cuts every piece: `cut` gets the bytes of one piece and reports the sub-ranges to keep.
    mutating func split(_ cut: (UnsafeBufferPointer<UInt8>, _ keep: (Range<Int>) -> Void) -> Void) {
        var result: [Range<Int>] = []
        result.reserveCapacity(pieces.count * 2)
        text.bytes.withUnsafeBufferPointer { bytes in
            for piece in pieces {
                cut(UnsafeBufferPointer(rebasing: bytes[piece])) { part in
                    guard !part.isEmpty else { return }
                    result.append(piece.lowerBound + part.lowerBound..<piece.lowerBound + part.upperBound)
                }
            }
        }
        pieces = result
    }

    /// Rewrites every piece: `edit` gets the whole text, the range of a piece in it and whether the original text begins
    /// there, and writes what the piece becomes.
    mutating func rewritePieces(
        _ edit: (
            _ utf8: UnsafeBufferPointer<UInt8>, _ piece: Range<Int>, _ startsOriginal: Bool,
            _ output: inout AlignedText.Rewriter
        ) -> Void
    ) {
        let old = pieces
        let startsOriginal = text.startsOriginal
        var new: [Range<Int>] = []
        new.reserveCapacity(old.count)
        text.rewrite { utf8, output in
            for piece in old {
                let start = output.count
                edit(utf8, piece, startsOriginal && piece.lowerBound == 0, &output)
                if output.count > start { new.append(start..<output.count) }
            }
        }
        pieces = new
    }
}
