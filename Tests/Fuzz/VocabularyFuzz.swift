import Foundation

/// libFuzzer's entry: a folder without tokenizer.json is read and used: a word list, a vocabulary with merges, or a
/// tiktoken file, each with its configuration and a chat template.
///
/// The first byte says which; zero bytes end one file and begin the next.
@_cdecl("LLVMFuzzerTestOneInput")
func fuzzVocabulary(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let kind = UnsafeBufferPointer(start: start, count: count).first else { return 0 }
    let parts = UnsafeBufferPointer(start: start, count: count).dropFirst()
        .split(separator: 0, maxSplits: 3, omittingEmptySubsequences: false)
    let names = [["vocab.txt"], ["vocab.json", "merges.txt"], ["words.tiktoken"]][Int(kind) % 3]
    do {
        try? FileManager.default.removeItem(at: folder)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        // Reading an empty file leaks a block inside Foundation, which would be taken for a finding.
        for (name, part) in zip(["tokenizer_config.json"] + names + ["special_tokens_map.json"], parts)
        where !part.isEmpty {
            try Data(part).write(to: folder.appending(path: name))
        }
    } catch {
        preconditionFailure("no folder: \(error)")
    }
    _ = try? ChatTemplate.load(folder: folder)
    guard let tokenizer = try? Tokenizer.load(folder: folder) else { return 0 }
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

private let folder = FileManager.default.temporaryDirectory.appending(path: "lorajobs-fuzz-\(getpid())")
