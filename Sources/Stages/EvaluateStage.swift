import Foundation
import Layers
import Models
import PipelineSpec
import Training

/// Judges base and trained model on the same test tokens.
///
/// Output: `evaluation.json` with loss and perplexity of both, and `examples.jsonl` with each test sequence's own numbers.
enum EvaluateStage: Stage {
    static let descriptor = StageDescriptor(
        kind: "evaluate", version: 1, manifestKeys: ["evaluate"], inputs: [.base],
        requires: ["tokenize", "train"])

    /// One model's numbers.
    struct Score: Codable, Equatable {
        /// Mean nats per scored token, or per text where whole texts are judged.
        var loss: Double
        var perplexity: Double
        /// The share of texts whose class was predicted rightly; `nil` where none is predicted.
        var accuracy: Double?
    }

    /// What `evaluation.json` says.
    struct Report: Codable, Equatable {
        /// Scored tokens, or texts where whole texts are judged, and sequences of the test split.
        var tokens: Int
        var sequences: Int
        /// `nil` when the base is random or has no head for the task: there is nothing to compare with.
        var base: Score?
        var trained: Score
    }

    /// A line of `examples.jsonl`.
    private struct ExampleLine: Codable {
        var index: Int
        var tokens: Int
        var base_nll: Double?
        var trained_nll: Double
    }

    static func run(_ run: StageRun) throws {
        let test = try TokenDataset(run.input("tokenize").appending(path: SplitName.test.tokensFile))
        guard test.targetCount > 0 else {
            throw StageError(
                "no_test_data",
                "the test split has no token to score; give data.test a larger share, or files of its own")
        }
        let product = try TrainedProduct(try run.input("train"))
        let task = try run.task()
        var base: Evaluation?
        let trained: Evaluation
        switch product {
        case .adapter(let folder):
            let loaded = try AdaptedModel(base: run.base, adapter: folder, for: task.model)
            if try task.isTask(ofBase: run.base) {
                base = try loaded.withoutAdapter { try evaluate(loaded.model, test, run, 0, 0.5) }
            }
            trained = try evaluate(loaded.model, test, run, 0.5, 1)
        case .checkpoint(let folder):
            if case .folder = run.manifest.base, try task.isTask(ofBase: run.base) {
                base = try evaluate(AdaptedModel(base: run.base, for: task.model).model, test, run, 0, 0.5)
            }
            trained = try evaluate(AdaptedModel(base: folder, for: task.model).model, test, run, 0.5, 1)
        }
        let report = Report(
            tokens: trained.tokens, sequences: test.count, base: try base.map { try score($0) },
            trained: try score(trained))
        try run.write(report, to: "evaluation.json")
        try writeExamples(base, trained, to: run.output.appending(path: "examples.jsonl"))
        run.metrics["loss"] = report.trained.loss
        run.metrics["perplexity"] = report.trained.perplexity
        run.metrics["base_loss"] = report.base?.loss
        run.metrics["base_perplexity"] = report.base?.perplexity
        run.metrics["accuracy"] = report.trained.accuracy
        run.metrics["base_accuracy"] = report.base?.accuracy
        run.report(1, report.summary)
    }

    /// Tokens scored in one forward pass.
    private static let batchTokens = 2048

    private static func evaluate(
        _ model: any SequenceModel, _ test: TokenDataset, _ run: StageRun, _ low: Double, _ high: Double
    ) throws -> Evaluation {
        let task = try run.task()
        let size = TrainingSizes(run.manifest, task, longest: test.longest).datasetTokens(run.halved(batchTokens))
        return try Evaluation(of: model, on: test, batchTokens: size, hiding: task.hiding(model)) { tokens in
            if run.isStopRequested { throw StageError.stopped }
            let share = Double(tokens) / Double(max(test.targetCount, 1))
            run.report(ProgressEvent(time: Date().timeIntervalSince1970, fraction: low + (high - low) * share))
        }
    }

    private static func score(_ evaluation: Evaluation) throws -> Score {
        guard let loss = evaluation.meanNegativeLogLikelihood, let perplexity = evaluation.perplexity,
            perplexity.isFinite
        else {
            let loss = evaluation.meanNegativeLogLikelihood.map { ", \($0)," } ?? ""
            throw StageError(
                "non_finite_loss",
                "the model's loss on the test split\(loss) has no finite perplexity; lower the learning rate, or look for a "
                    + "broken weight in the base")
        }
        return Score(loss: loss, perplexity: perplexity, accuracy: evaluation.accuracy)
    }

    private static func writeExamples(_ base: Evaluation?, _ trained: Evaluation, to file: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        var lines = Data()
        for (index, example) in trained.examples.enumerated() {
            lines +=
                try encoder.encode(
                    ExampleLine(
                        index: index, tokens: example.tokens, base_nll: base?.examples[index].negativeLogLikelihood,
                        trained_nll: example.negativeLogLikelihood)) + Data("\n".utf8)
        }
        try lines.write(to: file, options: .atomic)
    }
}

extension EvaluateStage.Report {
    /// The result in a line.
    var summary: String {
        if let accuracy = trained.accuracy {
            let before = base?.accuracy.map { String(format: "%.1f%% → ", 100 * $0) } ?? ""
            return "test accuracy \(before)\(String(format: "%.1f%%", 100 * accuracy)) on \(tokens) texts"
        }
        let before = base.map { String(format: "%.3f → ", $0.perplexity) } ?? ""
        return "test perplexity \(before)\(String(format: "%.3f", trained.perplexity)) on \(tokens) tokens"
    }
}

/// What a train stage left behind.
enum TrainedProduct {
    /// A PEFT folder.
    case adapter(URL)
    /// A Hugging Face checkpoint folder.
    case checkpoint(URL)

    static let adapterFolder = "adapter"
    static let checkpointFolder = "model"

    /// Looks into the output of a train stage.
    init(_ output: URL) throws {
        let adapter = output.appending(path: Self.adapterFolder, directoryHint: .isDirectory)
        let checkpoint = output.appending(path: Self.checkpointFolder, directoryHint: .isDirectory)
        if FileManager.default.fileExists(atPath: adapter.path) {
            self = .adapter(adapter)
        } else if FileManager.default.fileExists(atPath: checkpoint.path) {
            self = .checkpoint(checkpoint)
        } else {
            throw StageError("damaged_input", "\(output.path) holds neither an adapter nor a model; run train again")
        }
    }
}
