import PipelineSpec
import Tokenizers

/// Token ids of one example, and which of them are learned.
struct EncodedExample {
    var ids: [Int32]
    /// One flag a token; `nil` when all are learned.
    var scored: [Bool]?

    /// Tokens that are predicted and count: the first of a sequence never is.
    var targetCount: Int {
        guard let scored else { return max(ids.count - 1, 0) }
        return scored.dropFirst().count { $0 }
    }
}

/// Turns records into sequences of at most `maxLength` tokens.
struct ExampleEncoder {
    /// The folder of base and tokenizer, for messages.
    let folder: String
    let tokenizer: Tokenizer
    let vocabularySize: Int
    let maxLength: Int
    let overlength: JobManifest.Overlength
    /// Examples left out, and examples cut, because they were too long.
    private(set) var dropped = 0
    private(set) var truncated = 0

    init(
        folder: String, tokenizer: Tokenizer, vocabularySize: Int, maxLength: Int, overlength: JobManifest.Overlength
    ) {
        self.folder = folder
        self.tokenizer = tokenizer
        self.vocabularySize = vocabularySize
        self.maxLength = maxLength
        self.overlength = overlength
    }

    /// The sequences a record becomes: blocks of running text, or one example, or none.
    ///
    /// Prompt and completion are encoded in one piece, because a token may span their border; a token is learned when it ends
    /// beyond the prompt. The end token is always learned, so that the model learns to stop.
    mutating func encode(_ record: TextRecord) throws -> [EncodedExample] {
        let encoding = tokenizer.encode(record.text, addSpecialTokens: true)
        var ids = encoding.ids
        var scored: [Bool]?
        if record.trainedFrom > 0 { scored = encoding.offsets.map { $0.upperBound > record.trainedFrom } }
        if let end = tokenizer.eosTokenID, ids.last != end {
            ids.append(end)
            scored?.append(true)
        }
        if let outside = ids.first(where: { $0 < 0 || Int($0) >= vocabularySize }) {
            throw StageError(
                "vocabulary_mismatch",
                "\(folder): tokenizer.json gives id \(outside) (\"\(tokenizer.token(of: outside) ?? "?")\"), but the model of "
                    + "config.json has only \(vocabularySize) embeddings; the tokenizer does not belong to this base")
        }
        if record.isRunning {
            return stride(from: 0, to: ids.count, by: maxLength).compactMap { start in
                let block = Array(ids[start..<min(start + maxLength, ids.count)])
                return block.count > 1 ? EncodedExample(ids: block, scored: nil) : nil
            }
        }
        if ids.count > maxLength {
            switch overlength {
            case .drop:
                dropped += 1
                return []
            case .error:
                throw StageError(
                    "overlength",
                    "an example has \(ids.count) tokens, data.max_length is \(maxLength): \"\(record.text.prefix(60))…\""
                )
            case .truncate:
                truncated += 1
                ids = Array(ids.prefix(maxLength))
                scored = scored.map { Array($0.prefix(maxLength)) }
            }
        }
        let example = EncodedExample(ids: ids, scored: scored)
        // A truncated example may have lost everything that was to be learned.
        guard example.targetCount > 0 else {
            dropped += 1
            return []
        }
        return [example]
    }
}
