/// `ByteLevel`: characters become the bytes they stand for; ill-formed UTF-8 becomes U+FFFD.
struct ByteLevelDecoder: TokenDecoder {
    init(from node: JSONNode) throws {
        try node.allow(only: "type", "add_prefix_space", "trim_offsets", "use_regex")
    }

    func decode(_ tokens: [String]) -> [String] {
        var bytes: [UInt8] = []
        for token in tokens {
            let start = bytes.count
            for scalar in token.unicodeScalars {
                guard let byte = ByteAlphabet.byte(of: scalar) else {
                    // A token that is not byte-level text, such as a special token with a space, is itself.
                    bytes.removeSubrange(start...)
                    bytes.append(contentsOf: token.utf8)
                    break
                }
                bytes.append(byte)
            }
        }
        return [String(decoding: bytes, as: UTF8.self)]
    }
}
