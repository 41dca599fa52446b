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
    /// Tells what metrics of a kind are computed from, from anything else: two values of such a metric with the same digest
    /// are of the same examples, whatever else was asked about these.
    let evidence: [MetricEvidence: String]

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
        func digest(_ content: Content) throws -> String { Digest.sha256(try ProtocolJSON.encode(content)) }
        let plain = Content(examples: try Digest.sha256(of: file))
        var choosing = plain
        choosing.alternatives = try alternatives.map { try Digest.sha256(of: $0.file) }
        choosing.questions = alternatives?.questions
        var writing = plain
        writing.maxNewTokens = maxNewTokens
        var whole = choosing
        whole.maxNewTokens = self.maxNewTokens
        self.digest = try digest(whole)
        evidence = [
            .likelihood: try digest(plain), .classes: try digest(choosing), .choices: try digest(choosing),
            .text: try digest(writing),
        ]
    }

    /// Whether an earlier value of a metric is one of these very examples.
    func isMeasured(_ metric: any Metric.Type, in report: EvaluationReport.SetReport) -> Bool {
        if let known = report.evidence { return known[metric.evidence.rawValue] == evidence[metric.evidence] }
        // Of an older program: its digest holds the length of texts where any metric asked for texts.
        return report.digest == digest || metric.evidence != .text && report.digest == evidence[.classes]
    }

    /// Loss and perplexity are always measured; what is asked for comes first.
    static func metrics(_ wanted: [JobManifest.Metric]) throws -> [any Metric.Type] {
        let names = wanted + JobManifest.Metric.always.filter { !wanted.contains($0) }
        return try names.map { try MetricRegistry.metric(named: $0.rawValue) }
    }
}
