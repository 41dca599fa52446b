import Foundation

/// libFuzzer's entry: a tokenizer.json, or a line of `components.jsonl` that holds one, is read and used.
///
/// Any error is fine; a crash, a hang or unbounded memory is not.
@_cdecl("LLVMFuzzerTestOneInput")
func fuzzTokenizerJSON(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let data = Data(UnsafeBufferPointer(start: start, count: count))
    guard let value = try? JSONParser.parse(data, file: nil) else { return 0 }
    let description = JSONNode(value: value["tokenizer"] ?? value, file: nil, pointer: "")
    guard let tokenizer = try? Tokenizer(description: description, names: SpecialTokenNames()) else { return 0 }
    exercise(tokenizer)
    return 0
}

/// Encodes and decodes some texts in every way there is.
func exercise(_ tokenizer: Tokenizer) {
    // Short texts without long runs: a pattern may be exponential, and such a model is its author's problem.
    for text in ["", "Hello  world!", "x\u{301}y ½ ﬁ 日本 ▁a\r\n\u{1}", "[CLS] a<s>b", "don't 12 👨‍👩‍👧"] {
        for special in [false, true] {
            let encoding = tokenizer.encode(text, addSpecialTokens: special)
            precondition(encoding.ids.count == encoding.offsets.count && encoding.ids.count == encoding.tokens.count)
            var ids: [Int32] = []
            tokenizer.encodeIDs(text, addSpecialTokens: special, into: &ids)
            precondition(ids == encoding.ids)
            _ = tokenizer.decode(ids, skipSpecialTokens: special)
        }
    }
    _ = try? tokenizer.encode(batch: [("Hello", nil), ("a", "b c")], addSpecialTokens: true)
}
