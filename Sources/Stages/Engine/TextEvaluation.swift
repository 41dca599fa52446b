import Artifacts
package import Foundation
import Layers
package import PipelineSpec
import TensorCore
import Tokenizers
import Training

/// How well a model predicts the records of a file: what `lorajobs eval` prints.
///
/// One record is one example, encoded with the tokenizer's special tokens and, unless a job's way is asked for, no end token; its
/// first token is not scored; what is longer than the context is scored in consecutive windows. A record without a token to score is an example with 0 tokens.
package struct TextEvaluation {
    /// One record's share.
    package struct Example: Codable {
        package var nll: Double
        package var tokens: Int
    }

    package let examples: [Example]
    /// Scored tokens.
    package let tokens: Int
    /// Mean nats per scored token.
    package let nll: Double
    package let perplexity: Double

    /// Scores every record of `file` with the base and, where one is loaded, its adapter.
    ///
    /// - Parameters:
    ///   - format: `auto`, or the name of a format.
    ///   - job: How a job reads its records, where they are to be scored as its evaluation scores them: with the end token, and
    ///     no longer than it allows.
    ///   - onProgress: told the share that is done, 0…1.
    /// - Throws: ``StageError`` that names file and line.
    package init(
        of loaded: LoadedModel, on file: URL, format: JobManifest.DataFormat, columns: [String: String],
        job: JobManifest.Data? = nil, onProgress: (Double) -> Void
    ) throws {
        let tokenizer = try loaded.requireTokenizer()
        var data = job ?? JobManifest.Data()
        if job == nil || format != .auto { data.format = format }
        if job == nil || !columns.isEmpty { data.columns = columns }
        // Without a job no end token, and whole: the evaluation itself cuts what is longer than the context into windows.
        if job == nil { data.overlength = .error }
        let context = loaded.model.contextLength
        let longest = min(job?.maxLength ?? context, context)
        var encoder = try ExampleEncoder(
            folder: loaded.folder, tokenizer: tokenizer, vocabularySize: loaded.model.vocabularySize,
            maxLength: job == nil ? .max : longest, data: data)
        encoder.addsEnd = job != nil
        let source = RecordSource(data: data, passageBytes: 4 * longest)
        var reading = RecordReading()
        var sequences: [[Int32]] = []
        var scored: [[Bool]?] = []
        /// The record of each sequence: a long text may be several.
        var records: [Int] = []
        var count = 0
        try source.forEachRecord(in: [try PinnedFile.reading(file)], &reading) { record in
            let encoded = try encoder.encode(record)
            if case .bad(let bad) = encoded.outcome { throw bad }
            // Nothing to score is an example too.
            for example in encoded.examples.isEmpty ? [EncodedExample(ids: [])] : encoded.examples {
                records.append(count)
                sequences.append(example.ids)
                scored.append(example.scored)
            }
            count += 1
        }
        let total = max(sequences.reduce(0) { $0 + max($1.count - 1, 0) }, 1)
        let evaluation = try Evaluation(of: loaded.model, on: sequences, scored: scored, batchTokens: 2048) {
            onProgress(Double($0) / Double(total))
        }
        guard let nll = evaluation.meanNegativeLogLikelihood, let perplexity = evaluation.perplexity else {
            throw StageError("no_test_data", "\(file.path) has no token to score")
        }
        guard nll.isFinite, perplexity.isFinite else {
            throw StageError(
                "non_finite_loss", "the model's loss on \(file.path) is \(nll); look for a broken weight in its files")
        }
        var sums = [(nll: Double, tokens: Int)](repeating: (0, 0), count: count)
        for (record, one) in zip(records, evaluation.examples) {
            sums[record].nll += one.negativeLogLikelihood
            sums[record].tokens += one.tokens
        }
        examples = sums.map { Example(nll: $0.nll / Double(max($0.tokens, 1)), tokens: $0.tokens) }
        tokens = evaluation.tokens
        self.nll = nll
        self.perplexity = perplexity
    }
}
