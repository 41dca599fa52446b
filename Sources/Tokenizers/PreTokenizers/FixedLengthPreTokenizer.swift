/// `FixedLength`: pieces of so many characters each; the last may be shorter.
struct FixedLengthPreTokenizer: PreTokenizer {
    private let length: Int

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "length")
        length = try node.optional("length")?.integer(in: 1...Int.max) ?? 5
    }

    func preTokenize(_ text: inout PreTokenizedText) {
        text.split { utf8, keep in
            var start = 0
            var index = 0
            var count = 0
            while index < utf8.count {
                index += UTF8Reading.scalar(at: index, in: utf8).length
                count += 1
                if count == length {
                    keep(start..<index)
                    start = index
                    count = 0
                }
            }
            keep(start..<index)
        }
    }
}
