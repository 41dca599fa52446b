package import Foundation
import Layers
import Models
package import PipelineSpec
import Training

/// How well a model that writes no text does on the records of some files: what `lorajobs eval` prints for a base with a head.
///
/// Records are read and encoded as a job reads them, and judged as its evaluate stage judges; too long ones are cut.
package struct TaskEvaluation {
    /// One record's share.
    package struct Example: Codable {
        /// Mean over what was judged of it.
        package var nll: Double
        /// How much of it was judged: 1 for a whole.
        package var tokens: Int
        /// How much of that was judged rightly; `nil` where a number is wanted.
        package var correct: Int?
    }

    /// What was judged.
    package let task: JobManifest.Task
    package let examples: [Example]
    /// How much was judged, and its mean loss.
    package let tokens: Int
    package let nll: Double
    package let accuracy: Double?

    /// Whether a folder's model writes text, and is judged by ``TextEvaluation``.
    package static func writesText(_ folder: URL) throws -> Bool {
        let configuration = try ModelConfiguration(folder: folder)
        return try ModelRegistry.family(configuration) == .decoder && ModelRegistry.task(configuration) == .causalLM
    }

    /// Judges the records of `files`.
    ///
    /// - Parameters:
    ///   - adapter: a folder in PEFT's format.
    ///   - task: `auto` for what base and data say.
    ///   - labels: the classes in their order; where none are given, those of the adapter's record, else the base's, else
    ///     the data's.
    /// - Throws: ``StageError`` that names file and line, or the error of the floor that cannot read its file.
    package init(
        base: URL, adapter: URL?, on files: [URL], task: JobManifest.Task, labels: [String],
        format: JobManifest.DataFormat, columns: [String: String]
    ) throws {
        var manifest = JobManifest(name: "eval", base: .folder(base.path))
        manifest.task = task
        manifest.data.train = files.map(\.path)
        (manifest.data.format, manifest.data.columns) = (format, columns)
        (manifest.data.validation, manifest.data.test) = (.fraction(0), .fraction(0))
        (manifest.data.maxLength, manifest.data.overlength) = (nil, .truncate)
        manifest.data.labels = try labels.isEmpty ? adapter.flatMap { try Self.classes(of: $0) } ?? [] : labels

        let folder = FileManager.default.temporaryDirectory.appending(path: "lorajobs-eval-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let work = try TokenizeRun(
            manifest: manifest, data: ["train": try files.map { try PinnedFile.reading($0) }], tokenizerFiles: [],
            threads: 1)
        let learned = try work.write(to: folder).task
        let data = try TokenDataset(folder.appending(path: SplitName.train.tokensFile))
        let loaded = try AdaptedModel(base: base, adapter: adapter, for: learned.model)
        let size = TrainingSizes(manifest, learned, longest: data.longest).datasetTokens(2048)
        let evaluation = try Evaluation(
            of: loaded.model, on: data, batchTokens: size, hiding: learned.hiding(loaded.model))
        guard let mean = evaluation.meanNegativeLogLikelihood, mean.isFinite else {
            throw StageError(
                "no_test_data", "\(manifest.data.train.joined(separator: ", ")): there is nothing to judge")
        }
        self.task = learned.kind
        (tokens, nll, accuracy) = (evaluation.tokens, mean, evaluation.accuracy)
        examples = evaluation.examples.map {
            Example(
                nll: $0.negativeLogLikelihood / Double(max($0.tokens, 1)), tokens: $0.tokens, correct: $0.correct)
        }
    }

    /// The classes that the record of a version names; `nil` for an adapter of another maker.
    private static func classes(of adapter: URL) throws -> [String]? {
        struct Record: Decodable { var classes: [String]? }
        let file = adapter.appending(path: "lorajobs.json")
        guard FileManager.default.fileExists(atPath: file.path) else { return nil }
        return try JSONDecoder().decode(Record.self, from: Data(contentsOf: file)).classes
    }
}
