import Foundation
import TestSupport
import Testing

@testable import Tokenizers

/// The model: merging, its options, long pieces, and use from several threads.
struct BPETests {
    /// Merging as the definition says it: the lowest rank, leftmost first, until no merge applies.
    private func naiveMerge(_ word: String, _ merges: [String]) -> [String] {
        var symbols = word.utf8.map { ByteAlphabet.encoded(CollectionOfOne($0)) }
        while true {
            var best: (rank: Int, place: Int)?
            for place in 0..<max(0, symbols.count - 1) {
                guard let rank = merges.firstIndex(of: symbols[place] + " " + symbols[place + 1]) else { continue }
                if best == nil || rank < best!.rank { best = (rank, place) }
            }
            guard let best else { return symbols }
            symbols[best.place] += symbols.remove(at: best.place + 1)
        }
    }

    @Test func shortAndLongPiecesMergeAlike() throws {
        let merges = ["a b", "b a", "ab a", "a a", "c ab", "ab ab", "aa b", "b c", "abab c", "aa aa"]
        let tokenizer = try TokenizerFile.load(TokenizerFile.byteLevel(merges: merges))
        var generator = TextGenerator(seed: 9)
        for _ in 0..<400 {
            // Up to 40 symbols are scanned, more go through the queue.
            let letters = (0..<generator.next(below: 120)).map { _ in "abc".utf8.map { $0 }[generator.next(below: 3)] }
            let word = String(decoding: letters, as: UTF8.self)
            #expect(tokenizer.encode(word, addSpecialTokens: false).tokens == naiveMerge(word, merges), "\(word)")
        }
    }

    @Test func veryLongLines() throws {
        let tokenizer = try TokenizerFile.load(TokenizerFile.byteLevel(merges: ["a a", "aa aa", "b b"]))
        let long = tokenizer.encode(String(repeating: "a", count: 1 << 20), addSpecialTokens: false)
        #expect(long.ids == [Int32](repeating: 257, count: 1 << 18))
        #expect(long.offsets.last == (1 << 20) - 4..<1 << 20)
        var ids: [Int32] = []
        tokenizer.encodeIDs(String(repeating: "ab", count: 1 << 19), addSpecialTokens: false, into: &ids)
        #expect(ids.count == 1 << 20)
        #expect(tokenizer.decode(ids, skipSpecialTokens: false) == String(repeating: "ab", count: 1 << 19))
    }

    @Test func emptyAndOddTexts() throws {
        let tokenizer = try TokenizerFile.load(TokenizerFile.byteLevel())
        #expect(tokenizer.encode("", addSpecialTokens: true) == Encoding(ids: [], tokens: [], offsets: []))
        #expect(tokenizer.decode([], skipSpecialTokens: true) == "")
        #expect(tokenizer.encode("\u{0}a\u{0}", addSpecialTokens: false).offsets == [0..<1, 1..<2, 2..<3])
        #expect(tokenizer.decode([9_999, -1], skipSpecialTokens: false) == "")
        // Each byte of a character has the place of the whole character.
        #expect(tokenizer.encode("x🤗", addSpecialTokens: false).offsets == [0..<1, 1..<2, 1..<2, 1..<2, 1..<2])
        // Ill-formed bytes count as U+FFFD.
        var ids: [Int32] = []
        [0x61, 0xFF, 0x62].withUnsafeBufferPointer { tokenizer.encodeIDs($0, addSpecialTokens: false, into: &ids) }
        #expect(tokenizer.decode(ids, skipSpecialTokens: false) == "a\u{FFFD}b")
        // Half a character decodes to U+FFFD.
        #expect(tokenizer.decode([Int32(ids[0]), 172], skipSpecialTokens: false).unicodeScalars.contains("\u{FFFD}"))
    }

    private func model(_ options: String, vocabulary: [String], merges: String = "[]") -> String {
        let entries: [(key: String, value: JSONValue)] = vocabulary.enumerated().map { ($1, .integer($0)) }
        let vocab = String(decoding: JSONWriter.bytes(of: .object(entries)), as: UTF8.self)
        return #"{"model": {"type": "BPE", \#(options), "vocab": \#(vocab), "merges": \#(merges)}}"#
    }

