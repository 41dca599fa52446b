import Foundation
import TestSupport
import Testing

@testable import Tokenizers

/// Expected values of Hugging Face tokenizers 0.23.3, and independent ones of llama.cpp.
struct VectorTests {
    static let folders =
        reversibleFolders + [
            "tokenizers/bert-base-uncased", "tokenizers/t5-unigram", "tokenizers/clip",
        ]

    /// Tokenizers that keep the whole text, so that decoding gives it back.
    static let reversibleFolders = [
        "tokenizers/gpt2", "tokenizers/llama2-spm", "tokenizers/mistral-v1-spm", "tokenizers/qwen3",
        "tokenizers/llama3.2", "tokenizers/whisper-multilingual", "models/stories260K",
        "models/gpt2-shakespeare-trained-here",
    ]

    /// Those of them with llama.cpp's own vectors.
    static let llamaCppFolders = ["gpt2", "llama2-spm", "qwen3", "llama3.2", "bert-base-uncased"].map {
        "tokenizers/\($0)"
    }

    /// No folder with vectors may be left out above.
    @Test(arguments: [
        ("vectors.jsonl", folders), ("llama_cpp.inp", llamaCppFolders), ("llama_cpp.out", llamaCppFolders),
    ])
    func everyFolderWithVectorsIsListed(file: String, listed: [String]) throws {
        guard let root = try TestData.folder("."), let entries = FileManager.default.enumerator(atPath: root.path)
        else {
            return
        }
        let found = entries.compactMap { $0 as? String }.filter { ($0 as NSString).lastPathComponent == file }
        #expect(Set(found) == Set(listed.map { "\($0)/\(file)" }))
    }

    private struct Vector: Decodable {
        let text: String
        let ids: [Int32]
        let tokens: [String]
        let offsets: [[Int]]
        let ids_with_special: [Int32]
        let decoded: String
    }

    @Test(arguments: folders)
    func agreesWithHuggingFace(folder: String) throws {
        guard let folder = try TestData.folder(folder) else { return }
        let tokenizer = try Tokenizer.load(folder: folder)
        let lines = try Data(contentsOf: folder.appending(path: "vectors.jsonl")).split(separator: UInt8(ascii: "\n"))
        #expect(lines.count == 46)
        for line in lines {
            let vector = try JSONDecoder().decode(Vector.self, from: line)
            let plain = tokenizer.encode(vector.text, addSpecialTokens: false)
            #expect(plain.ids == vector.ids, "\(vector.text.debugDescription)")
            // Strings are equal when canonically equivalent; tokens must be the same bytes.
            #expect(plain.tokens.map { Array($0.utf8) } == vector.tokens.map { Array($0.utf8) })
            #expect(plain.offsets == vector.offsets.map { $0[0]..<$0[1] }, "\(vector.text.debugDescription)")
            let special = tokenizer.encode(vector.text, addSpecialTokens: true)
            #expect(special.ids == vector.ids_with_special)
            for (addsSpecial, expected) in [(false, vector.ids), (true, vector.ids_with_special)] {
                var ids: [Int32] = [-7]
                tokenizer.encodeIDs(vector.text, addSpecialTokens: addsSpecial, into: &ids)
                #expect(ids == [-7] + expected)
                var fromBytes: [Int32] = []
                Array(vector.text.utf8).withUnsafeBufferPointer {
                    tokenizer.encodeIDs($0, addSpecialTokens: addsSpecial, into: &fromBytes)
                }
                #expect(fromBytes == expected)
            }
            let decoded = tokenizer.decode(vector.ids, skipSpecialTokens: false)
            #expect(Array(decoded.utf8) == Array(vector.decoded.utf8), "\(vector.text.debugDescription)")
        }
    }

