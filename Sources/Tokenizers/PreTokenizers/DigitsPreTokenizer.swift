/// `Digits`: cuts numbers (`\p{N}`) out, each digit alone or whole runs.
struct DigitsPreTokenizer: PreTokenizer {
    private let individual: Bool

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "individual_digits")
        individual = try node.bool("individual_digits", default: false)
    }

    func preTokenize(_ text: inout PreTokenizedText) {
        text.split { utf8, keep in
            var start = 0
            var index = 0
            var wasNumber = false
            while index < utf8.count {
                let (scalar, length) = UTF8Reading.unicodeScalar(at: index, in: utf8)
                let isNumber = scalar.isNumber
                if isNumber != wasNumber || isNumber && individual {
                    keep(start..<index)
                    start = index
                }
                wasNumber = isNumber
                index += length
            }
            keep(start..<index)
        }
    }
}
