import Foundation
import TestSupport
import Testing

@testable import Tokenizers

/// Training: merges that can be checked by hand, determinism, and reading back what was written.
struct TrainerTests {
    private func train(_ texts: [String], size: Int, specials: [String] = [], minimum: Int = 1) throws -> TrainedBPE {
        var trainer = try ByteLevelBPETrainer(
            .init(vocabularySize: size, specialTokens: specials, minimumFrequency: minimum))
        for text in texts { trainer.add(text) }
        return trainer.train()
    }

    private func lines(_ trained: TrainedBPE) -> [String] { trained.merges.map { $0.0 + " " + $0.1 } }

    @Test func mergesByHand() throws {
        // Words: hug 10, pug 5, pun 12, bun 4, hugs 5, each after a space. "u g" occurs 20 times, "Ġ p" 17, "u n" 16;
        // then "h ug" and "Ġ h" 15 each, of which "h" has the lower id; "Ġ hug" 15; "Ġp un" 12.
        let words = [("hug", 10), ("pug", 5), ("pun", 12), ("bun", 4), ("hugs", 5)]
        let text = words.map { String(repeating: " " + $0.0, count: $0.1) }.joined()
        let trained = try train([text], size: 256 + 6)
        #expect(lines(trained) == ["u g", "Ġ p", "u n", "h ug", "Ġ hug", "Ġp un"])
        #expect(trained.vocabulary.suffix(6) == ["ug", "Ġp", "un", "hug", "Ġhug", "Ġpun"])
        #expect(trained.vocabulary.first == "!")
    }

    @Test func tiesGoToTheLowerIDs() throws {
        #expect(lines(try train(["cd", "ab"], size: 258)) == ["a b", "c d"])
        #expect(lines(try train(["ab", "cd"], size: 258)) == ["a b", "c d"])
        #expect(lines(try train(["ab ax"], size: 257)) == ["a b"])
    }

    @Test func overlappingRepetitions() throws {
        // "aaaaa" holds "a a" four times, but only two can merge; then "aa aa" is left once and so is "aa a".
        let trained = try train(["aaaaa"], size: 259)
        #expect(lines(trained) == ["a a", "aa a", "aa aaa"])
    }

    @Test func minimumFrequencyEndsTraining() throws {
        let trained = try train(["ab ab cd"], size: 1000, minimum: 2)
        #expect(lines(trained) == ["a b"])
        #expect(trained.vocabulary.count == 257)
    }

    @Test func theOrderOfTextsDoesNotMatter() throws {
        var generator = TextGenerator(seed: 77)
        let texts = (0..<200).map { _ in generator.text(upTo: 30) }
        let forwards = try train(texts, size: 500, minimum: 2)
        let backwards = try train(texts.reversed(), size: 500, minimum: 2)
        #expect(forwards.vocabulary == backwards.vocabulary)
        #expect(lines(forwards) == lines(backwards))
        #expect(forwards.merges.count > 100)
    }

    /// Counting all pairs anew before each merge gives the same merges as keeping counts.
    @Test func incrementalCountsAreExact() throws {
        var generator = TextGenerator(seed: 4)
        let text = (0..<60).map { _ in generator.text(upTo: 20) }.joined(separator: " ")
        let trained = try train([text], size: 256 + 60)
        var ids: [String: Int] = [:]
        for (id, token) in trained.vocabulary.enumerated() { ids[token] = id }
        var words: [[String]] = []
        text.withUTF8Bytes { utf8 in
            var start = 0
            while start < utf8.count {
                let end = PatternScanner.gpt2.end(of: utf8, from: start, .shared)
                words.append(utf8[start..<end].map { ByteAlphabet.encoded(CollectionOfOne($0)) })
                start = end
            }
        }
        struct Pair: Hashable { let left: String, right: String }
        for merge in trained.merges {
            var counts: [Pair: Int] = [:]
            for word in words {
                for (left, right) in zip(word, word.dropFirst()) {
                    counts[Pair(left: left, right: right), default: 0] += 1
                }
            }
            let best = counts.max { first, second in
                let firstKey = (first.value, -ids[first.key.left]!, -ids[first.key.right]!)
                return firstKey < (second.value, -ids[second.key.left]!, -ids[second.key.right]!)
            }
            #expect(best?.key == Pair(left: merge.0, right: merge.1))
            words = words.map { word in
                var result: [String] = []
                for symbol in word {
                    if let last = result.last, last == merge.0, symbol == merge.1 {
                        result[result.count - 1] = last + symbol
                        continue
                    }
                    result.append(symbol)
                }
                return result
            }
        }
    }

