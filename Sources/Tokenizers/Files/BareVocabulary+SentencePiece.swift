import Foundation

extension BareVocabulary {
    /// The description of a SentencePiece model.
    func description(of model: SentencePieceFile, file: String) throws -> JSONValue {
        switch (configuration.tokenizerClass, model.algorithm) {
        case (nil, .bpe), ("LlamaTokenizer", .bpe): return try llama(model, file: file)
        case ("T5Tokenizer", .unigram), ("MT5Tokenizer", .unigram): return try t5(model, file: file)
        default: throw unsupportedClass(file, "LlamaTokenizer (BPE)", "T5Tokenizer (unigram)")
        }
    }

    private func added(
        _ model: SentencePieceFile, _ ids: Vocabulary, specials: [String] = []
    ) throws -> JSONValue {
        let own = model.pieces.filter { $0.type == .control || $0.type == .userDefined }
            .map { (content: $0.text, isSpecial: $0.type == .control) }
        return try addedTokens(
            own: own, specials: [model.pieces[model.unknownID].text] + specials, id: ids.id(of:),
            count: ids.tokens.count)
    }

    private func vocabulary(_ model: SentencePieceFile, adding extra: [String] = []) -> Vocabulary {
        let texts = model.pieces.map(\.text) + extra
        return Vocabulary(texts.enumerated().map { ($1, Int32($0)) })
    }

    /// LLaMA and its kin: BPE with bytes for unknown characters, spaces marked, one put in front.
    private func llama(_ model: SentencePieceFile, file: String) throws -> JSONValue {
        let ids = vocabulary(model)
        let addsSpace = try configuration.bool("add_prefix_space", default: true)
        let isLegacy = try configuration.bool("legacy", default: true)
        var normalizer: JSONValue = nil
        var preTokenizer: JSONValue = nil
        if isLegacy {
            let replace: JSONValue = ["type": "Replace", "pattern": ["String": " "], "content": "▁"]
            let prepend: [JSONValue] = addsSpace ? [["type": "Prepend", "prepend": "▁"]] : []
            normalizer = ["type": "Sequence", "normalizers": .array(prepend + [replace])]
        } else {
            preTokenizer = [
                "type": "Metaspace", "replacement": "▁", "prepend_scheme": addsSpace ? "first" : "never",
                "split": false,
            ]
        }
        var decoders: [JSONValue] = [
            ["type": "Replace", "pattern": ["String": "▁"], "content": " "], ["type": "ByteFallback"],
            ["type": "Fuse"],
        ]
        if addsSpace { decoders.append(["type": "Strip", "content": " ", "start": 1, "stop": 0]) }
        let bos = try configuration.token("bos_token") ?? "<s>"
        let eos = try configuration.token("eos_token") ?? "</s>"
        let before = try configuration.bool("add_bos_token", default: true) ? "\(bos):0 " : ""
        let after = try configuration.bool("add_eos_token", default: false) ? " \(eos):0" : ""
        let post =
            before.isEmpty && after.isEmpty
            ? nil
            : try Self.template(
                "\(before)$A:0\(after)",
                "\(before)$A:0\(after) \(before)$B:1\(after)".replacing("\(bos):0 $B", with: "\(bos):1 $B")
            ) { token in
                guard let id = ids.id(of: token) else {
                    throw TokenizerError(.unknownToken, file: file, "the token \"\(token)\" is not among the pieces")
                }
                return id
            }
        return [
            "added_tokens": try added(model, ids), "normalizer": normalizer, "pre_tokenizer": preTokenizer,
            "post_processor": post, "decoder": ["type": "Sequence", "decoders": .array(decoders)],
            "model": [
                "type": "BPE", "unk_token": .string(model.pieces[model.unknownID].text), "fuse_unk": true,
                "byte_fallback": true,
                "vocab": .object(model.pieces.enumerated().map { (key: $1.text, value: .integer($0)) }),
                "merges": .array(merges(of: model, ids)),
            ],
        ]
    }

    /// The merges that a BPE model of scored pieces stands for: every cutting of a piece into two pieces, ordered by
    /// the score of the whole, then by the ids of the halves.
    ///
    /// Later versions of transformers put the cutting with the longest left half first; the published files do not.
    private func merges(of model: SentencePieceFile, _ ids: Vocabulary) -> [JSONValue] {
        struct Merge {
            var left: Int32
            var right: Int32
            var score: Float
        }
        let lengths = Set(model.pieces.map(\.text.utf8.count))
        var merges: [Merge] = []
        for (index, piece) in model.pieces.enumerated() where ids.id(of: piece.text) == Int32(index) {
            var local: [Merge] = []
            piece.text.withUTF8Bytes { utf8 in
                // Halves of no piece's length need no look; that bounds the work for very long pieces.
                for cut in utf8.indices.dropFirst()
                where lengths.contains(cut) && lengths.contains(utf8.count - cut)
                    && !UTF8Reading.isContinuation(utf8[cut])
                {
                    guard let left = ids.id(of: UnsafeBufferPointer(rebasing: utf8[..<cut])),
                        let right = ids.id(of: UnsafeBufferPointer(rebasing: utf8[cut...]))
                    else { continue }
                    local.append(Merge(left: left, right: right, score: piece.score))
                }
            }
            merges += local.sorted { ($0.left, $0.right) < ($1.left, $1.right) }
        }
        let order = merges.indices.sorted { (-merges[$0].score, $0) < (-merges[$1].score, $1) }
        return order.map { place in
            let merge = merges[place]
            return .array([
                .string(model.pieces[Int(merge.left)].text), .string(model.pieces[Int(merge.right)].text),
            ])
        }
    }

    /// T5: a unigram model with the character map of its file, and sentinel tokens after the pieces, last one first.
    private func t5(_ model: SentencePieceFile, file: String) throws -> JSONValue {
        let count = try configuration.integer("extra_ids", default: 100, in: 0...100_000)
        let sentinels = (0..<count).reversed().map { "<extra_id_\($0)>" }
        let ids = vocabulary(model, adding: sentinels)
        let eos = try configuration.token("eos_token") ?? "</s>"
        let metaspace: JSONValue = [
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true,
        ]
        let entries =
            model.pieces.map { JSONValue.array([.string($0.text), .number(Double($0.score))]) }
            + sentinels.map { .array([.string($0), .number(0)]) }
        let map = Data(model.characterMap).base64EncodedString()
        return [
            "added_tokens": try added(model, ids, specials: sentinels),
            "normalizer": map.isEmpty ? nil : ["type": "Precompiled", "precompiled_charsmap": .string(map)],
            "pre_tokenizer": ["type": "Sequence", "pretokenizers": [["type": "WhitespaceSplit"], metaspace]],
            "post_processor": try Self.template("$A:0 \(eos):0", "$A:0 \(eos):0 $B:0 \(eos):0") { token in
                guard let id = ids.id(of: token) else {
                    throw TokenizerError(.unknownToken, file: file, "the token \"\(token)\" is not among the pieces")
                }
                return id
            },
            "decoder": metaspace,
            "model": ["type": "Unigram", "unk_id": .integer(model.unknownID), "vocab": .array(entries)],
        ]
    }
}
