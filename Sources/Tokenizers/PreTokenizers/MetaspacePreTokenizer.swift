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
        mark.withUnsafeBufferPointer { mark in
            text.rewritePieces { utf8, piece, startsOriginal, output in
                let isMarked = scheme == .always || scheme == .first && startsOriginal
                if isMarked, !beginsWithMark(utf8, piece, mark) {
                    output.append(utf8: mark, originOf: piece.lowerBound)
                }
                var copied = piece.lowerBound
                for index in piece where utf8[index] == UInt8(ascii: " ") {
                    if copied < index { output.copy(copied..<index, of: utf8) }
                    output.append(utf8: mark, originOf: index)
                    copied = index + 1
                }
                if copied < piece.upperBound { output.copy(copied..<piece.upperBound, of: utf8) }
            }
            if splits { Self.split(&text, beforeEach: mark) }
        }
    }

    /// Whether the piece begins with the mark or with a space, which becomes one.
    private func beginsWithMark(
        _ utf8: UnsafeBufferPointer<UInt8>, _ piece: Range<Int>, _ mark: UnsafeBufferPointer<UInt8>
    ) -> Bool {
        if utf8[piece.lowerBound] == UInt8(ascii: " ") { return true }
        guard mark.count <= piece.count else { return false }
        for index in mark.indices where utf8[piece.lowerBound + index] != mark[index] { return false }
        return true
    }

    private static func split(_ text: inout PreTokenizedText, beforeEach mark: UnsafeBufferPointer<UInt8>) {
        text.split { utf8, keep in
            var start = 0
            var index = 0
            while index + mark.count <= utf8.count {
                var same = 0
                while same < mark.count, utf8[index + same] == mark[same] { same += 1 }
                if same == mark.count {
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
