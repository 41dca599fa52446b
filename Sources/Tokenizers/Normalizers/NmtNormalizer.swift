/// `Nmt`: drops control characters and makes many kinds of space and break a blank, as SentencePiece's nmt rules do.
struct NmtNormalizer: Normalizer {
    init(from node: JSONNode) throws { try node.allow(only: "type") }

    func leavesUnchanged(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        !utf8.contains { $0 < 0x20 || $0 >= 0x7F }
    }

    func normalize(_ text: inout AlignedText) {
        text.rewriteScalars { scalar in
            switch scalar.value {
            case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: []
            case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD: [" "]
            default: [scalar]
            }
        }
    }
}
