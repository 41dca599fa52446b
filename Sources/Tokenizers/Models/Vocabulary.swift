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

    /// The tokens as bytes with their ids.
    var byteEntries: [(bytes: [UInt8], id: Int32)] {
        var entries: [(bytes: [UInt8], id: Int32)] = []
        entries.reserveCapacity(tokens.count)
        for token in tokens {
            // Of two spellings of one token, the later id stands.
            if let token, let id = id(of: token) { entries.append((Array(token.utf8), id)) }
        }
        return entries
    }

    /// The ids of the tokens `<0x00>` … `<0xFF>` that stand for bytes, where there are any.
    var byteTokenIDs: [Int32?] {
        (0..<256).map { byte in
            let hex = String(byte, radix: 16, uppercase: true)
            return id(of: "<0x" + (hex.utf8.count < 2 ? "0" : "") + hex + ">")
        }
    }

    /// The id of the token that the model at `node` names as unknown.
    func unknownID(in node: JSONNode, default fallback: String) throws -> Int32 {
        let named = try node.optional("unk_token")
        let name = try named?.string() ?? fallback
        guard let id = id(of: name) else {
            throw (named ?? node).error(.unknownToken, "the unknown token \"\(name)\" is not in the vocabulary")
        }
        return id
    }
}
