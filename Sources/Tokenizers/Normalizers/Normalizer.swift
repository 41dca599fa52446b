/// A step that rewrites text before it is split.
protocol Normalizer: Sendable {
    /// Whether ``normalize(_:)`` would leave these bytes as they are; lets the caller skip the copy.
    func leavesUnchanged(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool

    /// Rewrites `text`, keeping its origins.
    func normalize(_ text: inout AlignedText)
}

extension Normalizer {
    func leavesUnchanged(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool { utf8.isEmpty }
}

/// The kinds of normaliser a tokenizer file may name, one line each.
enum NormalizerRegistry {
    static let kinds: [String: @Sendable (JSONNode) throws -> [any Normalizer]] = [
        "BertNormalizer": { [try BertNormalizer(from: $0)] },
        "ByteLevel": { [try ByteLevelNormalizer(from: $0)] },
        "Lowercase": { [try LowercaseNormalizer(from: $0)] },
        "NFC": { [try UnicodeNormalizer(.nfc, from: $0)] },
        "NFD": { [try UnicodeNormalizer(.nfd, from: $0)] },
        "NFKC": { [try UnicodeNormalizer(.nfkc, from: $0)] },
        "NFKD": { [try UnicodeNormalizer(.nfkd, from: $0)] },
        "Nmt": { [try NmtNormalizer(from: $0)] },
        "Precompiled": { [try PrecompiledNormalizer(from: $0)] },
        "Prepend": { [try PrependNormalizer(from: $0)] },
        "Replace": { [try ReplaceNormalizer(from: $0)] },
        "Strip": { [try StripNormalizer(from: $0)] },
        "StripAccents": { [try StripAccentsNormalizer(from: $0)] },
        "Sequence": { try sequence($0) },
    ]

    /// The steps of the normaliser at `node`, sequences flattened.
    static func steps(from node: JSONNode) throws -> [any Normalizer] {
        try node.component("normalizer", in: kinds)(node)
    }

    private static func sequence(_ node: JSONNode) throws -> [any Normalizer] {
        try node.allow(only: "type", "normalizers")
        return try node.required("normalizers").elements().flatMap(steps)
    }
}

/// Several normalisers, one after the other.
struct NormalizerChain: Normalizer {
    let steps: [any Normalizer]

    func leavesUnchanged(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        utf8.isEmpty || steps.allSatisfy { $0.leavesUnchanged(utf8) }
    }

    func normalize(_ text: inout AlignedText) {
        for step in steps where !text.bytes.withUnsafeBufferPointer({ step.leavesUnchanged($0) }) {
            step.normalize(&text)
        }
    }
}
