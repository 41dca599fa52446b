/// `ByteLevel`: an optional space in front, GPT-2's splitting pattern, and the mapping of bytes to visible characters.
///
/// The three are separate steps, so that a tokenizer whose last step is the mapping can hand the bytes themselves to a
/// model that understands bytes. `trim_offsets` means something in a post-processor only.
enum ByteLevelPreTokenizer {
    static func steps(from node: JSONNode) throws -> [any PreTokenizer] {
        try node.allow(only: "type", "add_prefix_space", "trim_offsets", "use_regex")
        _ = try node.bool("trim_offsets", default: true)
        var steps: [any PreTokenizer] = []
        if try node.bool("add_prefix_space", default: true) { steps.append(PrefixSpacePreTokenizer()) }
        if try node.bool("use_regex", default: true) { steps.append(ScannerPreTokenizer(scanner: .gpt2)) }
        steps.append(ByteMappingPreTokenizer())
        return steps
    }
}

/// Puts a space before every piece that does not start with one.
struct PrefixSpacePreTokenizer: PreTokenizer {
    func preTokenize(_ text: inout PreTokenizedText) {
        text.rewritePieces { utf8, piece, _, output in
            let space = UInt8(ascii: " ")
            if utf8[piece.lowerBound] != space { output.append(ascii: space, originOf: piece.lowerBound) }
            output.copy(piece, of: utf8)
        }
    }
}

/// Replaces every byte by the character that stands for it; see ``ByteAlphabet``.
struct ByteMappingPreTokenizer: PreTokenizer {
    func preTokenize(_ text: inout PreTokenizedText) {
        text.rewritePieces { utf8, piece, _, output in
            for index in piece { output.append(ByteAlphabet.scalar(of: utf8[index]), originOf: index) }
        }
    }
}
