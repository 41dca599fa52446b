/// `WordLevel`: a piece is a token of the vocabulary or the unknown token.
final class WordLevelModel: TokenModel {
    let vocabulary: Vocabulary
    private let unknownID: Int32

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "unk_token", "vocab")
        vocabulary = Vocabulary(try node.required("vocab").members().map { ($0.key, try $0.node.tokenID()) })
        unknownID = try vocabulary.unknownID(in: node, default: "<unk>")
    }

    func tokenize(_ piece: UnsafeBufferPointer<UInt8>, into buffers: inout EncodingBuffers) {
        guard !piece.isEmpty else { return }
        buffers.ids.append(vocabulary.id(of: piece) ?? unknownID)
        if buffers.keepsLengths { buffers.lengths.append(Int32(piece.count)) }
    }
}
