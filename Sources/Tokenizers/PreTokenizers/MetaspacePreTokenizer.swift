/// `Metaspace`: SentencePiece's way with spaces.
///
/// Each becomes a visible character, one may be put in front, and each starts a new piece.
struct MetaspacePreTokenizer: PreTokenizer {
    private let replacement: Unicode.Scalar
    private let scheme: MetaspacePrefix
    private let splits: Bool

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "replacement", "str_rep", "add_prefix_space", "prepend_scheme", "split")
        replacement = try node.required("replacement").scalar()
        scheme = try MetaspacePrefix(from: node)
        splits = try node.bool("split", default: true)
    }

    func preTokenize(_ text: inout PreTokenizedText) {
        let mark = Array(String(Character(replacement)).utf8)
        text.rewritePieces { piece in
            piece.rewrite { utf8, output in
                for index in utf8.indices {
                    if utf8[index] == UInt8(ascii: " ") {
                        output.append(replacement, originOf: index)
                    } else {
                        output.copy(index..<index + 1, of: utf8)
                    }
                }
            }
            let isFirst = scheme == .always || scheme == .first && piece.startsOriginal
            if isFirst, !piece.bytes.starts(with: mark) { piece.prepend(String(Character(replacement))) }
        }
        guard splits else { return }
        text.split { utf8, keep in
            var start = 0
            var index = 0
            while index + mark.count <= utf8.count {
                if utf8[index] == mark[0], mark.indices.allSatisfy({ utf8[index + $0] == mark[$0] }) {
                    keep(start..<index)
                    start = index
                    index += mark.count
                } else {
                    index += 1
                }
            }
            keep(start..<utf8.count)
        }
    }
}

/// When Metaspace puts its mark before the text.
enum MetaspacePrefix: String, Sendable {
    case always, first, never

    /// Reads `prepend_scheme`, or the older `add_prefix_space`.
    init(from node: JSONNode) throws {
        guard let text = try node.optional("prepend_scheme") else {
            self = try node.bool("add_prefix_space", default: true) ? .always : .never
            return
        }
        guard let scheme = MetaspacePrefix(rawValue: try text.string()) else {
            throw text.error(.unsupported, "the prepend_scheme must be always, first or never")
        }
        self = scheme
    }
}
