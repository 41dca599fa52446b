import Foundation

extension BareVocabulary {
    private static let bertClasses: Set<String> = [
        "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "ConvBertTokenizer",
    ]

    /// A `vocab.txt`, one token a line: WordPiece as in BERT.
    func wordList(_ url: URL) throws -> JSONNode {
        let text = try Self.text(of: url)
        guard configuration.tokenizerClass.map(Self.bertClasses.contains) ?? true else {
            throw unsupportedClass(url.path, Self.bertClasses.sorted().joined(separator: ", "))
        }
        var lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        if lines.last?.isEmpty == true { lines.removeLast() }
        let tokens = lines.map { line in
            String(decoding: line.last == UInt8(ascii: "\r") ? line.dropLast() : line, as: UTF8.self)
        }
        let ids = Vocabulary(tokens.enumerated().map { ($1, Int32($0)) })
        func part(_ key: String, _ fallback: String) throws -> String { try configuration.token(key) ?? fallback }
        let unknown = try part("unk_token", "[UNK]")
        let start = try part("cls_token", "[CLS]")
        let separator = try part("sep_token", "[SEP]")
        let parts = [
            unknown, start, separator, try part("pad_token", "[PAD]"), try part("mask_token", "[MASK]"),
        ]
        for token in [unknown, start, separator] where ids.id(of: token) == nil {
            throw TokenizerError(.unknownToken, file: url.path, "the token \"\(token)\" is not in the file")
        }
        let stripsAccents = try configuration.optionalBool("strip_accents")
        let description: JSONValue = [
            "added_tokens": try addedTokens(
                own: parts.filter { ids.id(of: $0) != nil }.map { ($0, true) }, id: ids.id(of:), count: tokens.count),
            "normalizer": [
                "type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": .bool(try configuration.bool("tokenize_chinese_chars", default: true)),
                "strip_accents": stripsAccents.map { .bool($0) } ?? nil,
                "lowercase": .bool(try configuration.bool("do_lower_case", default: true)),
            ],
            "pre_tokenizer": ["type": "BertPreTokenizer"],
            "post_processor": Self.template(
                "\(start):0 $A:0 \(separator):0", "\(start):0 $A:0 \(separator):0 $B:1 \(separator):1"
            ) { ids.id(of: $0) ?? 0 },
            "decoder": ["type": "WordPiece", "prefix": "##", "cleanup": true],
            "model": [
                "type": "WordPiece", "unk_token": .string(unknown),
                "vocab": .object(tokens.enumerated().map { (key: $1, value: .integer($0)) }),
            ],
        ]
        return JSONNode(value: description, file: url.path, pointer: "")
    }

    /// The bytes of a text file, which must be UTF-8.
    static func text(of url: URL) throws -> ArraySlice<UInt8> {
        let bytes = try Self.bytes(of: url)
        guard bytes.withUnsafeBufferPointer({ UTF8Reading.isValid($0) }) else {
            throw TokenizerError(.malformedModel, file: url.path, "is not valid UTF-8")
        }
        return bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
    }
}
