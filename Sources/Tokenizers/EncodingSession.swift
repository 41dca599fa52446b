/// The working memory of one call, kept between calls in the tokenizer's pool.
final class EncodingSession: @unchecked Sendable {
    // Sendable holds: a session is in the pool, or belongs to the one call that took it out.

    var buffers = EncodingBuffers()
    /// For each id, its byte range in the original text, when wanted.
    var origins: [AlignedText.Origin] = []
    /// The added tokens that were found: the place among the ids, and the text.
    var found: [(place: Int, text: String)] = []

    func reset(wantsOffsets: Bool) {
        buffers.ids.removeAll()
        buffers.lengths.removeAll()
        buffers.keepsLengths = wantsOffsets
        origins.removeAll(keepingCapacity: true)
        found.removeAll(keepingCapacity: true)
    }
}
