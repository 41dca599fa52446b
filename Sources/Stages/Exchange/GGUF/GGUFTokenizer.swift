import Foundation
import TensorCore
import Tokenizers

/// A base's tokenizer as metadata of a GGUF file.
///
/// llama.cpp has programs for a few ways of cutting text and knows them by name; a tokenizer that cuts otherwise is refused,
/// since it would give other ids without a word.
struct GGUFTokenizer {
    /// Keys and values, without those of the model.
    private(set) var metadata: [(key: String, value: GGUFFile.Value)] = []
    /// What the reader does otherwise than the tokenizer's own description.
    private(set) var notes: [String] = []

    /// Numbers of `tokenizer.ggml.token_type`.
    private enum Kind: Int32 {
        case normal = 1, unknown = 2, control = 3, userDefined = 4, unused = 5, byte = 6
    }

    /// - Parameters:
    ///   - folder: the base's, or that of a merged checkpoint.
    ///   - vocabularySize: rows of the embedding; ids that the tokenizer does not have are filled up.
    /// - Throws: ``StageError`` for a tokenizer that llama.cpp has no program for.
    init(folder: URL, vocabularySize: Int) throws {
        let file = folder.appending(path: "tokenizer.json")
        let path = file.path(percentEncoded: false)
        guard let data = FileManager.default.contents(atPath: path) else {
            throw StageError(
                "base_incomplete",
                "\(folder.path) has no tokenizer.json, from which the tokenizer of a GGUF file is made")
        }
        let description = try TensorCore.JSONValue(data, file: path)
        let tokenizer = try Tokenizer.load(folder: folder)
        guard let model = description["model"], model["type"]?.string ?? "BPE" == "BPE",
            case .object(let vocabulary)? = model["vocab"], case .array(let merges)? = model["merges"]
        else { throw Self.refusal(path, "its model is not BPE") }
        let pairs = try merges.map { try Self.pair($0, path) }
        let isSentencePiece = model["byte_fallback"] == .bool(true)
        if isSentencePiece {
            try Self.requireSentencePiece(description, path)
        } else {
            let name = try Self.preTokenizer(description, path)
            metadata += [("tokenizer.ggml.model", .string("gpt2")), ("tokenizer.ggml.pre", .string(name))]
            if let normalizer = description["normalizer"], normalizer != .null {
                guard normalizer["type"]?.string == "NFC" else { throw Self.refusal(path, "it normalises text") }
                notes.append(
                    "llama.cpp does not bring text into Unicode's form NFC, as this tokenizer does; do so before")
            }
        }
        var tokens = [[UInt8]?](repeating: nil, count: vocabularySize)
        var kinds = [Kind](repeating: .unused, count: vocabularySize)
        func put(_ id: Int, _ text: String, _ kind: Kind) throws {
            guard tokens.indices.contains(id) else {
                throw Self.refusal(path, "it has the id \(id), and the model \(vocabularySize) rows")
            }
            tokens[id] = Array(text.utf8)
            kinds[id] = kind
        }
        let unknown = model["unk_token"]?.string
        for member in vocabulary {
            guard case .number(let digits) = member.value, let id = Int(digits) else {
                throw Self.refusal(path, "the id of \(member.key) is no number")
            }
            let isByte = isSentencePiece && member.key.utf8.count == 6 && member.key.hasPrefix("<0x")
            try put(id, member.key, isByte ? .byte : member.key == unknown ? .unknown : .normal)
        }
        if case .array(let added)? = description["added_tokens"] {
            for entry in added {
                guard let text = entry["content"]?.string, case .number(let digits)? = entry["id"], let id = Int(digits)
                else { continue }
                let kind: Kind = entry["special"] == .bool(true) ? .control : .userDefined
                try put(id, text, text == unknown ? .unknown : kind)
            }
        }
        if isSentencePiece {
            metadata += [("tokenizer.ggml.model", .string("llama")), ("tokenizer.ggml.pre", .string("default"))]
        }
        metadata.append(
            ("tokenizer.ggml.tokens", .strings(tokens.enumerated().map { $1 ?? Array("[PAD\($0)]".utf8) })))
        if isSentencePiece {
            metadata.append(("tokenizer.ggml.scores", .float32s(Self.scores(tokens, kinds, pairs))))
        }
        metadata.append(("tokenizer.ggml.token_type", .int32s(kinds.map(\.rawValue))))
        if !isSentencePiece {
            metadata.append(("tokenizer.ggml.merges", .strings(pairs.map { $0.left + [0x20] + $0.right })))
        }
        addSpecialTokens(tokenizer)
        metadata.append(("tokenizer.ggml.add_space_prefix", .bool(isSentencePiece)))
        if let template = try Self.chatTemplate(in: folder) {
            metadata.append(("tokenizer.chat_template", .string(template)))
        }
    }

    private static func refusal(_ path: String, _ why: String) -> StageError {
        StageError(
            "unsupported_export", "\(path) cannot be written for llama.cpp: \(why); export for peft or vllm instead")
    }

    // MARK: Pieces

    private static func pair(_ merge: TensorCore.JSONValue, _ path: String) throws -> (left: [UInt8], right: [UInt8]) {
        switch merge {
        case .string(let text):
            let parts = text.utf8.split(separator: 0x20, maxSplits: 1)
            if parts.count == 2 { return (Array(parts[0]), Array(parts[1])) }
        case .array(let parts):
            if parts.count == 2, let left = parts[0].string, let right = parts[1].string {
                return (Array(left.utf8), Array(right.utf8))
            }
        default: break
        }
        throw refusal(path, "one of its merges is no pair")
    }

