import PipelineSpec
import Tokenizers

/// Token ids of one example, and which of them are learned.
struct EncodedExample: Sendable, Equatable {
    var ids: [Int32]
    /// One flag a token; `nil` when all are learned.
    var scored: [Bool]?
    /// The index of the class the whole example belongs to, where its record has one.
    var label: Int32?

    init(ids: [Int32], scored: [Bool]? = nil, label: Int32? = nil) {
        self.ids = ids
        self.scored = scored
        self.label = label
    }

    /// Tokens that are predicted and count: the first of a sequence never is.
    var targetCount: Int {
        guard let scored else { return max(ids.count - 1, 0) }
        return scored.dropFirst().count { $0 }
    }
}

/// What became of one record.
struct EncodedRecord: Sendable {
    enum Outcome: Sendable {
        /// As it is; running text in blocks.
        case kept
        /// Something of it was left out, because it was too long.
        case truncated
        /// Left out, because it was too long.
        case overlength
        /// Left out, because no token of it would be learned.
        case nothingToLearn
        /// Broken, in a way that only the tokenizer or the chat template shows; it counts as a bad record.
        case bad(BadRecord)
    }

    var outcome: Outcome
    /// Nothing unless kept or truncated.
    var examples: [EncodedExample] = []
    /// Tokens of its longest sequence before anything was left out; for running text, of a block.
    var length = 0
}

/// Turns records into sequences of at most `maxLength` tokens. A value without state of its own: any number of threads may
/// use it at once.
struct ExampleEncoder: Sendable {
    /// The folder of base and tokenizer, for messages.
    let folder: String
    let tokenizer: Tokenizer
    let vocabularySize: Int
    let maxLength: Int
    let overlength: JobManifest.Overlength
    /// Whether an example ends with the tokenizer's end token, which is then learned, so that the model learns to stop.
    var addsEnd = true

    init(
        folder: String, tokenizer: Tokenizer, vocabularySize: Int, maxLength: Int, overlength: JobManifest.Overlength
    ) {
        self.folder = folder
        self.tokenizer = tokenizer
        self.vocabularySize = vocabularySize
        self.maxLength = maxLength
        self.overlength = overlength
    }

    /// The sequences a record becomes: blocks of running text, or its examples, or none; and why.
    ///
    /// - Throws: ``StageError`` for what is not the record's fault, and for a record that is too long where
    ///   `data.overlength` is `error`.
    func encode(_ record: Record) throws -> EncodedRecord {
        do {
            let whole = try record.content.encode(with: self)
            let length = whole.map(\.ids.count).max() ?? 0
            guard length > maxLength else { return learnable(whole, .kept, length) }
            switch overlength {
            case .drop:
                return EncodedRecord(outcome: .overlength, length: length)
            case .error:
                throw StageError(
                    "overlength",
                    "\(record.place): the example has \(length) tokens, data.max_length is \(maxLength); "
                        + "raise it, or set data.overlength to drop or truncate")
            case .truncate:
                guard let cut = try record.content.truncate(with: self) else {
                    return EncodedRecord(outcome: .overlength, length: length)
                }
                return learnable(cut, .truncated, length)
            }
        } catch let unusable as UnusableRecord {
            return EncodedRecord(outcome: .bad(BadRecord(place: record.place, reason: unusable.reason)))
        }
    }

    private func learnable(
        _ examples: [EncodedExample], _ outcome: EncodedRecord.Outcome, _ length: Int
    ) -> EncodedRecord {
        guard examples.contains(where: { $0.targetCount > 0 }) else {
            return EncodedRecord(outcome: .nothingToLearn, length: length)
        }
        return EncodedRecord(outcome: outcome, examples: examples, length: length)
    }

    // MARK: What contents are made of

    /// The tokens of a text with their places, special tokens and the end token included.
    ///
    /// - Parameter hasSpecialTokens: Whether the text spells its own special tokens, the end included.
    /// - Throws: ``StageError`` when the model has no embedding for one of them.
    func tokens(of text: String, hasSpecialTokens: Bool = false) throws -> (ids: [Int32], offsets: [Range<Int>]) {
        let encoding = tokenizer.encode(text, addSpecialTokens: !hasSpecialTokens)
        var (ids, offsets) = (encoding.ids, encoding.offsets)
        if addsEnd, !hasSpecialTokens, let end = tokenizer.eosTokenID, ids.last != end {
            let place = text.unicodeScalars.count
            ids.append(end)
            offsets.append(place..<place)
        }
        if let outside = ids.first(where: { $0 < 0 || Int($0) >= vocabularySize }) {
            throw StageError(
                "vocabulary_mismatch",
                "\(folder): tokenizer.json gives id \(outside) (\"\(tokenizer.token(of: outside) ?? "?")\"), but the model of "
                    + "config.json has only \(vocabularySize) embeddings; the tokenizer does not belong to this base")
        }
        return (ids, offsets)
    }

    /// A prompt and its completion as one sequence.
    ///
    /// They are encoded in one piece, because a token may span their border; a token is learned when it ends beyond the
    /// prompt.
    func example(ofCompletion completion: String, after prompt: String) throws -> EncodedExample {
        let start = prompt.unicodeScalars.count
        let (ids, offsets) = try tokens(of: prompt + completion)
        guard start > 0 else { return EncodedExample(ids: ids) }
        var scored = offsets.map { $0.upperBound > start }
        // The end token stands behind the text; one that the tokenizer itself adds has no place.
        if let last = ids.last, last == tokenizer.eosTokenID { scored[scored.count - 1] = true }
        return EncodedExample(ids: ids, scored: scored)
    }

    /// As ``example(ofCompletion:after:)``, with the beginning of the prompt left out so that the rest fits; `nil` where
    /// the completion alone does not.
    func example(ofCompletion completion: String, afterEndOf prompt: String) throws -> EncodedExample? {
        var example = try example(ofCompletion: completion, after: prompt)
        let excess = example.ids.count - maxLength
        guard excess > 0 else { return example }
        // A begin token stays.
        let first = example.ids.first == tokenizer.bosTokenID ? 1 : 0
        let removed = first..<(first + excess)
        guard let scored = example.scored, removed.upperBound < scored.count, !scored[removed].contains(true) else {
            return nil
        }
        example.ids.removeSubrange(removed)
        example.scored?.removeSubrange(removed)
        return example
    }
}
