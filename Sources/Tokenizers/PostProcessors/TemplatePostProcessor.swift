/// `TemplateProcessing`: special tokens and texts in the order of a template, one for a single text and one for two.
struct TemplatePostProcessor: PostProcessor {
    let arrangement: Arrangement?

    init(from node: JSONNode, tokens: TokenLookup) throws {
        try node.allow(only: "type", "single", "pair", "special_tokens")
        var table: [String: [SpecialToken]] = [:]
        for (name, entry) in try node.required("special_tokens").members() {
            try entry.allow(only: "id", "ids", "tokens")
            let ids = try entry.required("ids").elements()
            let contents = try entry.required("tokens").elements()
            guard ids.count == contents.count else {
                throw entry.error(.invalidValue, "ids and tokens differ in number")
            }
            table[name] = try zip(ids, contents).map { idNode, contentNode in
                let id = try idNode.tokenID()
                guard tokens(id) != nil else {
                    throw idNode.error(.unknownToken, "the template adds the id \(id), which is no token")
                }
                return SpecialToken(id: id, content: try contentNode.string())
            }
        }
        let single = try node.required("single")
        arrangement = Arrangement(
            single: try Self.parts(of: single, table, texts: [0]),
            pair: try node.optional("pair").map { try Self.parts(of: $0, table, texts: [0, 1]) }
                ?? Arrangement.plain.pair)
    }

    private static func parts(
        of node: JSONNode, _ table: [String: [SpecialToken]], texts: [Int]
    ) throws -> [Arrangement.Part] {
        let parts = try node.elements().map { try part($0, table) }
        let used = parts.compactMap { part in
            if case .text(let index, _) = part { index } else { nil }
        }
        guard used.sorted() == texts else {
            let names = texts.count == 1 ? "the text A" : "the texts A and B"
            throw node.error(.unsupported, "the template must hold \(names) once each; it holds \(used.count) texts")
        }
        return parts
    }

    private static func part(_ node: JSONNode, _ table: [String: [SpecialToken]]) throws -> Arrangement.Part {
        try node.allow(only: "SpecialToken", "Sequence")
        if let text = try node.optional("Sequence") {
            try text.allow(only: "id", "type_id")
            let id = try text.required("id")
            guard let index = ["A", "B"].firstIndex(of: try id.string()) else {
                throw id.error(.invalidValue, "the text of a template must be A or B")
            }
            return .text(index, typeID: try typeID(text))
        }
        let special = try node.required("SpecialToken")
        try special.allow(only: "id", "type_id")
        let name = try special.required("id")
        guard let tokens = table[try name.string()] else {
            throw name.error(.unknownToken, "the template uses \"\(try name.string())\", which special_tokens lacks")
        }
        return .special(tokens, typeID: try typeID(special))
    }

    private static func typeID(_ node: JSONNode) throws -> Int32 { try node.optional("type_id")?.tokenID() ?? 0 }
}