    @Test(arguments: llamaCppFolders)
    func agreesWithLlamaCpp(folder: String) throws {
        guard let folder = try TestData.folder(folder) else { return }
        let tokenizer = try Tokenizer.load(folder: folder)
        let input = try String(contentsOf: folder.appending(path: "llama_cpp.inp"), encoding: .utf8)
        let output = try String(contentsOf: folder.appending(path: "llama_cpp.out"), encoding: .utf8)
        let texts = input.components(separatedBy: "\n__ggml_vocab_test__\n")
        let lines = output.split(separator: "\n", omittingEmptySubsequences: false).prefix(texts.count)
        #expect(texts.count == 47 && lines.count == 47)
        for (text, line) in zip(texts, lines) {
            let expected = line.split(separator: " ").compactMap { Int32($0) }
            #expect(tokenizer.encode(text, addSpecialTokens: false).ids == expected, "\(text.debugDescription)")
        }
    }

    /// Every place of the one single dash has the same score but for rounding, so the rounding must be the same.
    @Test func equalScoresAreRoundedAlike() throws {
        guard let folder = try TestData.folder("tokenizers/t5-unigram") else { return }
        let tokens = try Tokenizer.load(folder: folder)
            .encode(String(repeating: "-", count: 1000), addSpecialTokens: false).tokens
        #expect(tokens.count == 335 && tokens.firstIndex(of: "-") == 3)
    }

    @Test func knowsSizesAndSpecialTokens() throws {
        guard let root = try TestData.folder("tokenizers") else { return }
        let gpt2 = try Tokenizer.load(folder: root.appending(path: "gpt2"))
        #expect(gpt2.vocabularySize == 50257)
        #expect(gpt2.bosTokenID == 50256 && gpt2.eosTokenID == 50256 && gpt2.unkTokenID == 50256)
        #expect(gpt2.padTokenID == nil)
        #expect(gpt2.id(of: "<|endoftext|>") == 50256 && gpt2.token(of: 50256) == "<|endoftext|>")
        #expect(gpt2.id(of: "Ġworld") == 995 && gpt2.token(of: 995) == "Ġworld")
        #expect(gpt2.token(of: 50257) == nil && gpt2.token(of: -1) == nil && gpt2.id(of: "no such token") == nil)
        let qwen = try Tokenizer.load(folder: root.appending(path: "qwen3"))
        #expect(qwen.vocabularySize == 151669)
        #expect(qwen.eosTokenID == 151643 && qwen.padTokenID == 151643 && qwen.bosTokenID == nil)
        let llama = try Tokenizer.load(folder: root.appending(path: "llama2-spm"))
        #expect(llama.vocabularySize == 32000)
        #expect(llama.bosTokenID == 1 && llama.eosTokenID == 2 && llama.unkTokenID == 0 && llama.padTokenID == nil)
        let ids = llama.encode("hi", addSpecialTokens: true).ids
        #expect(llama.decode(ids, skipSpecialTokens: false) == "<s> hi")
        #expect(llama.decode(ids, skipSpecialTokens: true) == "hi")
    }

    @Test(arguments: reversibleFolders)
    func decodingUndoesEncoding(folder: String) throws {
        guard let folder = try TestData.folder(folder) else { return }
        let tokenizer = try Tokenizer.load(folder: folder)
        let normalizesText = folder.lastPathComponent == "qwen3"
        var generator = TextGenerator(seed: 11)
        for _ in 0..<300 {
            // A mark of SentencePiece in the text comes back as a space, and tokens in the text take no space.
            var text = generator.text(upTo: 30).replacing("▁", with: "").replacing("<s>", with: "")
            if normalizesText { text = text.precomposedStringWithCanonicalMapping }
            let encoding = tokenizer.encode(text, addSpecialTokens: false)
            let decoded = tokenizer.decode(encoding.ids, skipSpecialTokens: true)
            #expect(Array(decoded.unicodeScalars) == Array(text.unicodeScalars))
            #expect(encoding.ids.count == encoding.tokens.count && encoding.ids.count == encoding.offsets.count)
            #expect(encoding.offsets.allSatisfy { $0.upperBound <= text.unicodeScalars.count })
            var ids: [Int32] = []
            tokenizer.encodeIDs(text, addSpecialTokens: false, into: &ids)
            #expect(ids == encoding.ids)
        }
    }
}