    /// SentencePiece gives a piece the score `−k` when it was the k-th that merging made; ties go to the left in both
    /// programs, so the first merge that makes a piece decides.
    private static func scores(
        _ tokens: [[UInt8]?], _ kinds: [Kind], _ pairs: [(left: [UInt8], right: [UInt8])]
    ) -> [Float] {
        var ranks: [[UInt8]: Int] = [:]
        for (rank, pair) in pairs.enumerated() {
            let whole = pair.left + pair.right
            if ranks[whole] == nil { ranks[whole] = rank }
        }
        return zip(tokens, kinds).map { token, kind in
            guard kind == .normal, let token else { return 0 }
            // What no merge makes is only ever a letter by itself.
            return -Float(ranks[token] ?? pairs.count)
        }
    }

    // MARK: How text is cut

    /// Names of the ways of cutting that llama.cpp has, by the pattern.
    private static let patterns: [(pattern: String, name: String)] = [
        (
            #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
            "llama-bpe"
        ),
        (
            #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
            "qwen2"
        ),
        (#"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#, "gpt-2"),
    ]

    private static func preTokenizer(_ description: TensorCore.JSONValue, _ path: String) throws -> String {
        var parts = description["pre_tokenizer"].map { [$0] } ?? []
        if parts.first?["type"]?.string == "Sequence", case .array(let list)? = parts[0]["pretokenizers"] {
            parts = list
        }
        guard let last = parts.last, last["type"]?.string == "ByteLevel" else {
            throw refusal(path, "it does not work on bytes")
        }
        guard last["add_prefix_space"] != .bool(true) else {
            throw refusal(path, "it puts a space before each text")
        }
        if parts.count == 1, last["use_regex"] != .bool(false) { return "gpt-2" }
        if parts.count == 2, last["use_regex"] == .bool(false), parts[0]["type"]?.string == "Split",
            parts[0]["behavior"]?.string == "Isolated", parts[0]["invert"] != .bool(true),
            let pattern = parts[0]["pattern"]?["Regex"]?.string,
            let known = patterns.first(where: { $0.pattern == pattern })
        {
            // llama.cpp looks for whole words first where it cuts as LLaMA 3 does, and nowhere else.
            let ignoresMerges = description["model"]?["ignore_merges"] == .bool(true)
            guard ignoresMerges == (known.name == "llama-bpe") else {
                throw refusal(path, "ignore_merges is \(ignoresMerges), and \(known.name) is read the other way there")
            }
            return known.name
        }
        throw refusal(path, "llama.cpp has no name for the way it cuts text into words")
    }

    private static func requireSentencePiece(_ description: TensorCore.JSONValue, _ path: String) throws {
        let preTokenizer = description["pre_tokenizer"] ?? .null
        if preTokenizer["type"]?.string == "Metaspace" { return }
        var steps = description["normalizer"].map { [$0] } ?? []
        if steps.first?["type"]?.string == "Sequence", case .array(let list)? = steps[0]["normalizers"] { steps = list }
        let isLegacy =
            preTokenizer == .null && steps.count == 2 && steps[0]["type"]?.string == "Prepend"
            && steps[1]["type"]?.string == "Replace"
        guard isLegacy else { throw refusal(path, "it does not treat spaces as SentencePiece does") }
    }

    // MARK: Special tokens

    private mutating func addSpecialTokens(_ tokenizer: Tokenizer) {
        let ids: [(String, Int32?)] = [
            ("bos", tokenizer.bosTokenID), ("eos", tokenizer.eosTokenID), ("unknown", tokenizer.unkTokenID),
            ("padding", tokenizer.padTokenID),
        ]
        for case (let name, let id?) in ids {
            metadata.append(("tokenizer.ggml.\(name)_token_id", .uint32(UInt32(id))))
        }
        // What stands around a text with special tokens is what a reader shall add by itself.
        let plain = tokenizer.encode("a", addSpecialTokens: false).ids
        let whole = tokenizer.encode("a", addSpecialTokens: true).ids
        let start = whole.count > plain.count && whole.first == tokenizer.bosTokenID && tokenizer.bosTokenID != nil
        let end =
            whole.count - (start ? 1 : 0) > plain.count && whole.last == tokenizer.eosTokenID
            && tokenizer.eosTokenID != nil
        metadata.append(("tokenizer.ggml.add_bos_token", .bool(start)))
        metadata.append(("tokenizer.ggml.add_eos_token", .bool(end)))
        if whole.count != plain.count + (start ? 1 : 0) + (end ? 1 : 0) {
            notes.append("the tokenizer adds tokens that llama.cpp does not add; write them into the prompt")
        }
    }

    /// The text of the default chat template.
    private static func chatTemplate(in folder: URL) throws -> String? {
        let file = folder.appending(path: "chat_template.jinja").path(percentEncoded: false)
        if let data = FileManager.default.contents(atPath: file) { return String(decoding: data, as: UTF8.self) }
        let configuration = folder.appending(path: "tokenizer_config.json").path(percentEncoded: false)
        guard let data = FileManager.default.contents(atPath: configuration) else { return nil }
        switch try TensorCore.JSONValue(data, file: configuration)["chat_template"] {
        case .string(let text)?: return text
        case .array(let list)?: return list.first { $0["name"]?.string == "default" }?["template"]?.string
        default: return nil
        }
    }
}

extension TensorCore.JSONValue {
    /// The content of a string.
    var string: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }
}
