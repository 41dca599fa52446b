import Foundation
import Testing

@testable import Tokenizers

/// Normalisers: the text against Foundation's, and the places in the original.
struct NormalizerTests {
    private func normalize(_ text: String, _ normalizer: any Normalizer) -> (text: String, origins: [Range<Int>]) {
        text.withUTF8Bytes { utf8 in
            var aligned = AlignedText(utf8, base: 0, tracksOrigins: true)
            normalizer.normalize(&aligned)
            let origins = aligned.origins.map { Int($0.start)..<Int($0.end) }
            return (String(decoding: aligned.bytes, as: UTF8.self), origins)
        }
    }

    private func node(_ json: String) throws -> JSONNode {
        JSONNode(value: try JSONParser.parse(Data(json.utf8), file: nil), file: nil, pointer: "")
    }

    @Test func formsAgreeWithFoundation() {
        var generator = TextGenerator(seed: 3)
        for _ in 0..<1000 {
            let text = generator.text(upTo: 12)
            let expected: [(UnicodeNormalizer.Form, String)] = [
                (.nfc, text.precomposedStringWithCanonicalMapping), (.nfd, text.decomposedStringWithCanonicalMapping),
                // Foundation's own mapping leaves U+FF9E after a letter apart; NFKC is the composition of NFKD.
                (.nfkc, text.decomposedStringWithCompatibilityMapping.precomposedStringWithCanonicalMapping),
                (.nfkd, text.decomposedStringWithCompatibilityMapping),
            ]
            for (form, result) in expected {
                let normalized = normalize(text, UnicodeNormalizer(form))
                #expect(
                    Array(normalized.text.unicodeScalars) == Array(result.unicodeScalars),
                    "\(form) \(text.debugDescription)")
                #expect(normalized.origins.count == normalized.text.utf8.count)
            }
        }
    }

    /// Every scalar alone, and every composite from its decomposition.
    @Test func everyCompositeIsComposed() {
        for value in UInt32(0x80)...0x2FFFF {
            guard let scalar = Unicode.Scalar(value), scalar.isAssigned(by: UnicodeVersion.normalization) else {
                continue
            }
            let decomposed = String(Character(scalar)).decomposedStringWithCanonicalMapping
            guard decomposed.unicodeScalars.count > 1 || decomposed.unicodeScalars.first != scalar else { continue }
            let expected =
                scalar.properties.isFullCompositionExclusion
                ? decomposed.precomposedStringWithCanonicalMapping : String(Character(scalar))
            let composed = normalize(decomposed, UnicodeNormalizer(.nfc)).text
            #expect(Array(composed.unicodeScalars) == Array(expected.unicodeScalars), "U+\(String(value, radix: 16))")
        }
    }

    /// Values of the standard and of Hugging Face, where Foundation's composition goes wrong.
    @Test func compositionFollowsTheStandard() {
        let cases: [(String, [Unicode.Scalar])] = [
            ("\u{1112}\u{1161}\u{11AB}", ["\u{D55C}"]), ("\u{D558}\u{11AB}", ["\u{D55C}"]),
            ("\u{1113}\u{1161}", ["\u{1113}", "\u{1161}"]), ("\u{1112}\u{1176}", ["\u{1112}", "\u{1176}"]),
            ("\u{D55C}\u{11AB}", ["\u{D55C}", "\u{11AB}"]), ("\u{D558}\u{11A7}", ["\u{D558}", "\u{11A7}"]),
            ("\u{200F5}\u{308}", ["\u{200F5}", "\u{308}"]), ("\u{E006C}\u{323}", ["\u{E006C}", "\u{323}"]),
            ("\u{CCA}\u{CD5}", ["\u{CCB}"]), ("\u{F5}\u{308}", ["\u{1E4F}"]),
        ]
        for (text, expected) in cases {
            #expect(Array(normalize(text, UnicodeNormalizer(.nfc)).text.unicodeScalars) == expected)
        }
    }

    @Test func placesOfComposedAndDecomposed() {
        // A composite has the place of its first scalar, the parts of a decomposition that of the whole.
        let composed = normalize("ae\u{301}b", UnicodeNormalizer(.nfc))
        #expect(composed.text.unicodeScalars.count == 3)
        #expect(composed.origins == [0..<1, 1..<2, 1..<2, 4..<5])
        let decomposed = normalize("\u{E9}b", UnicodeNormalizer(.nfd))
        #expect(decomposed.origins == [0..<2, 0..<2, 0..<2, 2..<3])
    }

    @Test func prependAndReplace() throws {
        let chain = NormalizerChain(
            steps: try NormalizerRegistry.steps(
                from: node(
                    """
                    {"type": "Sequence", "normalizers": [
                      {"type": "Prepend", "prepend": "▁"},
                      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
                    """)))
        let result = normalize("a b", chain)
        #expect(result.text == "▁a▁b")
        #expect(result.origins == [0..<1, 0..<1, 0..<1, 0..<1, 1..<2, 1..<2, 1..<2, 2..<3])
        #expect(normalize("", chain).text == "")
        let shorter = ReplaceNormalizer.self
        let squeeze = try shorter.init(
            from: node(#"{"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}"#))
        let squeezed = normalize("a \t\u{3000}b", squeeze)
        #expect(squeezed.text == "a b")
        #expect(squeezed.origins == [0..<1, 3..<6, 6..<7])
    }

    @Test func lowercaseAndStrip() throws {
        let lowercase = try LowercaseNormalizer(from: node(#"{"type": "Lowercase"}"#))
        #expect(
            Array(normalize("ÀBc\u{130}ΑΣ", lowercase).text.unicodeScalars) == Array("àbci\u{307}ασ".unicodeScalars))
        let strip = try StripNormalizer(from: node(#"{"type": "Strip", "strip_left": true, "strip_right": false}"#))
        #expect(normalize("\u{3000} a ", strip).text == "a ")
        #expect(normalize("\u{3000} a ", strip).origins == [4..<5, 5..<6])
        #expect(normalize(" \n", strip).text == "")
    }
}
