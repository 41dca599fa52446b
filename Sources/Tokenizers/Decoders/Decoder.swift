/// A step from tokens back to text; the texts that the last step leaves are joined.
protocol TokenDecoder: Sendable {
    /// Rewrites the texts of the tokens; steps may join or drop some.
    func decode(_ tokens: [String]) -> [String]
}

/// The kinds of decoder a tokenizer file may name, one line each.
enum DecoderRegistry {
    static let kinds: [String: @Sendable (JSONNode) throws -> [any TokenDecoder]] = [
        "BPEDecoder": { [try BPEDecoder(from: $0)] },
        "ByteFallback": { [try ByteFallbackDecoder(from: $0)] },
        "ByteLevel": { [try ByteLevelDecoder(from: $0)] },
        "CTC": { [try CTCDecoder(from: $0)] },
        "Fuse": { [try FuseDecoder(from: $0)] },
        "Metaspace": { [try MetaspaceDecoder(from: $0)] },
        "Replace": { [try ReplaceDecoder(from: $0)] },
        "Strip": { [try StripDecoder(from: $0)] },
        "WordPiece": { [try WordPieceDecoder(from: $0)] },
        "Sequence": { try sequence($0) },
    ]

    /// The steps of the decoder at `node`, sequences flattened.
    static func steps(from node: JSONNode) throws -> [any TokenDecoder] {
        try node.component("decoder", in: kinds)(node)
    }

    private static func sequence(_ node: JSONNode) throws -> [any TokenDecoder] {
        try node.allow(only: "type", "decoders")
        return try node.required("decoders").elements().flatMap(steps)
    }
}
