extension Tokenizer {
    /// The text of `ids`.
    ///
    /// Ids without a token are left out, and so are special tokens if asked for.
    ///
    /// Bytes that spell no character become U+FFFD. A tokenizer without a decoder joins tokens with spaces.
    package func decode(_ ids: [Int32], skipSpecialTokens: Bool) -> String {
        var texts: [String] = []
        texts.reserveCapacity(ids.count)
        for id in ids {
            if let token = added.token(of: id) {
                if !(skipSpecialTokens && token.isSpecial) { texts.append(token.content) }
            } else if let token = model.vocabulary.token(of: id) {
                texts.append(token)
            }
        }
        guard hasDecoder else { return texts.joined(separator: " ") }
        for decoder in decoders { texts = decoder.decode(texts) }
        return texts.joined()
    }
}
