/// `BertPreTokenizer`: words between white space, and every punctuation character by itself.
struct BertPreTokenizer: PreTokenizer {
    init(from node: JSONNode) throws { try node.allow(only: "type") }

    func preTokenize(_ text: inout PreTokenizedText) {
        let kinds = PunctuationTable.shared
        text.split { utf8, keep in
            var start = 0
            var index = 0
            while index < utf8.count {
                let (kind, length) = kinds.at(index, in: utf8)
                if kind == 0 {
                    index += length
                    continue
                }
                keep(start..<index)
                if kind == PunctuationTable.punctuation { keep(index..<index + length) }
                index += length
                start = index
            }
            keep(start..<index)
        }
    }
}

/// White space and what BERT counts as punctuation, for every scalar.
struct PunctuationTable: Sendable {
    static let shared = PunctuationTable()
    static let punctuation: UInt8 = 1
    static let space: UInt8 = 2

    private let table = ScalarTable { value in
        switch value {
        case 0x3400...0x9FFF, 0xAC00...0xDFFF, 0xE000...0xF8FF, 0x20000...0x10FFFF: return 0
        default: break
        }
        guard let scalar = Unicode.Scalar(value) else { return 0 }
        return scalar.properties.isWhitespace ? space : scalar.isPunctuationOfUnicode8 ? punctuation : 0
    }

    /// The kind and the length in bytes of the scalar at `index`.
    @inline(__always)
    func at(_ index: Int, in utf8: UnsafeBufferPointer<UInt8>) -> (kind: UInt8, length: Int) {
        let first = utf8[index]
        if first < 0x80 { return (table[latin: first], 1) }
        let (value, length) = UTF8Reading.scalar(at: index, in: utf8)
        return (table[value], length)
    }
}
