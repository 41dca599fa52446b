import Foundation
import PipelineSpec
import Training

/// Whose answers are meant.
enum EvaluationRole: String, Codable, CodingKeyRepresentable, CaseIterable {
    /// The base without an adapter.
    case base
    /// What the alias points at.
    case champion
    /// The best that the alias ever pointed at on this set, beside the champion.
    case best
    /// What the job has trained.
    case trained
}

/// What `evaluation.json` says, and the record of a version after it.
struct EvaluationReport: Codable, Equatable {
    static let fileName = "evaluation.json"

    /// One set of examples.
    struct SetReport: Codable, Equatable {
        var name: String
        /// Of the examples and what is asked about them.
        var digest: String
        /// Of what metrics of each kind of evidence are computed from; absent in what an older program wrote.
        var evidence: [String: String]?
        var examples: Int
        var tokens: Int
        /// What is measured, the one that gates look at first.
        var metrics: [String]
        var classes: Int
        var values: [EvaluationRole: [String: Double]]
        /// The digest of each model that was asked.
        var models: [EvaluationRole: String]
        /// The version whose values are the best's, where it was asked; and the version that is the better one of it and
        /// the champion, by the metric of the gate.
        var best: Int?
        var strongest: Int?
        /// The values of other versions that were asked because they might have been the best, by number.
        var others: [Int: [String: Double]]?
        /// How often the trained model took each class for each: rows are what is right.
        var confusion: [[Int]]?
    }

    /// What a version costs beside what it is worth. Nothing here depends on how fast the machine was.
    struct Cost: Codable, Equatable {
        var trainedParameters: Int
        var parameters: Int
        var trainedShare: Double
        /// Bytes of the trained weights.
        var productBytes: Int64
    }

    var schema = 2
    /// Raised when the same models and sets give other numbers, and what else decides about these.
    var conditions: String
    /// The test split first.
    var sets: [SetReport]
    /// What the alias pointed at when the attempt began.
    var alias: String?
    var champion: Int?
    /// Why the champion, or the best, was not asked.
    var incomparable: String?
    var cost: Cost

    var test: SetReport { sets[0] }

    subscript(_ name: String) -> SetReport? { sets.first { $0.name == name } }

    /// The result in a line.
    var summary: String {
        func text(_ metric: String, _ format: (Double) -> String) -> String? {
            guard let after = test.values[.trained]?[metric] else { return nil }
            let before = [EvaluationRole.base, .champion].compactMap { test.values[$0]?[metric] }.map {
                format($0) + " → "
            }
            return "test \(metric) \(before.joined())\(format(after)) on \(test.examples) examples"
        }
        return text("accuracy") { String(format: "%.1f%%", 100 * $0) }
            ?? text("perplexity") { String(format: "%.3f", $0) } ?? text("loss") { String(format: "%.4f", $0) }
            ?? "evaluated \(test.examples) examples"
    }
}

/// A line of `examples.jsonl`.
struct ExampleLine: Codable {
    var index: Int
    var base: ExampleScore?
    var champion: ExampleScore?
    var best: ExampleScore?
    var trained: ExampleScore?

    subscript(_ role: EvaluationRole) -> ExampleScore? {
        get {
            switch role {
            case .base: base
            case .champion: champion
            case .best: best
            case .trained: trained
            }
        }
        set {
            switch role {
            case .base: base = newValue
            case .champion: champion = newValue
            case .best: best = newValue
            case .trained: trained = newValue
            }
        }
    }
}
