/// Byte-pair encoding as in Hugging Face's `BPE` model.
///
/// The algorithm is that of Sennrich, Haddow and Birch (2016), arXiv 1508.07909. A piece starts as its characters (or
/// bytes) and the pair with the lowest rank, leftmost first, is merged until none is left. Characters without a token
/// become bytes `<0x..>` if `byte_fallback` is set, else `unk_token`, else nothing.
final class BPEModel: TokenModel {
    let vocabulary: Vocabulary
    private let merges: MergeTable
    private let alphabet: BPEAlphabet
    private let ignoresMerges: Bool
    /// Whether a mark (U+2581) can be cut off from the character before it because no merge crosses that border.
    private let splitsBeforeMarks: Bool

    init(from node: JSONNode) throws {
        try node.allow(
            only: "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
            "byte_fallback", "ignore_merges", "vocab", "merges")
        if let dropout = try node.optional("dropout"), try dropout.number() != 0 {
            throw dropout.error(.unsupported, "dropout makes encoding random and is not supported; set it to null")
        }
        vocabulary = Vocabulary(try node.required("vocab").members().map { ($0.key, try $0.node.tokenID()) })
        let prefix = try node.optional("continuing_subword_prefix")?.string() ?? ""
        alphabet = try BPEAlphabet(from: node, vocabulary, prefix: prefix)
        ignoresMerges = try node.bool("ignore_merges", default: false)
        merges = try MergeTable(from: try node.required("merges"), vocabulary, prefix: prefix)
        splitsBeforeMarks = alphabet.isPlain && !ignoresMerges && merges.neverCrossesMark(vocabulary)
    }

    private init(bytesOf model: BPEModel, _ alphabet: BPEAlphabet) {
        vocabulary = model.vocabulary
        merges = model.merges
        ignoresMerges = model.ignoresMerges
        splitsBeforeMarks = false
        self.alphabet = alphabet
    }

    func takingBytes() -> (any TokenModel)? {
        alphabet.takingBytes(vocabulary, wholePieces: ignoresMerges).map { BPEModel(bytesOf: self, $0) }
    }

    func tokenize(_ piece: UnsafeBufferPointer<UInt8>, into buffers: inout EncodingBuffers) {
        guard splitsBeforeMarks else { return tokenizeWord(piece, into: &buffers) }
        var start = 0
        while start < piece.count {
            let end = wordEnd(in: piece, from: start)
            tokenizeWord(UnsafeBufferPointer(rebasing: piece[start..<end]), into: &buffers)
            start = end
        }
    }

    /// The next place after `start` where a mark follows something else, or the end.
    private func wordEnd(in piece: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var index = start
        var isInMarks = true
        while index < piece.count {
            let isMark =
                piece[index] == 0xE2 && index + 2 < piece.count && piece[index + 1] == 0x96 && piece[index + 2] == 0x81
            if isMark {
                if !isInMarks { return index }
                index += 3
            } else {
                isInMarks = false
                index += 1
            }
        }
        return index
    }

    private func tokenizeWord(_ word: UnsafeBufferPointer<UInt8>, into buffers: inout EncodingBuffers) {
        guard !word.isEmpty else { return }
        buffers.cached(word) { buffers in
            if ignoresMerges, let id = alphabet.id(ofWhole: word, vocabulary) {
                buffers.symbols.append(id)
                buffers.symbolLengths.append(Int32(word.count))
            } else {
                alphabet.appendSymbols(of: word, vocabulary, to: &buffers)
                merges.merge(&buffers)
            }
        }
    }
}
