import Artifacts
import Foundation
import PipelineSpec
import Training

/// Examples that models are judged by: the test split, a suite, or general text.
struct EvaluationSet {
    /// The name of the test split's set, and of the general text's.
    static let test = "test"
    static let retention = "retention"

    let name: String
    /// One sequence an example.
    let examples: TokenDataset
    /// What is measured, the one that gates look at first.
    let metrics: [any Metric.Type]
    /// The answers between which an example chooses; `nil` where it does not.
    let alternatives: Alternatives?
    /// How many classes there are; 0 where there are none.
    let classes: Int
    /// Most tokens that a model writes after each prompt; `nil` where it writes none.
    let maxNewTokens: Int?
    /// Tells this content and what is asked about it from any other.
    let digest: String

    /// The answers to each example, as sequences of their own.
    struct Alternatives {
        struct Question: Codable, Equatable {
            /// Which sequences are its answers, and which of them is right.
            var sequences: Range<Int>
            var answer: Int
            /// Bytes of each answer.
            var bytes: [Int]
        }

        let sequences: TokenDataset
        let questions: [Question]
    }

    /// - Parameter file: where `examples` lies.
    init(
        name: String, file: URL, metrics: [any Metric.Type],
        alternatives: (file: URL, questions: [Alternatives.Question])?,
        classes: Int, maxNewTokens: Int
    ) throws {
        struct Content: Encodable {
            var version = 1
            var examples: String
            var alternatives: String?
            var questions: [Alternatives.Question]?
            var maxNewTokens: Int?
        }
        self.name = name
        self.metrics = metrics
        self.classes = classes
        examples = try TokenDataset(file)
        self.maxNewTokens = metrics.contains { $0.evidence == .text } ? maxNewTokens : nil
        self.alternatives = try alternatives.map {
            Alternatives(sequences: try TokenDataset($0.file), questions: $0.questions)
        }
        digest = Digest.sha256(
            try ProtocolJSON.encode(
                Content(
                    examples: try Digest.sha256(of: file),
                    alternatives: try alternatives.map { try Digest.sha256(of: $0.file) },
                    questions: alternatives?.questions, maxNewTokens: self.maxNewTokens)))
    }

    /// Loss and perplexity are always measured; what is asked for comes first.
    static func metrics(_ wanted: [JobManifest.Metric]) throws -> [any Metric.Type] {
        let names = wanted + JobManifest.Metric.always.filter { !wanted.contains($0) }
        return try names.map { try MetricRegistry.metric(named: $0.rawValue) }
    }
}
