/// `BertProcessing`: `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`, the second text and what follows it with type id 1.
struct BertPostProcessor: PostProcessor {
    let arrangement: Arrangement?

    init(from node: JSONNode, tokens: TokenLookup) throws {
        try node.allow(only: "type", "sep", "cls")
        let separator = [try SpecialToken(from: try node.required("sep"), tokens: tokens)]
        let start = [try SpecialToken(from: try node.required("cls"), tokens: tokens)]
        let single: [Arrangement.Part] = [
            .special(start, typeID: 0), .text(0, typeID: 0), .special(separator, typeID: 0),
        ]
        arrangement = Arrangement(single: single, pair: single + [.text(1, typeID: 1), .special(separator, typeID: 1)])
    }
}
