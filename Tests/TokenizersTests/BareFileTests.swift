import Foundation
import TestSupport
import Testing

@testable import Tokenizers

/// Vocabularies without a tokenizer.json give the ids of the tokenizer.json beside them.
struct BareFileTests {
    /// A folder with some of the files of another.
    private func folder(_ source: URL, _ names: [String]) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        for name in names {
            let file = source.appending(path: name)
            if name.hasSuffix("config.json"), !FileManager.default.fileExists(atPath: file.path) { continue }
            try FileManager.default.copyItem(at: file, to: folder.url.appending(path: name))
        }
        return folder
    }

    private func texts(_ source: URL) throws -> [String] {
        var texts: [String] = []
        let lines = try Data(contentsOf: source.appending(path: "vectors.jsonl")).split(separator: UInt8(ascii: "\n"))
        for line in lines {
            guard case .string(let text)? = try JSONParser.parse(Data(line), file: nil)["text"] else { continue }
            texts.append(text)
        }
        var generator = TextGenerator(seed: 31)
        return texts + (0..<500).map { _ in generator.text(upTo: 20) }
    }

    private func expectSame(
        _ bare: Tokenizer, _ full: Tokenizer, _ texts: [String], addSpecialTokens: [Bool] = [false, true]
    ) {
        #expect(bare.vocabularySize == full.vocabularySize)
        for text in texts {
            for special in addSpecialTokens {
                let (got, expected) = (
                    bare.encode(text, addSpecialTokens: special), full.encode(text, addSpecialTokens: special)
                )
                #expect(got == expected, "\(text.debugDescription)")
                #expect(
                    bare.decode(got.ids, skipSpecialTokens: special)
                        == full.decode(got.ids, skipSpecialTokens: special))
            }
        }
    }

    @Test(arguments: [
        ("tokenizers/llama2-spm", ["tokenizer.model"]), ("tokenizers/mistral-v1-spm", ["tokenizer.model"]),
        ("models/stories260K", ["tokenizer.model"]), ("tokenizers/t5-unigram", ["spiece.model"]),
        ("tokenizers/gpt2", ["vocab.json", "merges.txt"]), ("tokenizers/bert-base-uncased", ["vocab.txt"]),
    ])
    func givesTheIDsOfTheFileBeside(path: String, names: [String]) throws {
        guard let source = try TestData.folder(path) else { return }
        let folder = try folder(source, names + ["tokenizer_config.json"])
        let full = try Tokenizer.load(folder: source)
        expectSame(try Tokenizer.load(folder: folder.url), full, try texts(source))
        if names.count == 1 {
            expectSame(try Tokenizer(file: folder.url.appending(path: names[0])), full, ["Hello, world"])
        }
    }

    /// The shared file of this model also truncates and pads, and its tokens are those of BERT.
    @Test func minilmIsBert() throws {
        guard let source = try TestData.folder("models/minilm-l6-v2-bert"),
            let vectors = try TestData.folder("tokenizers/bert-base-uncased")
        else { return }
        let folder = try folder(source, ["vocab.txt", "tokenizer_config.json"])
        expectSame(try Tokenizer.load(folder: folder.url), try Tokenizer.load(folder: source), try texts(vectors))
    }

    /// The tiktoken file does not say which language and task the shared file puts in front.
    @Test func whisperFromTiktoken() throws {
        guard let source = try TestData.folder("tokenizers/whisper-multilingual") else { return }
        let folder = try folder(source, ["multilingual.tiktoken", "tokenizer_config.json"])
        let bare = try Tokenizer.load(folder: folder.url)
        let full = try Tokenizer.load(folder: source)
        expectSame(bare, full, try texts(source), addSpecialTokens: [false])
        let ids = bare.encode("a", addSpecialTokens: true).ids
        #expect(ids.map { bare.token(of: $0) ?? "" } == ["<|startoftranscript|>", "<|notimestamps|>", "a", "<|endoftext|>"])
        try #"{"tokenizer_class": "WhisperTokenizer", "language": "en", "task": "transcribe"}"#.write(
            to: folder.url.appending(path: "tokenizer_config.json"), atomically: true, encoding: .utf8)
        expectSame(try Tokenizer.load(folder: folder.url), full, ["Hello", "a b"])
    }

    /// A vocab.json and merges.txt taken out of a tokenizer.json say the same.
    @Test(arguments: ["clip", "qwen3", "whisper-multilingual"])
    func vocabularyAndMergesTakenOut(name: String) throws {
        guard let source = try TestData.folder("tokenizers/\(name)") else { return }
        let folder = try folder(source, ["tokenizer_config.json"])
        let json = try OrderedJSON(parsing: Data(contentsOf: source.appending(path: "tokenizer.json")))
        guard let vocabulary = json["model"]?["vocab"], case .array(let merges)? = json["model"]?["merges"] else {
            Issue.record("no vocabulary")
            return
        }
        try Data(JSONWriter.bytes(of: vocabulary)).write(to: folder.url.appending(path: "vocab.json"))
        let lines = merges.map { merge in
            switch merge {
            case .string(let text): text
            case .array(let pair):
                pair.map { if case .string(let half) = $0 { half } else { "" } }.joined(separator: " ")
            default: ""
            }
        }
        try ("#version: 0.2\n" + lines.joined(separator: "\n") + "\n").write(
            to: folder.url.appending(path: "merges.txt"), atomically: true, encoding: .utf8)
        if name == "whisper-multilingual" {
            guard case .array(let added)? = json["added_tokens"] else { return }
            let entries = added.compactMap { entry -> (key: String, value: OrderedJSON)? in
                guard case .integer(let id)? = entry["id"] else { return nil }
                return (String(id), entry.removing("id"))
            }
            let config = OrderedJSON.object([
                (key: "tokenizer_class", value: .string("WhisperTokenizer")), (key: "language", value: .string("en")),
                (key: "task", value: .string("transcribe")), (key: "added_tokens_decoder", value: .object(entries)),
            ])
            try Data(JSONWriter.bytes(of: config)).write(to: folder.url.appending(path: "tokenizer_config.json"))
        }
        expectSame(try Tokenizer.load(folder: folder.url), try Tokenizer.load(folder: source), try texts(source))
    }

    @Test func mergesOfASentencePieceModelAreThoseOfTheFileBeside() throws {
        guard let source = try TestData.folder("tokenizers/llama2-spm") else { return }
        let bare = try BareVocabulary(configuration: TokenizerConfiguration(folder: source))
            .model(source.appending(path: "tokenizer.model"))
        let full = try OrderedJSON(parsing: Data(contentsOf: source.appending(path: "tokenizer.json")))
        func merges(_ value: OrderedJSON?) -> [String] {
            guard case .array(let list)? = value?["model"]?["merges"] else { return [] }
            return list.map { merge in
                switch merge {
                case .string(let text): text
                case .array(let pair):
                    pair.map { if case .string(let half) = $0 { half } else { "" } }.joined(separator: " ")
                default: ""
                }
            }
        }
        let expected = merges(full)
        #expect(expected.count == 61249)
        #expect(merges(bare.value) == expected)
    }

    @Test func choosesTheBestFile() throws {
        let folder = try TemporaryFolder()
        try TokenizerFile.byteLevel(merges: ["a b"]).write(
            to: folder.url.appending(path: "tokenizer.json"), atomically: true, encoding: .utf8)
        try "nonsense".write(to: folder.url.appending(path: "vocab.txt"), atomically: true, encoding: .utf8)
        #expect(try Tokenizer.load(folder: folder.url).encode("ab", addSpecialTokens: false).tokens == ["ab"])
        let empty = try TemporaryFolder()
        let error = #expect(throws: TokenizerError.self) { try Tokenizer.load(folder: empty.url) }
        #expect(error?.code == .unreadable)
        #expect(error?.description.contains("spiece.model") == true)
    }

    @Test func unknownClassesAreErrorsThatNameThem() throws {
        guard let source = try TestData.folder("tokenizers/t5-unigram") else { return }
        for (name, file) in [("XLNetTokenizer", "spiece.model"), ("FunnelTokenizer", "vocab.txt")] {
            let folder = try TemporaryFolder()
            if file == "vocab.txt" {
                try "[UNK]\n[CLS]\n[SEP]\n".write(
                    to: folder.url.appending(path: file), atomically: true, encoding: .utf8)
            } else {
                try FileManager.default.copyItem(
                    at: source.appending(path: file), to: folder.url.appending(path: file))
            }
            try #"{"tokenizer_class": "\#(name)"}"#.write(
                to: folder.url.appending(path: "tokenizer_config.json"), atomically: true, encoding: .utf8)
            let error = #expect(throws: TokenizerError.self) { try Tokenizer.load(folder: folder.url) }
            #expect(error?.code == .unsupported && error?.description.contains(name) == true)
        }
    }

    @Test func configurationOfBERT() throws {
        let folder = try TemporaryFolder()
        try "[PAD]\n[UNK]\n[CLS]\n[SEP]\nHé\nhe\nhé\n日\n日本\n".write(
            to: folder.url.appending(path: "vocab.txt"), atomically: true, encoding: .utf8)
        func tokens(_ config: String) throws -> [String] {
            try config.write(
                to: folder.url.appending(path: "tokenizer_config.json"), atomically: true, encoding: .utf8)
            return try Tokenizer.load(folder: folder.url).encode("Hé 日本", addSpecialTokens: true).tokens
        }
        #expect(try tokens("{}") == ["[CLS]", "he", "日", "[UNK]", "[SEP]"])
        #expect(try tokens(#"{"do_lower_case": false}"#) == ["[CLS]", "Hé", "日", "[UNK]", "[SEP]"])
        #expect(
            try tokens(#"{"strip_accents": false, "tokenize_chinese_chars": false}"#)
                == ["[CLS]", "hé", "日本", "[SEP]"])
    }

    // MARK: Damaged files

    @Test func damagedModelsAreErrors() throws {
        guard let source = try TestData.folder("models/stories260K") else { return }
        let bytes = try BareVocabulary.bytes(of: source.appending(path: "tokenizer.model"))
        #expect(try SentencePieceFile(bytes, file: nil).pieces.count == 512)
        // Cut anywhere but between two fields.
        for length in [1, 2, 3, 20, 100, 1000, bytes.count - 1] {
            #expect(throws: TokenizerError.self) { try SentencePieceFile(Array(bytes.prefix(length)), file: nil) }
        }
        // Changed bytes give a model or an error, never a crash or a huge allocation.
        var generator = TextGenerator(seed: 17)
        var failures = 0
        for _ in 0..<500 {
            var changed = bytes
            for _ in 0..<3 { changed[generator.next(below: changed.count)] = UInt8(generator.next(below: 256)) }
            do { _ = try SentencePieceFile(changed, file: nil) } catch { failures += 1 }
        }
        #expect(failures > 50)
    }

    @Test func protobufIsReadWithinBounds() throws {
        var reader = ProtobufReader([0x08, 0x96, 0x01, 0x12, 0x02, 0x68, 0x69, 0x1D, 0, 0, 0x80, 0x3F])
        guard case (1, .varint(150))? = try reader.next() else { Issue.record("varint"); return }
        guard case (2, .bytes(let bytes))? = try reader.next() else { Issue.record("bytes"); return }
        #expect(Array(bytes) == [0x68, 0x69])
        guard case (3, .fixed32(let bits))? = try reader.next() else { Issue.record("fixed"); return }
        #expect(Float(bitPattern: bits) == 1)
        #expect(try reader.next() == nil)
        let broken: [[UInt8]] = [
            [0x08], [0x12, 0x05, 0x61], [0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], [0x0B], [0x00, 0x01],
            [0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02], [0x0D, 1, 2],
        ]
        for bytes in broken {
            var reader = ProtobufReader(bytes[...])
            #expect(throws: ProtobufReader.Malformed.self) { try reader.next() }
        }
    }

    @Test func damagedTextFilesAreErrors() throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "x.tiktoken")
        for text in ["", "IQ== x\n", "IQ==\n", "?? 1\n", "IQ== 99999999999\n"] {
            try text.write(to: file, atomically: true, encoding: .utf8)
            #expect(throws: TokenizerError.self) { try Tokenizer.load(folder: folder.url) }
        }
    }
}

extension OrderedJSON {
    fileprivate func removing(_ key: String) -> OrderedJSON {
        guard case .object(let members) = self else { return self }
        return .object(members.filter { $0.key != key })
    }
}
