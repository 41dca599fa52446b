import Foundation
import TestSupport
import Testing

@testable import Tokenizers

/// Every component of the tokenizer.json format against Hugging Face tokenizers 0.23.3.
///
/// `Tests/Reference/tokenizer_components.py` writes the expected values.
struct ComponentTests {
    private static func lines() throws -> [JSONNode] {
        let file = try Fixtures.folder("tokenizers").appending(path: "components.jsonl")
        return try Data(contentsOf: file).split(separator: UInt8(ascii: "\n")).enumerated().map { number, line in
            JSONNode(value: try JSONParser.parse(Data(line), file: nil), file: "line \(number + 1)", pointer: "")
        }
    }

    private func tokenizer(_ line: JSONNode) throws -> Tokenizer {
        let description = try line.required("tokenizer")
        return try Tokenizer(
            description: JSONNode(value: description.value, file: line.file, pointer: ""), names: SpecialTokenNames())
    }

    private func check(_ encoding: Encoding, _ expected: JSONNode, _ label: Comment) throws {
        #expect(encoding.ids == (try expected.required("ids").elements().map { try $0.tokenID() }), label)
        let tokens = try expected.required("tokens").elements().map { Array(try $0.string().utf8) }
        #expect(encoding.tokens.map { Array($0.utf8) } == tokens, label)
        let offsets = try expected.required("offsets").elements().map { pair in
            let bounds = try pair.elements().map { try $0.integer(in: 0...Int.max) }
            return bounds[0]..<bounds[1]
        }
        #expect(encoding.offsets == offsets, label)
        if let types = try expected.optional("type_ids") {
            #expect(encoding.typeIDs == (try types.elements().map { try $0.tokenID() }), label)
        }
    }

    @Test func everyComponentAgrees() throws {
        let lines = try Self.lines()
        #expect(lines.count > 50)
        var count = 0
        for line in lines {
            guard let cases = try line.optional("cases") else { continue }
            let name = try line.required("name").string()
            let tokenizer = try tokenizer(line)
            for expected in try cases.elements() {
                let text = try expected.required("text").string()
                let special = try expected.required("special").bool()
                let label: Comment = "\(name), \(text.debugDescription)"
                let encoding: Encoding
                if let pair = try expected.optional("pair") {
                    encoding = tokenizer.encode(text, try pair.string(), addSpecialTokens: special)
                } else {
                    encoding = tokenizer.encode(text, addSpecialTokens: special)
                    var ids: [Int32] = []
                    tokenizer.encodeIDs(text, addSpecialTokens: special, into: &ids)
                    #expect(ids == encoding.ids, label)
                }
                try check(encoding, expected, label)
                for (key, skips) in [("decoded", false), ("plain", true)] {
                    guard let decoded = try expected.optional(key) else { continue }
                    let text = tokenizer.decode(encoding.ids, skipSpecialTokens: skips)
                    #expect(Array(text.utf8) == Array(try decoded.string().utf8), label)
                }
                count += 1
            }
        }
        #expect(count > 1000)
    }

    @Test func batchesAreCutAndFilled() throws {
        let lines = try Self.lines().filter { try $0.optional("batch") != nil }
        #expect(lines.count > 10)
        for line in lines {
            let tokenizer = try tokenizer(line)
            let expected = try line.required("batch").elements()
            let inputs = try expected.map { (try $0.required("text").string(), try $0.optional("pair")?.string()) }
            let encodings = try tokenizer.encode(
                batch: inputs.map { (first: $0.0, second: $0.1) }, addSpecialTokens: true)
            for (encoding, expected) in zip(encodings, expected) {
                try check(encoding, expected, "\(line.file ?? ""), \(expected.pointer)")
                let attention = try expected.required("attention").elements().map { try $0.tokenID() }
                #expect(encoding.attentionMask == attention)
            }
        }
    }

    @Test func impossibleLengthsAreErrors() throws {
        let base = TokenizerFile.byteLevel()
        func tokenizer(_ strategy: String, _ length: Int) throws -> Tokenizer {
            try TokenizerFile.load(
                base.replacing(
                    #""truncation": null"#,
                    with: #""truncation": {"max_length": \#(length), "strategy": "\#(strategy)", "stride": 0}"#))
        }
        #expect(throws: TokenizerError.self) {
            try tokenizer("OnlySecond", 2).encode(batch: [("abc", nil)], addSpecialTokens: false)
        }
        #expect(throws: TokenizerError.self) {
            try tokenizer("OnlyFirst", 2).encode(batch: [("a", "bcdef")], addSpecialTokens: false)
        }
        #expect(throws: TokenizerError.self) { try tokenizer("Shortest", 2) }
        let empty = try tokenizer("LongestFirst", 0).encode(batch: [("a", "b")], addSpecialTokens: false)
        #expect(empty[0].ids.isEmpty)
    }
}
