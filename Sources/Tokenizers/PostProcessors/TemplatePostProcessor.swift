/// `TemplateProcessing`: special tokens before and after the text, from the template for a single text.
///
/// The template for pairs of texts is checked but not used: nothing here encodes pairs.
struct TemplatePostProcessor: PostProcessor {
    let prefix: [SpecialToken]
    let suffix: [SpecialToken]

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
        (prefix, suffix) = try Self.sides(of: try node.required("single"), table)
        if let pair = try node.optional("pair") { _ = try pair.elements().map { try Self.piece($0, table) } }
    }

    private static func sides(
        of node: JSONNode, _ table: [String: [SpecialToken]]
    ) throws -> ([SpecialToken], [SpecialToken]) {
        var before: [SpecialToken] = []
        var after: [SpecialToken] = []
        var texts = 0
        for element in try node.elements() {
            if let special = try piece(element, table) {
                if texts == 0 { before += special } else { after += special }
            } else {
                texts += 1
            }
        }
        guard texts == 1 else {
            throw node.error(.unsupported, "the template for a single text must hold the text once, not \(texts) times")
        }
        return (before, after)
    }

    /// The special tokens of a piece of a template, or `nil` for the text itself.
    private static func piece(_ node: JSONNode, _ table: [String: [SpecialToken]]) throws -> [SpecialToken]? {
        try node.allow(only: "SpecialToken", "Sequence")
        guard let special = try node.optional("SpecialToken") else {
            try node.required("Sequence").allow(only: "id", "type_id")
            return nil
        }
        try special.allow(only: "id", "type_id")
        let name = try special.required("id")
        guard let tokens = table[try name.string()] else {
            throw name.error(.unknownToken, "the template uses \"\(try name.string())\", which special_tokens lacks")
        }
        return tokens
    }
}
