/// `RobertaProcessing`: `<s> A </s>` or `<s> A </s></s> B </s>`, all of type id 0, after trimming offsets as
/// ``ByteLevelPostProcessor`` does.
struct RobertaPostProcessor: PostProcessor {
    let arrangement: Arrangement?

    static func steps(from node: JSONNode, tokens: TokenLookup) throws -> [any PostProcessor] {
        try node.allow(only: "type", "sep", "cls", "trim_offsets", "add_prefix_space")
        let trimming = ByteLevelPostProcessor(
            trimsOffsets: try node.bool("trim_offsets", default: true),
            addsPrefixSpace: try node.bool("add_prefix_space", default: true))
        return [
            trimming,
            RobertaPostProcessor(
                start: try SpecialToken(from: try node.required("cls"), tokens: tokens),
                separator: try SpecialToken(from: try node.required("sep"), tokens: tokens)),
        ]
    }

    private init(start: SpecialToken, separator: SpecialToken) {
        let single: [Arrangement.Part] = [
            .special([start], typeID: 0), .text(0, typeID: 0), .special([separator], typeID: 0),
        ]
        let second: [Arrangement.Part] = [
            .special([separator], typeID: 0), .text(1, typeID: 0), .special([separator], typeID: 0),
        ]
        arrangement = Arrangement(single: single, pair: single + second)
    }
}