    @Test func unknownCharacters() throws {
        let vocabulary = ["<unk>", "a", "b", "ab", "<0xC3>", "<0xA9>"]
        let merges = #"[["a", "b"]]"#
        func tokens(_ options: String, _ text: String) throws -> Encoding {
            let tokenizer = try TokenizerFile.load(model(options, vocabulary: vocabulary, merges: merges))
            return tokenizer.encode(text, addSpecialTokens: false)
        }
        let single = try tokens(#""unk_token": "<unk>", "fuse_unk": false"#, "abxya")
        #expect(single.tokens == ["ab", "<unk>", "<unk>", "a"])
        #expect(single.offsets == [0..<2, 2..<3, 3..<4, 4..<5])
        let fused = try tokens(#""unk_token": "<unk>", "fuse_unk": true"#, "abxya")
        #expect(fused.tokens == ["ab", "<unk>", "a"])
        #expect(fused.offsets == [0..<2, 2..<4, 4..<5])
        #expect(try tokens(#""fuse_unk": true"#, "abxya").tokens == ["ab", "a"])
        let bytes = try tokens(#""unk_token": "<unk>", "byte_fallback": true"#, "aéè")
        #expect(bytes.tokens == ["a", "<0xC3>", "<0xA9>", "<unk>"])
        #expect(bytes.offsets == [0..<1, 1..<2, 1..<2, 2..<3])
    }

    @Test func prefixAndSuffix() throws {
        let options = #""continuing_subword_prefix": "@", "end_of_word_suffix": "$", "unk_token": "?""#
        let vocabulary = ["?", "t", "@h", "@e$", "th", "the$", "t$"]
        let text = model(options, vocabulary: vocabulary, merges: #"[["t", "@h"], ["th", "@e$"]]"#)
        let tokenizer = try TokenizerFile.load(text)
        #expect(tokenizer.encode("the", addSpecialTokens: false).tokens == ["the$"])
        #expect(tokenizer.encode("t", addSpecialTokens: false).tokens == ["t$"])
        #expect(tokenizer.encode("thx", addSpecialTokens: false).tokens == ["th", "?"])
    }

    @Test func ignoreMergesTakesWholePieces() throws {
        // No merge leads to "abc", so only ignore_merges finds it.
        for ignores in [false, true] {
            let text = model(#""ignore_merges": \#(ignores)"#, vocabulary: ["a", "b", "c", "abc"])
            let tokens = try TokenizerFile.load(text).encode("abc", addSpecialTokens: false).tokens
            #expect(tokens == (ignores ? ["abc"] : ["a", "b", "c"]))
        }
    }

    @Test func canonicallyEquivalentTokensStayApart() throws {
        let tokenizer = try TokenizerFile.load(model(#""fuse_unk": false"#, vocabulary: ["e", "\u{301}", "\u{E9}"]))
        #expect(tokenizer.encode("e\u{301}", addSpecialTokens: false).ids == [0, 1])
        #expect(tokenizer.encode("\u{E9}", addSpecialTokens: false).ids == [2])
        #expect(tokenizer.id(of: "\u{E9}") == 2 && tokenizer.id(of: "e\u{301}") == nil)
    }

    @Test func manyThreadsGiveTheSameIDs() async throws {
        let tokenizer = try TokenizerFile.load(TokenizerFile.byteLevel(merges: ["t h", "th e", "Ġ the", "l l"]))
        var generator = TextGenerator(seed: 21)
        let texts = (0..<200).map { _ in generator.text(upTo: 40) }
        let expected = texts.map { tokenizer.encode($0, addSpecialTokens: false) }
        await withTaskGroup(of: [Encoding].self) { group in
            for _ in 0..<8 {
                group.addTask { texts.map { tokenizer.encode($0, addSpecialTokens: false) } }
            }
            for await result in group { #expect(result == expected) }
        }
    }

    @Test func theCacheForgetsAndGoesOn() throws {
        let tokenizer = try TokenizerFile.load(TokenizerFile.byteLevel(merges: ["1 2", "12 3"]))
        // More distinct words than the cache holds, then the first ones again.
        let words = (0..<120_000).map { " \($0)x\($0 % 7)" }
        var first: [Int32] = []
        tokenizer.encodeIDs(words.joined(), addSpecialTokens: false, into: &first)
        var second: [Int32] = []
        for word in words { tokenizer.encodeIDs(word, addSpecialTokens: false, into: &second) }
        #expect(first == second)
        #expect(tokenizer.decode(first, skipSpecialTokens: false) == words.joined())
    }
}
