/// The files of a checkpoint folder that say how text becomes tokens, by their usual names.
package enum TokenizerFiles {
    /// Vocabularies that are enough by themselves.
    private static let vocabularies = [
        "tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt",
    ]

    /// What only matters beside a vocabulary.
    private static let settings = [
        "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
        "chat_template.jinja", "chat_template.json",
    ]

    /// Whether a file of this name decides about tokens.
    package static func include(_ name: String) -> Bool {
        vocabularies.contains(name) || settings.contains(name) || name.hasSuffix(".tiktoken")
    }

    /// Whether a folder with files of these names has a whole vocabulary.
    package static func areComplete(_ names: some Sequence<String>) -> Bool {
        let names = Set(names)
        return vocabularies.contains(where: names.contains) || names.isSuperset(of: ["vocab.json", "merges.txt"])
            || names.contains { $0.hasSuffix(".tiktoken") }
    }
}
