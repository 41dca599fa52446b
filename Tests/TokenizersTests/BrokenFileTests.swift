import Foundation
import TestSupport
import Testing

@testable import Tokenizers

/// A file that cannot be used says what is wrong and where.
struct BrokenFileTests {
    private func expect(
        _ text: String, _ code: TokenizerError.Code, at pointer: String?, saying parts: String...,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        guard let error = TokenizerFile.failure(text) else {
            Issue.record("the file was accepted", sourceLocation: sourceLocation)
            return
        }
        #expect(error.code == code, sourceLocation: sourceLocation)
        #expect(error.pointer == pointer, sourceLocation: sourceLocation)
        #expect(error.description.contains("tokenizer.json"), sourceLocation: sourceLocation)
        for part in parts { #expect(error.description.contains(part), "\(error)", sourceLocation: sourceLocation) }
    }

    private let good = TokenizerFile.byteLevel(merges: ["a b"])

    @Test func theUnbrokenFileLoads() {
        #expect(TokenizerFile.failure(good) == nil)
    }

    @Test func truncatedJSON() {
        for count in [1, good.utf8.count / 3, good.utf8.count - 2] {
            let text = String(decoding: Array(good.utf8).prefix(count), as: UTF8.self)
            expect(text, .malformedJSON, at: nil, saying: "line ", "truncated")
        }
        expect("", .malformedJSON, at: nil, saying: "line 1, column 1")
        expect(good + "x", .malformedJSON, at: nil, saying: "unexpected text")
        expect("[1, 2,]", .malformedJSON, at: nil, saying: "column 7")
        expect(#"{"a": "\ud83d"}"#, .malformedJSON, at: nil, saying: "surrogate")
        expect(String(repeating: "[", count: 100_000), .malformedJSON, at: nil, saying: "deep")
    }

    @Test func missingFile() throws {
        let folder = try TemporaryFolder()
        #expect { try Tokenizer.load(folder: folder.url) } throws: { error in
            (error as? TokenizerError)?.code == .unreadable && "\(error)".contains("tokenizer.json")
        }
    }

    @Test func unknownKinds() {
        expect(
            good.replacing(#""type": "BPE""#, with: #""type": "Bigram""#), .unsupported, at: "/model/type",
            saying: "Bigram", "supported: BPE")
        expect(
            TokenizerFile.byteLevel(
                normalizer: #"{"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "NFX"}]}"#),
            .unsupported, at: "/normalizer/normalizers/1/type", saying: "NFX", "NFKD")
        expect(
            TokenizerFile.byteLevel(preTokenizer: #"{"type": "Sequence", "pretokenizers": [{"type": "Chop"}]}"#),
            .unsupported, at: "/pre_tokenizer/pretokenizers/0/type", saying: "Chop", "ByteLevel")
        expect(
            TokenizerFile.byteLevel(postProcessor: #"{"type": "Staple"}"#), .unsupported, at: "/post_processor/type",
            saying: "Staple")
        expect(
            good.replacing(#""decoder": {"type": "ByteLevel"}"#, with: #""decoder": {"type": "Magic"}"#), .unsupported,
            at: "/decoder/type", saying: "Magic")
    }

    @Test func unknownOptions() {
        expect(
            TokenizerFile.byteLevel(options: #""shuffle": true,"#), .unsupported, at: "/model/shuffle",
            saying: "shuffle")
        expect(
            TokenizerFile.byteLevel(preTokenizer: #"{"type": "ByteLevel", "reverse": 1}"#), .unsupported,
            at: "/pre_tokenizer/reverse", saying: "reverse")
        expect(
            good.replacing(#""version""#, with: #""extra": 1, "version""#), .unsupported, at: "/extra", saying: "extra")
        expect(
            TokenizerFile.byteLevel(options: #""dropout": 0.1,"#), .unsupported, at: "/model/dropout", saying: "random")
        #expect(TokenizerFile.failure(TokenizerFile.byteLevel(options: #""dropout": 0.0,"#)) == nil)
        expect(
            TokenizerFile.byteLevel(
                preTokenizer: #"{"type": "Split", "pattern": {"String": "a"}, "behavior": "Sideways"}"#),
            .unsupported, at: "/pre_tokenizer/behavior", saying: "MergedWithNext")
    }

    @Test func mergesThatNameMissingTokens() {
        expect(
            good.replacing(#""a b""#, with: #""a bc""#), .unknownToken, at: "/model/merges/0", saying: "\"bc\"")
        expect(
            good.replacing(#""a b""#, with: #""a c""#), .unknownToken, at: "/model/merges/0", saying: "\"ac\"")
        expect(good.replacing(#""a b""#, with: #""ab""#), .invalidValue, at: "/model/merges/0", saying: "one space")
        expect(good.replacing(#""a b""#, with: #""a b c""#), .invalidValue, at: "/model/merges/0")
        expect(good.replacing(#""a b""#, with: #"["a"]"#), .invalidValue, at: "/model/merges/0")
        expect(good.replacing(#""a b""#, with: "7"), .invalidValue, at: "/model/merges/0")
    }

    @Test func idsOutOfRange() {
        for id in ["-1", "16777216", "99999999999"] {
            expect(
                good.replacing(#""ab": 256"#, with: #""ab": \#(id)"#), .invalidValue, at: "/model/vocab/ab",
                saying: id, "out of range")
        }
        expect(good.replacing(#""ab": 256"#, with: #""ab": "256""#), .invalidValue, at: "/model/vocab/ab")
        expect(good.replacing(#""ab": 256"#, with: #""ab": 1.5"#), .invalidValue, at: "/model/vocab/ab")
    }

    @Test func addedTokensThatContradictTheVocabulary() {
        let flags = #""single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true"#
        expect(
            TokenizerFile.byteLevel(addedTokens: #"[{"id": 5, "content": "<s>", \#(flags)}]"#), .invalidValue,
            at: "/added_tokens/0", saying: "<s>", "5")
        expect(
            TokenizerFile.byteLevel(addedTokens: #"[{"id": 900, "content": "a", \#(flags)}]"#), .invalidValue,
            at: "/added_tokens/0", saying: "900")
        expect(
            TokenizerFile.byteLevel(
                addedTokens: #"[{"id": 900, "content": "x1", \#(flags)}, {"id": 900, "content": "x2", \#(flags)}]"#),
            .invalidValue, at: "/added_tokens/1", saying: "x1", "x2")
        expect(TokenizerFile.byteLevel(addedTokens: #"[{"content": "<s>"}]"#), .invalidValue, at: "/added_tokens/0")
    }

    @Test func templatesThatNameMissingTokens() {
        let template =
            #"{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "X", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {TABLE}}"#
        expect(
            TokenizerFile.byteLevel(postProcessor: template.replacing("TABLE", with: "")), .unknownToken,
            at: "/post_processor/single/0/SpecialToken/id", saying: "X")
        let table = #""X": {"id": "X", "ids": [999], "tokens": ["X"]}"#
        expect(
            TokenizerFile.byteLevel(postProcessor: template.replacing("TABLE", with: table)), .unknownToken,
            at: "/post_processor/special_tokens/X/ids/0", saying: "999")
    }

    @Test func patternsThatDoNotCompile() {
        expect(
            TokenizerFile.byteLevel(
                preTokenizer: #"{"type": "Split", "pattern": {"Regex": "a(b"}, "behavior": "Isolated"}"#),
            .invalidPattern, at: "/pre_tokenizer/pattern/Regex", saying: "a(b", "parenthesis")
    }

    @Test func unknownTokenThatIsMissing() {
        expect(
            TokenizerFile.byteLevel(options: #""unk_token": "<unk>","#), .unknownToken, at: "/model/unk_token",
            saying: "<unk>")
    }
}
