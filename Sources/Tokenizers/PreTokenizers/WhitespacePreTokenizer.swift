/// `Whitespace`: `\w+|[^\w\s]+`, that is, runs of word characters and runs of other visible ones.
struct WhitespacePreTokenizer: PreTokenizer {
    private let classes = ScalarClasses.shared

    init(from node: JSONNode) throws { try node.allow(only: "type") }

    func preTokenize(_ text: inout PreTokenizedText) {
        text.split { utf8, keep in
            var start = 0
            var index = 0
            var last: Kind = .space
            while index < utf8.count {
                let (scalar, length) = UTF8Reading.unicodeScalar(at: index, in: utf8)
                let kind = self.kind(of: scalar)
                if kind != last {
                    if last != .space { keep(start..<index) }
                    start = index
                    last = kind
                }
                index += length
            }
            if last != .space { keep(start..<index) }
        }
    }

    private enum Kind { case space, word, other }

    private func kind(of scalar: Unicode.Scalar) -> Kind {
        switch classes.ofScalar(scalar.value) {
        case ScalarClasses.space: .space
        case ScalarClasses.letter: .word
        default: scalar.isWordCharacter ? .word : .other
        }
    }
}

/// `WhitespaceSplit`: the words between white space.
struct WhitespaceSplitPreTokenizer: PreTokenizer {
    private let classes = ScalarClasses.shared

    init(from node: JSONNode) throws { try node.allow(only: "type") }

    func preTokenize(_ text: inout PreTokenizedText) {
        text.split { utf8, keep in
            var start = 0
            var index = 0
            while index < utf8.count {
                let (kind, length) = classes.at(index, in: utf8)
                if kind == ScalarClasses.space {
                    if start < index { keep(start..<index) }
                    start = index + length
                }
                index += length
            }
            if start < index { keep(start..<index) }
        }
    }
}
