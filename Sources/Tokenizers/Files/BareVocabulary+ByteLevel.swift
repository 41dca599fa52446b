import Foundation

extension BareVocabulary {
    private static let wordsAndDigits =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"#
        + #"|\s*[\r\n]+|\s+(?!\S)|\s+"#

    /// A `vocab.json` and a `merges.txt`, one merge a line: byte-level BPE as in GPT-2, or the like.
    func vocabularyAndMerges(_ vocabulary: URL, _ merges: URL) throws -> JSONNode {
        let table = try JSONNode(contentsOf: vocabulary)
        let ids = Vocabulary(try table.members().map { ($0.key, try $0.node.tokenID()) })
        let lines = try Self.text(of: merges).split(separator: UInt8(ascii: "\n"))
        let list: [JSONValue] = lines.enumerated().compactMap { index, line in
            let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            if line.isEmpty || index == 0 && line.starts(with: "#version".utf8) { return nil }
            return .string(String(decoding: line, as: UTF8.self))
        }
        return try byteLevel(table.value, ids, merges: list, file: vocabulary.path)
    }

    /// A tiktoken file: one token a line, its bytes in base64 and its rank.
    ///
    /// The rank is both the id and the priority of the merges that lead to the token.
    func tiktoken(_ url: URL) throws -> JSONNode {
        var entries: [(bytes: [UInt8], id: Int32)] = []
        for (number, line) in try Self.text(of: url).split(separator: UInt8(ascii: "\n")).enumerated() {
            let parts = line.split(separator: UInt8(ascii: " "))
            guard parts.count == 2, let rank = Int(String(decoding: parts[1], as: UTF8.self).trimmingSuffix("\r")),
                (0...Vocabulary.maximumID).contains(rank), let bytes = Self.base64(parts[0])
            else {
                throw TokenizerError(
                    .malformedModel, file: url.path, "line \(number + 1): expected a token in base64 and its rank")
            }
            entries.append((bytes, Int32(rank)))
        }
        guard !entries.isEmpty else { throw TokenizerError(.malformedModel, file: url.path, "holds no tokens") }
        entries.sort { $0.id < $1.id }
        let table: [(key: String, value: JSONValue)] = entries.map {
            (key: ByteAlphabet.encoded($0.bytes), value: .integer(Int($0.id)))
        }
        let ids = Vocabulary(zip(table, entries).map { ($0.key, $1.id) })
        let merges = Self.merges(of: entries)
        return try byteLevel(.object(table), ids, merges: merges, isRanked: true, file: url.path)
    }

    /// The bytes of base64 text, which may be a single "=" for no bytes at all.
    private static func base64(_ text: ArraySlice<UInt8>) -> [UInt8]? {
        if text.elementsEqual([UInt8(ascii: "=")]) { return [] }
        return Data(base64Encoded: Data(text)).map { Array($0) }
    }

    /// Every way to cut a token into two tokens, by the rank of the whole, then of the parts.
    private static func merges(of entries: [(bytes: [UInt8], id: Int32)]) -> [JSONValue] {
        let ranks = ByteStringTable(entries)
        // Halves of no token's length need no look.
        let lengths = Set(entries.map(\.bytes.count))
        var result: [JSONValue] = []
        for (bytes, _) in entries where bytes.count > 1 {
            var local: [(left: Int32, right: Int32, cut: Int)] = []
            bytes.withUnsafeBufferPointer { utf8 in
                for cut in 1..<utf8.count where lengths.contains(cut) && lengths.contains(utf8.count - cut) {
                    guard let left = ranks[UnsafeBufferPointer(rebasing: utf8[..<cut])],
                        let right = ranks[UnsafeBufferPointer(rebasing: utf8[cut...])]
                    else { continue }
                    local.append((left, right, cut))
                }
            }
            local.sort { ($0.left, $0.right) < ($1.left, $1.right) }
            for merge in local {
                result.append(
                    .array([
                        .string(ByteAlphabet.encoded(bytes[..<merge.cut])),
                        .string(ByteAlphabet.encoded(bytes[merge.cut...])),
                    ]))
            }
        }
        return result
    }

