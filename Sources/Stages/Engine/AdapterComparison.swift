package import Foundation
package import PipelineSpec
import Training

/// Two adapters of one base on the same records, and what they answer to the same prompts: what `lorajobs adapters
/// compare` prints.
package struct AdapterComparison {
    /// One record's nats per token with each adapter.
    package struct Example {
        package let first: Double
        package let second: Double
        package let tokens: Int
    }

    /// What each adapter continues a prompt with.
    package struct Answer {
        package let prompt: String
        package let first: String
        package let second: String
    }

    /// The losses of a file, where one was given.
    package struct Losses {
        package let examples: [Example]
        package let tokens: Int
        /// Mean nats per scored token.
        package let first: Double
        package let second: Double
        /// Second less first: below 0, the second is better.
        package let difference: Double
        package let interval: ClosedRange<Double>
        package let confidence: Double

        /// Whether the interval leaves no doubt which is better.
        package var isDecided: Bool { interval.upperBound < 0 || interval.lowerBound > 0 }
        /// On how many records the second has the lower loss.
        package var better: Int { examples.count { $0.second < $0.first } }
    }

    package let losses: Losses?
    package let answers: [Answer]

    /// What is compared, and how.
    package struct Request {
        package var base: URL
        package var first: URL
        package var second: URL
        /// Records to score.
        package var data: URL?
        package var format = JobManifest.DataFormat.auto
        package var columns: [String: String] = [:]
        /// How the job that made one of them reads its records; records are scored as its evaluation scores them.
        package var job = JobManifest.Data()
        /// Texts to continue greedily.
        package var prompts: [String] = []
        package var maxTokens = 64
        package var confidence = 0.95
        package var resamples = 10_000
        package var seed: UInt64 = 0

        package init(base: URL, first: URL, second: URL) {
            self.base = base
            self.first = first
            self.second = second
        }
    }

    /// Loads one adapter after the other: no more than one model is in memory.
    ///
    /// - Parameter onProgress: told the share that is done, 0…1.
    /// - Throws: ``StageError`` that names file and line.
    package init(_ request: Request, onProgress: (Double) -> Void) throws {
        func judge(_ adapter: URL, _ start: Double) throws -> (TextEvaluation?, [String]) {
            let loaded = try LoadedModel(base: request.base, adapter: adapter)
            let evaluation = try request.data.map {
                try TextEvaluation(
                    of: loaded, on: $0, format: request.format, columns: request.columns, job: request.job
                ) { onProgress(start + $0 / 2) }
            }
            let texts = try request.prompts.map {
                try TextGeneration(loaded, prompt: $0, maxTokens: request.maxTokens).text ?? ""
            }
            return (evaluation, texts)
        }
        let (first, firstTexts) = try judge(request.first, 0)
        let (second, secondTexts) = try judge(request.second, 0.5)
        answers = zip(request.prompts, zip(firstTexts, secondTexts)).map {
            Answer(prompt: $0, first: $1.0, second: $1.1)
        }
        guard let first, let second else {
            losses = nil
            return
        }
        func scores(_ evaluation: TextEvaluation) -> [ScoredExample] {
            evaluation.examples.map {
                var score = ExampleScore()
                (score.nll, score.tokens) = ($0.nll * Double($0.tokens), $0.tokens)
                return ScoredExample(score)
            }
        }
        guard
            let gain = MetricComparison(
                try MetricRegistry.metric(named: "loss"), from: scores(first), to: scores(second),
                confidence: request.confidence, resamples: request.resamples, seed: request.seed)?.gain
        else {
            throw StageError("nothing_to_compare", "a loss is not finite, or there is no token to compare by")
        }
        losses = Losses(
            examples: zip(first.examples, second.examples).map {
                Example(first: $0.nll, second: $1.nll, tokens: $0.tokens)
            },
            tokens: first.tokens, first: first.nll, second: second.nll, difference: -gain.estimate,
            interval: -gain.high ... -gain.low, confidence: request.confidence)
    }
}