    @Test func whatIsWrittenReadsBack() throws {
        let text = String(repeating: "the cat sat on the mat; naïve 🤗\n", count: 20)
        let trained = try train([text], size: 300, specials: ["<|end|>", "<pad>"], minimum: 2)
        let folder = try TemporaryFolder()
        try trained.write(to: folder.url, roles: .init(bos: "<|end|>", eos: "<|end|>", pad: "<pad>", maximumLength: 64))
        let tokenizer = try Tokenizer.load(folder: folder.url)
        #expect(tokenizer.vocabularySize == trained.vocabulary.count)
        #expect(tokenizer.bosTokenID == 0 && tokenizer.eosTokenID == 0 && tokenizer.padTokenID == 1)
        #expect(tokenizer.unkTokenID == nil)
        for (id, token) in trained.vocabulary.enumerated() { #expect(tokenizer.token(of: Int32(id)) == token) }
        let encoding = tokenizer.encode("the cat<|end|> naïve 日本", addSpecialTokens: true)
        #expect(encoding.ids.contains(0))
        #expect(encoding.tokens.starts(with: ["the", "Ġcat", "<|end|>"]))
        #expect(tokenizer.decode(encoding.ids, skipSpecialTokens: false) == "the cat<|end|> naïve 日本")
        // The same training writes the same bytes.
        let again = try TemporaryFolder()
        try train([text], size: 300, specials: ["<|end|>", "<pad>"], minimum: 2).write(
            to: again.url, roles: .init(bos: "<|end|>", eos: "<|end|>", pad: "<pad>", maximumLength: 64))
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            let first = try Data(contentsOf: folder.url.appending(path: name))
            #expect(try first == Data(contentsOf: again.url.appending(path: name)))
        }
    }

    @Test func learnsWhatHuggingFaceLearnt() throws {
        guard let corpus = try TestData.folder("datasets/tinyshakespeare/input.txt"),
            let folder = try TestData.folder("models/gpt2-shakespeare-trained-here")
        else { return }
        let expected = try Tokenizer.load(folder: folder)
        var trainer = try ByteLevelBPETrainer(
            .init(vocabularySize: 512, specialTokens: ["<|endoftext|>"], minimumFrequency: 2))
        try Data(contentsOf: corpus).withUnsafeBytes { trainer.add($0.bindMemory(to: UInt8.self)) }
        let trained = trainer.train()
        #expect(trained.vocabulary == (0..<512).map { expected.token(of: $0) })
    }

    /// Blocks of any size give what the whole text gives, with words, runs and characters across their borders.
    @Test func filesAreReadInBlocks() throws {
        var generator = TextGenerator(seed: 23)
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "text.txt")
        for round in 0..<12 {
            var text = (0..<60).map { _ in generator.text(upTo: 20) }.joined(separator: round % 2 == 0 ? " " : "")
            if round == 10 { text = String(repeating: "a日1", count: 2000) + "'s" }
            if round == 11 { text = String(repeating: " \u{3000}", count: 1000) }
            try text.write(to: file, atomically: true, encoding: .utf8)
            let whole = try train([text], size: 330)
            for size in [1, 2, 3, 7, 64, 1000, 1 << 20] {
                var trainer = try ByteLevelBPETrainer(.init(vocabularySize: 330, minimumFrequency: 1))
                try trainer.add(file: file, blockSize: size)
                let trained = trainer.train()
                #expect(lines(trained) == lines(whole), "blocks of \(size)")
            }
        }
    }

    @Test func filesThatAreNoText() throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "text.txt")
        var trainer = try ByteLevelBPETrainer(.init(vocabularySize: 300))
        #expect(throws: TokenizerError.self) { try trainer.add(file: file) }
        for broken in [[0x61, 0x20, 0xFF, 0x20, 0x62], [0x61, 0x20, 0xE6, 0x97], [0x80, 0x80, 0x80, 0x80, 0x80]] {
            try Data(broken.map { UInt8($0) }).write(to: file)
            for size in [1, 3, 100] {
                let error = #expect(throws: TokenizerError.self) { try trainer.add(file: file, blockSize: size) }
                #expect(error?.code == .invalidValue && error?.file == file.path)
            }
        }
        try Data().write(to: file)
        try trainer.add(file: file)
    }

    @Test func impossibleOptions() {
        let options: [ByteLevelBPETrainer.Options] = [
            .init(vocabularySize: 255), .init(vocabularySize: 256, specialTokens: ["<s>"]),
            .init(vocabularySize: 300, specialTokens: [""]), .init(vocabularySize: 300, specialTokens: ["x1", "x1"]),
            .init(vocabularySize: 300, specialTokens: ["a"]), .init(vocabularySize: 300, minimumFrequency: 0),
        ]
        for option in options {
            #expect { try ByteLevelBPETrainer(option) } throws: { ($0 as? TokenizerError)?.code == .impossibleTraining }
        }
        #expect { try train(["a"], size: 256).write(to: URL(filePath: "/"), roles: .init(bos: "<s>")) } throws: {
            ($0 as? TokenizerError)?.code == .unknownToken
        }
    }
}
