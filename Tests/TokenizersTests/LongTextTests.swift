import Foundation
import TestSupport
import Testing

@testable import Tokenizers

/// A long line without spaces costs each model work in proportion to its length.
///
/// Work is counted in elementary steps, not in time.
struct LongTextTests {
    private func steps(_ tokenizer: Tokenizer, _ text: String) -> Int {
        var buffers = EncodingBuffers()
        text.withUTF8Bytes { tokenizer.model.tokenize($0, into: &buffers) }
        return buffers.steps
    }

    @Test(arguments: ["gpt2", "llama2-spm", "bert-base-uncased", "t5-unigram", "clip"])
    func workIsLinear(name: String) throws {
        guard let folder = try TestData.folder("tokenizers/\(name)") else { return }
        let tokenizer = try Tokenizer.load(folder: folder)
        for unit in ["a", "ab", "日本", "-", "é🤗x"] {
            let short = String(repeating: unit, count: (1 << 16) / unit.utf8.count)
            let long = String(repeating: unit, count: (1 << 20) / unit.utf8.count)
            let (few, many) = (steps(tokenizer, short), steps(tokenizer, long))
            #expect(many <= 20 * max(few, 100), "\(name) \(unit): \(few) steps for 64 KB, \(many) for 1 MB")
            #expect(many <= 40 * long.utf8.count)
        }
    }

    @Test(arguments: ["gpt2", "llama2-spm", "bert-base-uncased", "t5-unigram", "clip", "qwen3", "whisper-multilingual"])
    func aMegabyteWithoutSpaces(name: String) throws {
        guard let folder = try TestData.folder("tokenizers/\(name)") else { return }
        let tokenizer = try Tokenizer.load(folder: folder)
        for unit in ["a", "xyz", "é", "\u{301}", "1", "—"] {
            let text = String(repeating: unit, count: (1 << 20) / unit.utf8.count)
            var ids: [Int32] = []
            tokenizer.encodeIDs(text, addSpecialTokens: false, into: &ids)
            // BERT drops marks, and T5 text that only holds marks may vanish, but nothing else does.
            if unit != "\u{301}" { #expect(!ids.isEmpty) }
        }
    }
}
