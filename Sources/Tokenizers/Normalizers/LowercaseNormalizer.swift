/// `Lowercase`: the full lower-case mapping of every scalar, without regard to context or language.
struct LowercaseNormalizer: Normalizer {
    init(from node: JSONNode) throws { try node.allow(only: "type") }

    func leavesUnchanged(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        !utf8.contains { $0 >= 0x80 || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
    }

    func normalize(_ text: inout AlignedText) {
        text.rewrite { utf8, output in
            var index = 0
            while index < utf8.count {
                let (scalar, length) = UTF8Reading.unicodeScalar(at: index, in: utf8)
                if scalar.isASCII {
                    let isUpper = scalar >= "A" && scalar <= "Z"
                    output.append(isUpper ? Unicode.Scalar(UInt8(scalar.value) | 0x20) : scalar, originOf: index)
                } else {
                    for lower in scalar.properties.lowercaseMapping.unicodeScalars {
                        output.append(lower, originOf: index)
                    }
                }
                index += length
            }
        }
    }
}
