/// The tokens of a model and their ids, compared byte by byte.
///
/// Swift strings are equal when canonically equivalent, but vocabularies hold both "é" and "e" + U+0301; so no
/// dictionary keyed by `String` is used here.
final class Vocabulary: Sendable {
    /// The largest id accepted, about a hundred times what is in use.
    static let maximumID = (1 << 24) - 1

    /// Tokens by id; `nil` where an id is not used.
    let tokens: [String?]
    /// How many tokens there are.
    let count: Int
    private let index: ByteStringTable

    /// A vocabulary of (token, id) pairs; when a token occurs twice, the later id stands.
    init(_ entries: [(token: String, id: Int32)]) {
        var tokens = [String?](repeating: nil, count: Int(entries.map(\.id).max() ?? -1) + 1)
        for entry in entries { tokens[Int(entry.id)] = entry.token }
        self.tokens = tokens
        count = entries.count
        index = ByteStringTable(entries.map { (Array($0.token.utf8), $0.id) })
    }

    /// The id of a token, given its UTF-8 bytes.
    func id(of bytes: UnsafeBufferPointer<UInt8>) -> Int32? { index[bytes] }

    /// The id of a token.
    func id(of token: String) -> Int32? { token.withUTF8Bytes { index[$0] } }

    /// The token of an id.
    func token(of id: Int32) -> String? { tokens.indices.contains(Int(id)) ? tokens[Int(id)] : nil }
}
