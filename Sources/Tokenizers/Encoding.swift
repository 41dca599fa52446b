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

    package init(ids: [Int32], tokens: [String], offsets: [Range<Int>]) {
        self.ids = ids
        self.tokens = tokens
        self.offsets = offsets
    }
}
