import Artifacts
package import Foundation
import Layers
package import PipelineSpec
import TensorCore
import Tokenizers
import Training

/// How well a model predicts the records of a file: what `lorajobs eval` prints.
///
/// One record is one example, encoded with the tokenizer's special tokens and no end token; its first token is not scored; what
/// is longer than the context is scored in consecutive windows. A record without a token to score is an example with 0 tokens.
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
    ///   - onProgress: told the share that is done, 0…1.
    /// - Throws: ``StageError`` that names file and line.
    package init(
        of loaded: LoadedModel, on file: URL, format: JobManifest.DataFormat, columns: [String: String],
        onProgress: (Double) -> Void
    ) throws {
        let tokenizer = try loaded.requireTokenizer()
        var data = JobManifest.Data()
        data.format = format
        data.columns = columns
        // No end token, and whole: the evaluation itself cuts what is longer than the context into windows.
        data.overlength = .error
        var encoder = try ExampleEncoder(
            folder: loaded.folder, tokenizer: tokenizer, vocabularySize: loaded.model.vocabularySize,
            maxLength: .max, data: data)
        encoder.addsEnd = false
        let source = RecordSource(data: data, passageBytes: 4 * loaded.model.contextLength)
        var reading = RecordReading()
        var sequences: [[Int32]] = []
        var scored: [[Bool]?] = []
        try source.forEachRecord(in: [try PinnedFile.reading(file)], &reading) { record in
            let encoded = try encoder.encode(record)
            if case .bad(let bad) = encoded.outcome { throw bad }
            // Nothing to score is an example too.
            for example in encoded.examples.isEmpty ? [EncodedExample(ids: [])] : encoded.examples {
                sequences.append(example.ids)
                scored.append(example.scored)
            }
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
        examples = evaluation.examples.map {
            Example(nll: $0.negativeLogLikelihood / Double(max($0.tokens, 1)), tokens: $0.tokens)
        }
        tokens = evaluation.tokens
        self.nll = nll
        self.perplexity = perplexity
    }
}
