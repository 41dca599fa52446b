/// A text as tokens.
package struct Encoding: Sendable, Equatable {
    /// The ids, special tokens included where they were asked for.
    package var ids: [Int32]
    /// The text of each token as the vocabulary spells it; of an added token, the text that was found.
    package var tokens: [String]
    /// Where each token lies in the original text, counted in Unicode scalars; `0..<0` for an added special token.
    ///
    /// A token that is part of a scalar has the place of the whole scalar, so neighbours may overlap.
    package var offsets: [Range<Int>]

    /// The kind of text each token belongs to: 1 for the second of two texts where the tokenizer tells them apart.
    package var typeIDs: [Int32]
    /// 1 for a token, 0 for one that only fills the length.
    package var attentionMask: [Int32]

    /// An encoding without padding; type ids are 0 where none are given.
    package init(
        ids: [Int32] = [], tokens: [String] = [], offsets: [Range<Int>] = [], typeIDs: [Int32]? = nil
    ) {
        self.ids = ids
        self.tokens = tokens
        self.offsets = offsets
        self.typeIDs = typeIDs ?? [Int32](repeating: 0, count: ids.count)
        attentionMask = [Int32](repeating: 1, count: ids.count)
    }

    mutating func append(_ other: Encoding, typeID: Int32) {
        ids += other.ids
        tokens += other.tokens
        offsets += other.offsets
        typeIDs += repeatElement(typeID, count: other.ids.count)
        attentionMask += other.attentionMask
    }

    mutating func append(id: Int32, token: String, typeID: Int32, isText: Bool) {
        ids.append(id)
        tokens.append(token)
        offsets.append(0..<0)
        typeIDs.append(typeID)
        attentionMask.append(isText ? 1 : 0)
    }

    /// The first or the last `count` tokens.
    func kept(_ count: Int, cutting side: TruncationSettings.Side) -> Encoding {
        guard count < ids.count else { return self }
        let range = side == .right ? 0..<count : ids.count - count..<ids.count
        var part = Encoding(
            ids: Array(ids[range]), tokens: Array(tokens[range]), offsets: Array(offsets[range]),
            typeIDs: Array(typeIDs[range]))
        part.attentionMask = Array(attentionMask[range])
        return part
    }
}
