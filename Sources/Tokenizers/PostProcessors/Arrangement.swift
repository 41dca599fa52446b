/// The order of texts and special tokens in what a tokenizer returns, and the type id of each.
struct Arrangement: Sendable, Equatable {
    enum Part: Sendable, Equatable {
        /// The tokens of the first (0) or the second (1) text.
        case text(Int, typeID: Int32)
        case special([SpecialToken], typeID: Int32)
    }

    /// The parts around one text.
    let single: [Part]
    /// The parts around two texts.
    let pair: [Part]

    /// The texts one after the other, the second with type id 1.
    static let plain = Arrangement(
        single: [.text(0, typeID: 0)], pair: [.text(0, typeID: 0), .text(1, typeID: 1)])

    func parts(isPair: Bool) -> [Part] { isPair ? pair : single }

    /// How many special tokens it adds.
    func addedCount(isPair: Bool) -> Int {
        parts(isPair: isPair).reduce(0) { count, part in
            if case .special(let tokens, _) = part { count + tokens.count } else { count }
        }
    }

    /// The special tokens before and after a single text.
    var affixes: (prefix: [Int32], suffix: [Int32]) {
        var sides: (prefix: [Int32], suffix: [Int32]) = ([], [])
        var isAfter = false
        for part in single {
            switch part {
            case .text: isAfter = true
            case .special(let tokens, _):
                if isAfter { sides.suffix += tokens.map(\.id) } else { sides.prefix += tokens.map(\.id) }
            }
        }
        return sides
    }

    /// Puts the encodings of one or two texts together.
    func joined(_ texts: [Encoding], addSpecialTokens: Bool) -> Encoding {
        var result = Encoding()
        for part in parts(isPair: texts.count > 1) {
            switch part {
            case .text(let index, let typeID): result.append(texts[index], typeID: typeID)
            case .special(let tokens, let typeID):
                guard addSpecialTokens else { continue }
                for token in tokens {
                    result.append(id: token.id, token: token.content, typeID: typeID, isText: true)
                }
            }
        }
        return result
    }
}

/// A special token that a post-processor adds.
struct SpecialToken: Sendable, Equatable {
    let id: Int32
    let content: String

    init(id: Int32, content: String) {
        self.id = id
        self.content = content
    }

    /// Reads `["[SEP]", 102]`.
    init(from node: JSONNode, tokens: TokenLookup) throws {
        let pair = try node.elements()
        guard pair.count == 2 else { throw node.error(.invalidValue, "expected a token and its id") }
        content = try pair[0].string()
        id = try pair[1].tokenID()
        guard tokens(id) != nil else { throw pair[1].error(.unknownToken, "the id \(id) is no token") }
    }
}
