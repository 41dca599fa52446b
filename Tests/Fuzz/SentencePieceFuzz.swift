import Foundation

/// libFuzzer's entry: a SentencePiece model is read, completed as LLaMA or T5 would be, and used.
@_cdecl("LLVMFuzzerTestOneInput")
func fuzzSentencePiece(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    guard let model = try? SentencePieceFile(bytes, file: nil) else { return 0 }
    let name = model.algorithm == .bpe ? "LlamaTokenizer" : "T5Tokenizer"
    let vocabulary = BareVocabulary(configuration: TokenizerConfiguration(tokenizerClass: name))
    guard let value = try? vocabulary.description(of: model, file: "") else { return 0 }
    let description = JSONNode(value: value, file: nil, pointer: "")
    guard let tokenizer = try? Tokenizer(description: description, names: SpecialTokenNames()) else { return 0 }
    for text in ["", "Hello  world!", "x\u{301}y ½ ﬁ 日本 ▁a\r\n\u{1}", "ab ba aab", "👨‍👩‍👧"] {
        let encoding = tokenizer.encode(text, addSpecialTokens: true)
        precondition(encoding.ids.count == encoding.offsets.count && encoding.ids.count == encoding.tokens.count)
        var ids: [Int32] = []
        tokenizer.encodeIDs(text, addSpecialTokens: true, into: &ids)
        precondition(ids == encoding.ids)
        _ = tokenizer.decode(ids, skipSpecialTokens: true)
    }
    return 0
}
