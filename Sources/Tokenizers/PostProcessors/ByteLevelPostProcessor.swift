/// `ByteLevel` as a post-processor: with `trim_offsets`, offsets leave out the spaces around a token.
struct ByteLevelPostProcessor: PostProcessor {
    private let trimsOffsets: Bool
    private let addsPrefixSpace: Bool
    private let classes = ScalarClasses.shared

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "add_prefix_space", "trim_offsets", "use_regex")
        trimsOffsets = try node.bool("trim_offsets", default: true)
        addsPrefixSpace = try node.bool("add_prefix_space", default: true)
    }

    init(trimsOffsets: Bool, addsPrefixSpace: Bool) {
        self.trimsOffsets = trimsOffsets
        self.addsPrefixSpace = addsPrefixSpace
    }

    func adjustOffsets(_ encoding: inout Encoding) {
        guard trimsOffsets else { return }
        for index in encoding.ids.indices {
            let scalars = encoding.tokens[index].unicodeScalars
            var leading = scalars.prefix(while: isSpace).count
            let trailing = scalars.reversed().prefix(while: isSpace).count
            var start = encoding.offsets[index].lowerBound
            var end = encoding.offsets[index].upperBound
            if leading > 0 {
                // The space that add_prefix_space put there has no place in the original.
                if addsPrefixSpace, index == 0 || start == 0 { leading -= 1 }
                start = min(start + leading, end)
            }
            if trailing > 0, end >= trailing { end = max(end - trailing, start) }
            encoding.offsets[index] = start..<end
        }
    }

    private func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar == ByteAlphabet.scalar(of: UInt8(ascii: " ")) || classes.isSpace(scalar)
    }
}
