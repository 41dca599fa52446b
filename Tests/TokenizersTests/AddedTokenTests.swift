import Foundation
import Testing

@testable import Tokenizers

/// Added tokens, post-processors and the files beside `tokenizer.json`.
struct AddedTokenTests {
    private func added(_ content: String, id: Int, _ flags: String...) -> String {
        let names = ["single_word", "lstrip", "rstrip", "normalized", "special"]
        let members = names.map { "\"\($0)\": \(flags.contains($0))" }.joined(separator: ", ")
        return #"{"id": \#(id), "content": "\#(content)", \#(members)}"#
    }

    private func tokenizer(_ tokens: String..., normalizer: String = "null") throws -> Tokenizer {
        let list = "[" + tokens.joined(separator: ", ") + "]"
        return try TokenizerFile.load(TokenizerFile.byteLevel(addedTokens: list, normalizer: normalizer))
    }

    @Test func stripping() throws {
        let tokenizer = try tokenizer(
            added("[L]", id: 300, "lstrip"), added("[R]", id: 301, "rstrip"), added("[N]", id: 302))
        let encoding = tokenizer.encode("a [L] b [R]  c [N] d", addSpecialTokens: false)
        // The text of the token holds the space it took along.
        #expect(encoding.tokens == ["a", " [L]", "Ġ", "b", "Ġ", "[R]  ", "c", "Ġ", "[N]", "Ġ", "d"])
        #expect(encoding.offsets.map(\.lowerBound) == [0, 1, 5, 6, 7, 8, 13, 14, 15, 18, 19])
        #expect(tokenizer.vocabularySize == 303)
        #expect(tokenizer.addedTokens.map(\.stripsLeft) == [true, false, false])
    }

    @Test func singleWords() throws {
        let tokenizer = try tokenizer(added("the", id: 300, "single_word"))
        #expect(tokenizer.encode("the", addSpecialTokens: false).ids == [300])
        #expect(tokenizer.encode("(the)", addSpecialTokens: false).ids.contains(300))
        for text in ["thee", "athe", "éthe", "the_", "the9"] {
            #expect(!tokenizer.encode(text, addSpecialTokens: false).ids.contains(300), "\(text)")
        }
    }

    @Test func leftmostLongest() throws {
        let tokenizer = try tokenizer(added("<a>", id: 300), added("<a><b>", id: 301), added("b><", id: 302))
        #expect(tokenizer.encode("<a><b><a>", addSpecialTokens: false).ids == [301, 300])
        #expect(tokenizer.encode("<a>b><a>", addSpecialTokens: false).ids.prefix(2) == [300, 302])
    }

    @Test func normalizedTokensAreFoundInNormalizedText() throws {
        let lower = #"{"type": "Lowercase"}"#
        let tokenizer = try tokenizer(
            added("Yes", id: 300, "normalized"), added("No", id: 301), normalizer: lower)
        #expect(tokenizer.encode("YES", addSpecialTokens: false).ids == [300])
        #expect(tokenizer.encode("No", addSpecialTokens: false).ids == [301])
        #expect(tokenizer.encode("NO", addSpecialTokens: false).tokens == ["n", "o"])
    }

    @Test func specialTokensCanBeLeftOut() throws {
        let tokenizer = try tokenizer(added("<s>", id: 300, "special"), added("<t>", id: 301))
        let ids = tokenizer.encode("<s>a<t>", addSpecialTokens: false).ids
        #expect(tokenizer.decode(ids, skipSpecialTokens: false) == "<s>a<t>")
        #expect(tokenizer.decode(ids, skipSpecialTokens: true) == "a<t>")
    }

    @Test func templatesAndTrimmedOffsets() throws {
        let template = """
            {"type": "Sequence", "processors": [
              {"type": "ByteLevel", "trim_offsets": true, "add_prefix_space": false},
              {"type": "TemplateProcessing",
               "single": [{"SpecialToken": {"id": "B", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                          {"SpecialToken": {"id": "E", "type_id": 0}}],
               "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
               "special_tokens": {"B": {"id": "B", "ids": [300, 301], "tokens": ["<b>", "<c>"]},
                                  "E": {"id": "E", "ids": [301], "tokens": ["<c>"]}}}]}
            """
        let tokens = "[" + added("<b>", id: 300, "special") + "," + added("<c>", id: 301, "special") + "]"
        let tokenizer = try TokenizerFile.load(
            TokenizerFile.byteLevel(merges: ["Ġ a"], addedTokens: tokens, postProcessor: template))
        let encoding = tokenizer.encode("x a", addSpecialTokens: true)
        #expect(encoding.ids == [300, 301, 120, 256, 301])
        #expect(encoding.tokens == ["<b>", "<c>", "x", "Ġa", "<c>"])
        #expect(encoding.offsets == [0..<0, 0..<0, 0..<1, 2..<3, 0..<0])
        #expect(tokenizer.encode("x a", addSpecialTokens: false).ids == [120, 256])
        var ids: [Int32] = []
        tokenizer.encodeIDs("x a", addSpecialTokens: true, into: &ids)
        #expect(ids == encoding.ids)
        #expect(tokenizer.encode("", addSpecialTokens: true).ids == [300, 301, 301])
    }

    @Test func namesOfSpecialTokens() throws {
        let tokens = "[" + added("<b>", id: 300, "special") + "," + added("<e>", id: 301, "special") + "]"
        let text = TokenizerFile.byteLevel(addedTokens: tokens)
        let tokenizer = try TokenizerFile.load(
            text,
            files: [
                "tokenizer_config.json":
                    #"{"bos_token": "<b>", "eos_token": {"content": "<e>", "lstrip": false}, "unk_token": null}"#,
                "special_tokens_map.json":
                    #"{"eos_token": "<b>", "pad_token": {"content": "<e>"}, "unk_token": "<b>"}"#,
            ])
        #expect(tokenizer.bosTokenID == 300 && tokenizer.eosTokenID == 301)
        #expect(tokenizer.padTokenID == 301 && tokenizer.unkTokenID == nil)
        let alone = try TokenizerFile.load(text)
        #expect(alone.bosTokenID == nil && alone.eosTokenID == nil)
    }

    @Test func truncationAndPaddingAreReadNotApplied() throws {
        let text = TokenizerFile.byteLevel()
            .replacing(
                #""truncation": null"#,
                with: #""truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Left"}"#
            )
            .replacing(
                #""padding": null"#,
                with:
                    #""padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 5, "pad_type_id": 0, "pad_token": "x"}"#
            )
        let tokenizer = try TokenizerFile.load(text)
        #expect(tokenizer.truncation?.maximumLength == 2 && tokenizer.truncation?.side == .left)
        #expect(tokenizer.padding?.fixedLength == 8 && tokenizer.padding?.padID == 5)
        #expect(tokenizer.encode("abc", addSpecialTokens: true).ids.count == 3)
    }
}