    /// The parts of a byte-level tokenizer that its class decides.
    private func byteLevel(
        _ vocabulary: JSONValue, _ ids: Vocabulary, merges: [JSONValue], isRanked: Bool = false, file: String
    ) throws -> JSONNode {
        let addsSpace = JSONValue.bool(try configuration.bool("add_prefix_space", default: false))
        var normalizer: JSONValue = nil
        var preTokenizer: JSONValue = ["type": "ByteLevel", "add_prefix_space": addsSpace, "use_regex": true]
        var post: JSONValue = ["type": "ByteLevel", "trim_offsets": false]
        var suffix = ""
        var own: [String] = []
        var unknown: JSONValue = nil
        func split(_ pattern: String) -> JSONValue {
            let split: JSONValue = ["type": "Split", "pattern": ["Regex": .string(pattern)], "behavior": "Isolated"]
            let bytes: JSONValue = ["type": "ByteLevel", "add_prefix_space": addsSpace, "use_regex": false]
            return ["type": "Sequence", "pretokenizers": [split, bytes]]
        }
        func id(_ token: String) throws -> Int {
            if let id = ids.id(of: token) { return Int(id) }
            if let id = try configuration.addedTokens().first(where: { $0.content == token })?.id { return id }
            // Tokens of this program's own follow the vocabulary in order.
            if let place = own.firstIndex(of: token) { return ids.tokens.count + place }
            throw TokenizerError(.unknownToken, file: file, "the token \"\(token)\" is not in the vocabulary")
        }
        func named(_ key: String, _ fallback: String) throws -> JSONValue {
            let token = try configuration.token(key) ?? fallback
            return [.string(token), .integer(try id(token))]
        }
        switch configuration.tokenizerClass {
        case "GPT2Tokenizer",
            nil where !isRanked && ids.id(of: "!</w>") == nil:
            if try configuration.bool("add_bos_token", default: false) {
                let bos = try configuration.token("bos_token") ?? "<|endoftext|>"
                post = try Self.template("\(bos):0 $A:0", "\(bos):0 $A:0 $B:1") { Int32(try id($0)) }
            }
        case "Qwen2Tokenizer":
            normalizer = ["type": "NFC"]
            preTokenizer = split(Self.wordsAndDigits)
        case "RobertaTokenizer" where !isRanked:
            post = [
                "type": "RobertaProcessing", "sep": try named("sep_token", "</s>"),
                "cls": try named("cls_token", "<s>"),
                "trim_offsets": .bool(try configuration.bool("trim_offsets", default: true)),
                "add_prefix_space": addsSpace,
            ]
        case "CLIPTokenizer" where !isRanked:
            suffix = "</w>"
            unknown = .string(try configuration.token("unk_token") ?? "<|endoftext|>")
            normalizer = [
                "type": "Sequence",
                "normalizers": [
                    ["type": "NFC"], ["type": "Replace", "pattern": ["Regex": #"\s+"#], "content": " "],
                    ["type": "Lowercase"],
                ],
            ]
            preTokenizer = [
                "type": "Sequence",
                "pretokenizers": [
                    [
                        "type": "Split", "pattern": ["Regex": .string(PatternScanner.clipPattern)],
                        "behavior": "Removed", "invert": true,
                    ],
                    ["type": "ByteLevel", "add_prefix_space": false, "use_regex": true],
                ],
            ]
            post = [
                "type": "RobertaProcessing", "sep": try named("eos_token", "<|endoftext|>"),
                "cls": try named("bos_token", "<|startoftext|>"), "trim_offsets": false,
                "add_prefix_space": false,
            ]
        case "WhisperTokenizer":
            if isRanked, try configuration.addedTokens().isEmpty { own = WhisperTokens.all }
            post = try whisperTemplate { Int32(try id($0)) }
        case nil where isRanked: preTokenizer = split(Self.wordsAndDigits.replacing(#"\p{N}|"#, with: #"\p{N}{1,3}|"#))
        default:
            throw unsupportedClass(
                file, "GPT2Tokenizer", "Qwen2Tokenizer", "RobertaTokenizer", "CLIPTokenizer", "WhisperTokenizer")
        }
        let model: JSONValue = [
            "type": "BPE", "unk_token": unknown, "end_of_word_suffix": .string(suffix),
            // tiktoken takes a whole piece that is a token as it is.
            "ignore_merges": .bool(isRanked), "vocab": vocabulary, "merges": .array(merges),
        ]
        let description: JSONValue = [
            "added_tokens": try addedTokens(
                own: own.map { ($0, true) }, id: ids.id(of:), count: ids.tokens.count),
            "normalizer": normalizer, "pre_tokenizer": preTokenizer, "post_processor": post,
            "decoder": ["type": "ByteLevel"], "model": model,
        ]
        return JSONNode(value: description, file: file, pointer: "")
    }

    /// Whisper's prefix: language and task only where the configuration names them.
    private func whisperTemplate(id: (String) throws -> Int32) throws -> JSONValue {
        var prefix = ["<|startoftranscript|>"]
        if let language = try configuration.string("language") { prefix.append("<|\(language)|>") }
        if let task = try configuration.string("task") { prefix.append("<|\(task)|>") }
        if !(try configuration.bool("predict_timestamps", default: false)) { prefix.append("<|notimestamps|>") }
        let before = prefix.map { "\($0):0" }.joined(separator: " ")
        let end = try configuration.token("eos_token") ?? "<|endoftext|>"
        return try Self.template("\(before) $A:0 \(end):0", "\(before) $A:0 $B:1 \(end):1", id: id)
    }
}

extension String {
    fileprivate func trimmingSuffix(_ suffix: String) -> String {
        hasSuffix(suffix) ? String(dropLast(suffix.count)) : self
    }
}
