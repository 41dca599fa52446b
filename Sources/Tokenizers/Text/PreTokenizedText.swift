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

    /// Rewrites every piece in place.
    mutating func rewritePieces(_ edit: (inout AlignedText) -> Void) {
        var results: [AlignedText] = []
        results.reserveCapacity(pieces.count)
        text.bytes.withUnsafeBufferPointer { bytes in
            for piece in pieces {
                var part = AlignedText(
                    UnsafeBufferPointer(rebasing: bytes[piece]), base: Int(text.base),
                    origins: text.tracksOrigins ? text.origins[piece] : nil, tracksOrigins: text.tracksOrigins,
                    startsOriginal: text.startsOriginal && piece.lowerBound == 0)
                edit(&part)
                results.append(part)
            }
        }
        text = AlignedText(joining: results, as: text)
        var position = 0
        pieces = results.compactMap { part in
            defer { position += part.bytes.count }
            return part.isEmpty ? nil : position..<position + part.bytes.count
        }
    }
}

extension AlignedText {
    fileprivate init(joining parts: [AlignedText], as whole: AlignedText) {
        let bytes = parts.flatMap(\.bytes)
        let origins = parts.flatMap(\.origins)
        self = bytes.withUnsafeBufferPointer {
            AlignedText(
                $0, base: Int(whole.base), origins: whole.tracksOrigins ? origins[...] : nil,
                tracksOrigins: whole.tracksOrigins, startsOriginal: whole.startsOriginal)
        }
    }
}
