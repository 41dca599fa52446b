/// `Lowercase`: the full lower-case mapping of every scalar, without regard to context or language.
struct LowercaseNormalizer: Normalizer {
    private static let mapping = ScalarMapping { Array($0.properties.lowercaseMapping.unicodeScalars) }

    init(from node: JSONNode) throws { try node.allow(only: "type") }

    func leavesUnchanged(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        !utf8.contains { $0 >= 0x80 || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
    }

    func normalize(_ text: inout AlignedText) {
        text.rewrite { utf8, output in
            var index = 0
            while index < utf8.count {
                let byte = utf8[index]
                if byte < 0x80 {
                    let isUpper = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
                    output.append(ascii: isUpper ? byte | 0x20 : byte, originOf: index)
                    index += 1
                    continue
                }
                let (value, length) = UTF8Reading.scalar(at: index, in: utf8)
                if let mapped = Self.mapping[value] {
                    output.append(utf8: mapped, originOf: index)
                } else {
                    output.copy(index..<index + length, of: utf8)
                }
                index += length
            }
        }
    }
}
