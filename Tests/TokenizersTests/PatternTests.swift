import Foundation
import Testing

@testable import Tokenizers

/// Splitting: the hand-written scanners against the patterns they stand for, and the behaviours of Split.
struct PatternTests {
    private static let gpt2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    private static func wordsAndDigits(_ digits: String) -> String {
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\#(digits)| ?[^\s\p{L}\p{N}]+[\r\n]*"#
            + #"|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    static let patterns = [
        gpt2, wordsAndDigits(#"\p{N}"#), wordsAndDigits(#"\p{N}{1,3}"#), wordsAndDigits(#"\p{N}+"#),
    ]

    @Test(arguments: patterns)
    func scannersFollowTheirPatterns(pattern: String) throws {
        let scanner = try #require(PatternScanner(pattern: pattern))
        let expression = try RegularExpression(pattern)
        var generator = TextGenerator(seed: 5)
        for _ in 0..<3000 {
            generator.text(upTo: 20).withUTF8Bytes { utf8 in
                var expected: [Range<Int>] = []
                expression.forEachMatch(in: utf8) { expected.append($0) }
                var found: [Range<Int>] = []
                var start = 0
                while start < utf8.count {
                    let end = scanner.end(of: utf8, from: start, .shared)
                    found.append(start..<end)
                    start = end
                }
                #expect(found == expected, "\(String(decoding: utf8, as: UTF8.self).debugDescription)")
            }
        }
    }

    @Test func unknownPatternsHaveNoScanner() {
        #expect(PatternScanner(pattern: Self.gpt2 + " ") == nil)
        #expect(PatternScanner(pattern: #"\s+"#) == nil)
    }

    private func pieces(_ behavior: String, invert: Bool, _ text: String) throws -> [String] {
        let json = """
            {"type": "Split", "pattern": {"Regex": "[-.]"}, "behavior": "\(behavior)", "invert": \(invert)}
            """
        let value = try JSONParser.parse(Data(json.utf8), file: nil)
        let step = try SplitPreTokenizer.step(from: JSONNode(value: value, file: nil, pointer: ""))
        return text.withUTF8Bytes { utf8 in
            var split = PreTokenizedText(AlignedText(utf8, base: 0, tracksOrigins: false))
            step.preTokenize(&split)
            return split.pieces.map { String(decoding: split.text.bytes[$0], as: UTF8.self) }
        }
    }

    /// The examples of Hugging Face's documentation of `SplitDelimiterBehavior`, and their inversions.
    @Test func splitBehaviors() throws {
        let text = "the-final--countdown"
        #expect(try pieces("Removed", invert: false, text) == ["the", "final", "countdown"])
        #expect(try pieces("Isolated", invert: false, text) == ["the", "-", "final", "-", "-", "countdown"])
        #expect(try pieces("MergedWithPrevious", invert: false, text) == ["the-", "final-", "-", "countdown"])
        #expect(try pieces("MergedWithNext", invert: false, text) == ["the", "-final", "-", "-countdown"])
        #expect(try pieces("Contiguous", invert: false, text) == ["the", "-", "final", "--", "countdown"])
        #expect(try pieces("Removed", invert: true, text) == ["-", "-", "-"])
        #expect(try pieces("Isolated", invert: true, text) == ["the", "-", "final", "-", "-", "countdown"])
        #expect(try pieces("Removed", invert: false, "---").isEmpty)
    }

    private func matches(_ pattern: String, _ text: String) throws -> [String] {
        let expression = try RegularExpression(pattern)
        return text.withUTF8Bytes { utf8 in
            var found: [String] = []
            expression.forEachMatch(in: utf8) { found.append(String(decoding: utf8[$0], as: UTF8.self)) }
            return found
        }
    }

    @Test(arguments: ["(*LIMIT_MATCH=1)a", "a(?R)?b", "(a)(?1)", "(?<x>a)(?&x)", "(?P<x>a)(?P>x)", #"(a)\g<1>"#, "(a)(?-1)"])
    func constructsThatCouldStopHalfway(pattern: String) {
        let error = #expect(throws: TokenizerError.self) { try RegularExpression(pattern) }
        #expect(error?.code == .invalidPattern && error?.message.contains("not supported") == true)
    }

    @Test func constructsThatOnlyLookAlike() throws {
        #expect(try matches(#"\(\*"#, "a(*b") == ["(*"])
        #expect(try matches("(?-i:a)(?:b)*", "abb") == ["abb"])
    }

    @Test func expressionsMeanWhatOnigurumaMeans() throws {
        #expect(try matches(#"\s"#, "a\u{180E}b\u{3000}c\u{85}") == ["\u{3000}", "\u{85}"])
        #expect(try matches(#"[\s,]+"#, "a ,\u{2028}b") == [" ,\u{2028}"])
        #expect(try matches(#"\w+"#, "na\u{308}ive x_1² -") == ["na\u{308}ive", "x_1²"])
        #expect(try matches(#"\h+"#, "xyz 1aF\tg") == ["1aF"])
        #expect(try matches(#"^b"#, "a\nb") == ["b"])
        #expect(try matches(#"(?m:a.b)"#, "a\nb") == ["a\nb"])
        #expect(try matches(#"[[:digit:]]+"#, "a12") == ["12"])
        #expect(try matches("x*", "axb") == ["", "x", ""])
        #expect(try matches("a\u{0}b", "a\u{0}b\u{0}") == ["a\u{0}b"])
    }

    @Test func longSubjectsDoNotExhaustTheMatcher() throws {
        let text = String(repeating: "ab", count: 200_000)
        #expect(try matches("(?:a|b|ab)+", text).map(\.utf8.count) == [400_000])
    }
}
