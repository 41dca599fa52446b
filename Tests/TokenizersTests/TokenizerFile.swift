import Foundation
import TestSupport

@testable import Tokenizers

/// A tokenizer file made for one test.
struct TokenizerFile {
    /// A small byte-level BPE: the bytes, then what `merges` spell.
    static func byteLevel(
        merges: [String] = [], addedTokens: String = "[]", normalizer: String = "null",
        preTokenizer: String = #"{"type": "ByteLevel", "add_prefix_space": false}"#, postProcessor: String = "null",
        options: String = ""
    ) -> String {
        var tokens = (0..<256).map { ByteAlphabet.encoded(CollectionOfOne(UInt8($0))) }
        tokens += merges.map { $0.replacing(" ", with: "") }
        let entries: [(key: String, value: JSONValue)] = tokens.enumerated().map { ($1, .integer($0)) }
        let vocabulary = String(decoding: JSONWriter.bytes(of: .object(entries)), as: UTF8.self)
        let mergeText = merges.map { "\"\($0)\"" }.joined(separator: ", ")
        return """
            {"version": "1.0", "truncation": null, "padding": null, "added_tokens": \(addedTokens),
             "normalizer": \(normalizer), "pre_tokenizer": \(preTokenizer), "post_processor": \(postProcessor),
             "decoder": {"type": "ByteLevel"},
             "model": {"type": "BPE", \(options) "vocab": \(vocabulary), "merges": [\(mergeText)]}}
            """
    }

    /// Loads a tokenizer from the text of a `tokenizer.json`, with files beside it.
    static func load(_ text: String, files: [String: String] = [:]) throws -> Tokenizer {
        let folder = try TemporaryFolder()
        try text.write(to: folder.url.appending(path: "tokenizer.json"), atomically: true, encoding: .utf8)
        for (name, content) in files {
            try content.write(to: folder.url.appending(path: name), atomically: true, encoding: .utf8)
        }
        return try Tokenizer.load(folder: folder.url)
    }

    /// The error that loading gives.
    static func failure(_ text: String) -> TokenizerError? {
        do {
            _ = try load(text)
            return nil
        } catch {
            return error as? TokenizerError
        }
    }
}

/// The same random texts in every run.
struct TextGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 2 + 1 }

    mutating func next(below bound: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int((state >> 33) % UInt64(bound))
    }

    private static let fragments: [String] = [
        " ", "  ", "\t", "\n", "\r\n", "\n\n  ", "\u{A0}", "\u{3000}", "\u{85}", "\u{2028}", "\u{0}", "the", "Hello",
        "don't",
        "I'LL", "'\u{17F}x", "we've", "''s", "123", "4567890", "½", "Ⅳ", "٣", "naïve", "nai\u{308}ve", "Ω", "ﬁ",
        "Straße",
        "İ", "日本語", "カﾞ", "한국어", "\u{1112}\u{1161}\u{11AB}", "नमस्ते", "ไทย", "مرحبا", "שלום", "👍🏽", "👨‍👩‍👧", "🇩🇪",
        "e\u{301}\u{323}",
        "_", "__init__", "<s>", "▁", "Ġ", "def f(x):", "!!!", "...", "—", "'", "\"", "\\", "$5", "\u{200B}", "\u{FEFF}",
    ]

    /// A text of up to `count` fragments, some of them single random scalars.
    mutating func text(upTo count: Int) -> String {
        var text = ""
        for _ in 0..<next(below: count + 1) {
            if next(below: 3) == 0 {
                let ranges = [
                    0x20..<0x7F, 0xA0..<0x250, 0x370..<0x600, 0x900..<0xE80, 0x1100..<0x1200, 0x1E00..<0x2400,
                    0x3040..<0x3100, 0x4E00..<0x5000, 0xAC00..<0xAE00, 0x1F300..<0x1F700,
                ]
                let range = ranges[next(below: ranges.count)]
                let scalar = Unicode.Scalar(UInt32(range.lowerBound + next(below: range.count)))!
                // Libraries differ in the Unicode version they know; Unicode 13 is known to all.
                if let age = scalar.properties.age, age.major <= 13 { text.unicodeScalars.append(scalar) }
            } else {
                text += Self.fragments[next(below: Self.fragments.count)]
            }
        }
        return text
    }
}
