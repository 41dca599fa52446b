/// A view of a stretch of text on its way to the model, which knows where it lies in the original.
struct Segment {
    /// The whole original text.
    let original: UnsafeBufferPointer<UInt8>
    /// Where the segment starts in the original; exact only while ``origins`` is `nil`.
    let base: Int
    /// The text of the segment.
    let bytes: UnsafeBufferPointer<UInt8>
    /// Per byte, the range of the original it stands for; `nil` when the segment is the original text itself.
    let origins: ArraySlice<AlignedText.Origin>?
    /// Whether nothing of the original comes before the segment.
    let startsOriginal: Bool

    /// A part of the original text.
    init(original: UnsafeBufferPointer<UInt8>, base: Int, bytes: UnsafeBufferPointer<UInt8>) {
        self.init(original: original, base: base, bytes: bytes, origins: nil, startsOriginal: base == 0)
    }

    private init(
        original: UnsafeBufferPointer<UInt8>, base: Int, bytes: UnsafeBufferPointer<UInt8>,
        origins: ArraySlice<AlignedText.Origin>?, startsOriginal: Bool
    ) {
        self.original = original
        self.base = base
        self.bytes = bytes
        self.origins = origins
        self.startsOriginal = startsOriginal
    }

    /// The same stretch of the original with another text.
    func rewritten(_ bytes: UnsafeBufferPointer<UInt8>, _ origins: ArraySlice<AlignedText.Origin>) -> Segment {
        Segment(original: original, base: base, bytes: bytes, origins: origins, startsOriginal: startsOriginal)
    }

    /// A part of the segment.
    func part(_ range: Range<Int>) -> Segment {
        Segment(
            original: original, base: origins == nil ? base + range.lowerBound : base,
            bytes: UnsafeBufferPointer(rebasing: bytes[range]),
            // Without offsets there are no origins to cut.
            origins: origins.map {
                $0.isEmpty ? $0 : $0[($0.startIndex + range.lowerBound)..<($0.startIndex + range.upperBound)]
            },
            startsOriginal: startsOriginal && range.lowerBound == 0)
    }

    /// The byte range of the original that a range of the segment stands for, whole scalars.
    func origin(of range: Range<Int>) -> AlignedText.Origin {
        // Tokens whose lengths do not add up to the text (characters without a token) may reach past the end.
        let end = min(range.upperBound, bytes.count)
        let start = min(range.lowerBound, max(end - 1, 0))
        guard start < end else { return AlignedText.Origin(start: Int32(base), end: Int32(base)) }
        if let origins {
            let first = origins.startIndex
            return AlignedText.Origin(start: origins[first + start].start, end: origins[first + end - 1].end)
        }
        var low = base + start
        var high = base + end
        while low > 0, UTF8Reading.isContinuation(original[low]) { low -= 1 }
        while high < original.count, UTF8Reading.isContinuation(original[high]) { high += 1 }
        return AlignedText.Origin(start: Int32(low), end: Int32(high))
    }
}
