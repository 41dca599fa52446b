/// `ByteLevel` as a normaliser: every byte becomes the character that stands for it; see ``ByteAlphabet``.
struct ByteLevelNormalizer: Normalizer {
    init(from node: JSONNode) throws { try node.allow(only: "type") }

    func normalize(_ text: inout AlignedText) {
        text.rewrite { utf8, output in
            for index in utf8.indices { output.append(ByteAlphabet.scalar(of: utf8[index]), originOf: index) }
        }
    }
}
