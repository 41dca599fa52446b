import Foundation
import Layers
import Models
import PipelineSpec
import Training

/// What a job's model learns to do, as its manifest, its base and its data decide.
struct JobTask: Sendable, Equatable {
    /// Never `auto`.
    let kind: JobManifest.Task
    /// The names of the classes, by index; `nil` for a task without.
    var classes: [String]?
    /// The id that stands for a hidden token, where hidden tokens are to be found.
    var maskID: Int32?
    /// How images are cut, where images are read.
    var images: ImageGeometry?

    /// The next token of text.
    static let writing = JobTask(kind: .causalLM)

    /// What the head is for. Where classes are not known yet, as few as there can be.
    var model: ModelTask {
        let labels = max(classes?.count ?? 2, 2)
        return switch kind {
        case .auto, .causalLM: .causalLM
        case .sequenceClassification: .sequenceClassification(labels: labels)
        case .sequenceRegression: .sequenceRegression
        case .tokenClassification: .tokenClassification(labels: labels)
        case .maskedLM: .maskedLM
        case .embedding: .featureExtraction
        case .imageClassification: .imageClassification(labels: labels)
        }
    }

    /// Whether a head chooses between classes.
    var hasClasses: Bool { model.labelCount != nil }

    /// Whether there is a head that is trained whole and kept beside an adapter.
    private var keepsHead: Bool { !model.modulesToSave.isEmpty }

    /// How tokens are hidden from a model.
    func hiding(_ model: any SequenceModel) -> TokenHiding? {
        maskID.map { TokenHiding(maskID: $0, vocabularySize: model.vocabularySize) }
    }

    /// The seed of a head that the base does not have; `nil` where only the base's own will do, because nothing would keep
    /// a new one.
    func newHeadSeed(_ seed: UInt64) -> UInt64? { keepsHead ? seed : nil }

    /// Whether the base at `folder` can be judged without an adapter: one that comes with the head that the job trains.
    func isTask(ofBase folder: URL) throws -> Bool {
        try !keepsHead || ModelRegistry.task(ModelConfiguration(folder: folder)) == model
    }
}

extension JobTask {
    /// What can be learned on a base.
    static func choices(_ family: ModelFamily) -> [JobManifest.Task] {
        switch family {
        case .decoder: [.causalLM, .sequenceClassification, .sequenceRegression]
        case .encoder: [.sequenceClassification, .sequenceRegression, .tokenClassification, .maskedLM, .embedding]
        case .vision: [.imageClassification]
        }
    }

    /// Decides what a job learns.
    ///
    /// - Parameters:
    ///   - wanted: the manifest's word.
    ///   - format: what the first file of the data holds; asked only where it decides, and `nil` where there is no data to
    ///     look at.
    /// - Throws: ``StageError`` `unsupported` for what the base cannot learn, or cannot learn from such data.
    static func kind(
        _ wanted: JobManifest.Task, _ configuration: ModelConfiguration, isNew: Bool,
        format: () throws -> JobManifest.DataFormat?
    ) throws -> JobManifest.Task {
        let family = try ModelRegistry.family(configuration), own = try ModelRegistry.task(configuration)
        let choices = choices(family), folder = configuration.file.deletingLastPathComponent().path
        var kind = wanted
        if kind == .auto {
            switch family {
            case .vision: kind = .imageClassification
            case .decoder:
                kind =
                    switch own {
                    case .sequenceClassification: .sequenceClassification
                    case .sequenceRegression: .sequenceRegression
                    default: .causalLM
                    }
            case .encoder:
                let found = try format()
                // Text by itself is for a base that can find hidden tokens; for any other, its classes are missing.
                let isText = found == .text && own != .maskedLM && !isNew
                kind =
                    choices.first { choice in !isText && found.map { choice.formats.contains($0) } ?? false }
                    ?? .sequenceClassification
                if kind == .sequenceClassification, own == .sequenceRegression { kind = .sequenceRegression }
            }
        }
        guard choices.contains(kind) else {
            let type = try configuration.word("model_type", default: "")
            throw StageError(
                "unsupported",
                "\(folder): task \(kind.rawValue) is not for a base such as \(type), which can learn "
                    + choices.map(\.rawValue).joined(separator: ", "))
        }
        guard kind != .maskedLM || own == .maskedLM || isNew else {
            throw StageError(
                "unsupported",
                "\(folder): task masked-lm needs a base with a head for hidden tokens, and config.json names none under "
                    + "architectures; take one such as BertForMaskedLM")
        }
        return kind
    }
}

extension StageRun {
    /// What the model of the job is for, as the tokenize stage found.
    func task() throws -> JobTask {
        let report = try read(
            TokenizeStage.Report.self, from: try input("tokenize").appending(path: "report.json"))
        return JobTask(
            kind: report.task, classes: report.classes, maskID: report.maskID,
            images: try ModelRegistry.limits(ModelConfiguration(folder: base)).images)
    }
}
