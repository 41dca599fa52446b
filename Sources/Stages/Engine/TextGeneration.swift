import Tokenizers
import Training

/// Text that a model continues: what `lorajobs generate` prints.
package struct TextGeneration {
    /// The new tokens only.
    package let ids: [Int32]
    /// The new text only, without special tokens; `nil` for a base without a tokenizer.
    package let text: String?

    /// Continues a prompt greedily.
    ///
    /// The prompt gets the tokenizer's special tokens; an empty one starts at the begin token (or, for models that begin with
    /// their end token, at that one).
    ///
    /// - Parameter onText: told each piece of text as it is complete, for showing it while it comes.
    package init(_ loaded: LoadedModel, prompt: String, maxTokens: Int, onText: (String) -> Void = { _ in }) throws {
        let tokenizer = try loaded.requireTokenizer()
        var ids = tokenizer.encode(prompt, addSpecialTokens: true).ids
        if ids.isEmpty {
            guard let begin = tokenizer.bosTokenID ?? tokenizer.eosTokenID else {
                throw StageError("empty_prompt", "the tokenizer names no begin token; give a prompt")
            }
            ids = [begin]
        }
        try self.init(loaded, ids: ids, maxTokens: maxTokens, onText: onText)
    }

    /// Continues token ids greedily; for a base without a tokenizer.
    package init(_ loaded: LoadedModel, ids prompt: [Int32], maxTokens: Int, onText: (String) -> Void = { _ in }) throws
    {
        guard !prompt.isEmpty else { throw StageError("empty_prompt", "at least one id is needed to start from") }
        var shown = ""
        var generated: [Int32] = []
        // A piece of a character is shown when the character is whole: decoding always starts at the prompt's end.
        func show(_ id: Int32) {
            generated.append(id)
            guard let tokenizer = loaded.tokenizer, !loaded.stopIDs.contains(id) else { return }
            let text = Self.continuation(generated, after: prompt, tokenizer)
            if let piece = text.continuing(shown), text.unicodeScalars.last != "\u{FFFD}" {
                onText(piece)
                shown = text
            }
        }
        let result = try Generator(loaded.model).greedy(
            prompt, maximum: maxTokens, stopIDs: loaded.stopIDs, onToken: show)
        ids = result.ids
        text = loaded.tokenizer.map { Self.continuation(result.ids, after: prompt, $0) }
    }

    /// What the new tokens add to the text of the prompt: a token alone may decode otherwise than behind its neighbours.
    private static func continuation(_ ids: [Int32], after prompt: [Int32], _ tokenizer: Tokenizer) -> String {
        let before = tokenizer.decode(prompt, skipSpecialTokens: true)
        let whole = tokenizer.decode(prompt + ids, skipSpecialTokens: true)
        return whole.continuing(before) ?? tokenizer.decode(ids, skipSpecialTokens: true)
    }
}

extension String {
    /// What follows `beginning` in this text; `nil` when it begins otherwise.
    ///
    /// Compared by Unicode scalars: as characters, "e" would not begin an "e" that the next token gives an accent.
    func continuing(_ beginning: String) -> String? {
        guard unicodeScalars.starts(with: beginning.unicodeScalars) else { return nil }
        return String(unicodeScalars.dropFirst(beginning.unicodeScalars.count))
    }
}
