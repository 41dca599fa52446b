package import Foundation

/// A byte-level BPE that was just learnt, ready to be written.
package struct TrainedBPE: Sendable {
    /// The tokens; the index is the id.
    package let vocabulary: [String]
    /// The merges in the order they were found, which is their rank.
    package let merges: [(String, String)]
    /// The special tokens, which have the first ids.
    package let specialTokens: [String]

    /// The settings of `tokenizer_config.json`: which special token plays which part.
    package struct Roles: Sendable {
        package var bos: String?
        package var eos: String?
        package var pad: String?
        package var unk: String?
        /// The longest text the model takes, in tokens.
        package var maximumLength: Int?

        package init(
            bos: String? = nil, eos: String? = nil, pad: String? = nil, unk: String? = nil, maximumLength: Int? = nil
        ) {
            self.bos = bos
            self.eos = eos
            self.pad = pad
            self.unk = unk
            self.maximumLength = maximumLength
        }
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` as Hugging Face tokenizers and transformers read them.
    ///
    /// The same result always gives the same bytes.
    ///
    /// - Throws: ``TokenizerError`` when a role names a token that is not special, or when a file cannot be written.
    package func write(to folder: URL, roles: Roles = Roles()) throws {
        for name in [roles.bos, roles.eos, roles.pad, roles.unk].compactMap({ $0 }) where !specialTokens.contains(name)
        {
            throw TokenizerError(
                .unknownToken, "the token \"\(name)\" is not one of the special tokens it was trained with")
        }
        try write(tokenizer, to: folder.appending(path: "tokenizer.json"))
        try write(configuration(roles), to: folder.appending(path: "tokenizer_config.json"))
    }

    private func write(_ value: JSONValue, to url: URL) throws {
        do {
            try Data(JSONWriter.bytes(of: value)).write(to: url, options: .atomic)
        } catch {
            throw TokenizerError(.unreadable, file: url.path, "cannot be written: \(error.localizedDescription)")
        }
    }

    private var tokenizer: JSONValue {
        let added = specialTokens.enumerated().map { id, token in
            JSONValue.object([
                ("id", .integer(id)), ("content", .string(token)), ("single_word", .bool(false)),
                ("lstrip", .bool(false)), ("rstrip", .bool(false)), ("normalized", .bool(false)),
                ("special", .bool(true)),
            ])
        }
        return .object([
            ("version", .string("1.0")), ("truncation", .null), ("padding", .null), ("added_tokens", .array(added)),
            ("normalizer", .null), ("pre_tokenizer", byteLevel(trimsOffsets: true)),
            ("post_processor", byteLevel(trimsOffsets: false)), ("decoder", byteLevel(trimsOffsets: true)),
            ("model", model),
        ])
    }

    private func byteLevel(trimsOffsets: Bool) -> JSONValue {
        .object([
            ("type", .string("ByteLevel")), ("add_prefix_space", .bool(false)),
            ("trim_offsets", .bool(trimsOffsets)), ("use_regex", .bool(true)),
        ])
    }

    private var model: JSONValue {
        .object([
            ("type", .string("BPE")), ("dropout", .null), ("unk_token", .null),
            ("continuing_subword_prefix", .null), ("end_of_word_suffix", .null), ("fuse_unk", .bool(false)),
            ("byte_fallback", .bool(false)), ("ignore_merges", .bool(false)),
            ("vocab", .object(vocabulary.enumerated().map { ($1, .integer($0)) })),
            ("merges", .array(merges.map { .array([.string($0.0), .string($0.1)]) })),
        ])
    }

    private func configuration(_ roles: Roles) -> JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("tokenizer_class", .string("PreTrainedTokenizerFast")), ("clean_up_tokenization_spaces", .bool(false)),
        ]
        if let length = roles.maximumLength { members.append(("model_max_length", .integer(length))) }
        let parts = [
            ("bos_token", roles.bos), ("eos_token", roles.eos), ("pad_token", roles.pad), ("unk_token", roles.unk),
        ]
        for (key, name) in parts {
            if let name { members.append((key, .string(name))) }
        }
        return .object(members)
    }
}
