/// `StripAccents`: drops every mark; letters lose theirs only when a normaliser before has decomposed them.
struct StripAccentsNormalizer: Normalizer {
    init(from node: JSONNode) throws { try node.allow(only: "type") }

    func leavesUnchanged(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool { UTF8Reading.isASCII(utf8) }

    func normalize(_ text: inout AlignedText) { text.rewriteScalars { $0.isMarkOfUnicode9 ? [] : [$0] } }
}
