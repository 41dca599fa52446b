/// WordPiece as in Hugging Face's model of that name: the longest token first, then the longest of the rest.
///
/// The greedy algorithm of BERT (Devlin et al. 2019), arXiv 1810.04805. Tokens inside a word carry a prefix, `##` as a
/// rule. A word that cannot be cut into tokens, or is longer than `max_input_chars_per_word`, is one unknown token.
final class WordPieceModel: TokenModel {
    let vocabulary: Vocabulary
    private let trie: ByteTrie
    /// Where tokens inside a word start in the trie; -1 when there are none.
    private let continuation: Int32
    private let unknownID: Int32
    private let maximumLength: Int

    init(from node: JSONNode) throws {
        try node.allow(
            only: "type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab")
        vocabulary = Vocabulary(try node.required("vocab").members().map { ($0.key, try $0.node.tokenID()) })
        unknownID = try vocabulary.unknownID(in: node, default: "[UNK]")
        maximumLength = try node.optional("max_input_chars_per_word")?.integer(in: 0...Int.max) ?? 100
        trie = ByteTrie(vocabulary.byteEntries)
        let prefix = try node.optional("continuing_subword_prefix")?.string() ?? "##"
        continuation = trie.node(of: prefix.utf8)
    }

    func tokenize(_ piece: UnsafeBufferPointer<UInt8>, into buffers: inout EncodingBuffers) {
        buffers.cached(piece) { buffers in split(piece, into: &buffers) }
    }

    private func split(_ word: UnsafeBufferPointer<UInt8>, into buffers: inout EncodingBuffers) {
        // A scalar has at most four bytes.
        if word.count > maximumLength {
            var scalars = 0
            for byte in word where !UTF8Reading.isContinuation(byte) { scalars += 1 }
            if scalars > maximumLength { return appendUnknown(word.count, to: &buffers) }
        }
        var start = 0
        var node = ByteTrie.root
        while start < word.count {
            var end = start
            var best: Int32 = -1
            var index = start
            while index < word.count, node >= 0 {
                node = trie.child(of: node, word[index])
                if node < 0 { break }
                index += 1
                buffers.steps += 1
                let id = trie.id(at: node)
                if id >= 0 {
                    best = id
                    end = index
                }
            }
            guard best >= 0 else {
                buffers.symbols.removeAll()
                buffers.symbolLengths.removeAll()
                return appendUnknown(word.count, to: &buffers)
            }
            buffers.symbols.append(best)
            buffers.symbolLengths.append(Int32(end - start))
            start = end
            node = continuation
        }
    }

    private func appendUnknown(_ length: Int, to buffers: inout EncodingBuffers) {
        buffers.symbols.append(unknownID)
        buffers.symbolLengths.append(Int32(length))
    }
}
