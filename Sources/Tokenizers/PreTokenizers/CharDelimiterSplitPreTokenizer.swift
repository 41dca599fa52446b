/// `CharDelimiterSplit`: the texts between one character, which is dropped.
struct CharDelimiterSplitPreTokenizer: PreTokenizer {
    private let delimiter: Unicode.Scalar

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "delimiter")
        delimiter = try node.required("delimiter").scalar()
    }

    func preTokenize(_ text: inout PreTokenizedText) {
        text.split { utf8, keep in
            var start = 0
            var index = 0
            while index < utf8.count {
                let (value, length) = UTF8Reading.scalar(at: index, in: utf8)
                if value == delimiter.value {
                    keep(start..<index)
                    start = index + length
                }
                index += length
            }
            keep(start..<index)
        }
    }
}
