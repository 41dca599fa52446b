import Adapters
import Foundation
import PipelineSpec
import TensorCore
import Tokenizers
import Training

/// Makes of the trained product what the store keeps: a folder other tools open, with a card and its lineage.
///
/// Output: `adapter/` (PEFT's files, `README.md`, `lorajobs.json`), or `model/` for a checkpoint, or both after a merge. Whoever
/// finalises the attempt publishes them as new versions.
enum PackageStage: Stage {
    static let descriptor = StageDescriptor(
        kind: "package", version: 4, manifestKeys: ["name", "merge", "gate"], inputs: [],
        requires: ["tokenize", "train", "evaluate"])

    static func run(_ run: StageRun) throws {
        let record = try VersionRecord(run)
        switch try TrainedProduct(run.input("train")) {
        case .adapter(let folder):
            try package(folder, as: TrainedProduct.adapterFolder, collection: "adapters", record, run)
            if run.manifest.merge != nil {
                guard case .checkpoint(let merged) = try TrainedProduct(run.input("merge")) else {
                    throw StageError("damaged_input", "the merge stage left no model; run merge again")
                }
                try package(merged, as: TrainedProduct.checkpointFolder, collection: "models", record, run)
            }
        case .checkpoint(let folder):
            try package(folder, as: TrainedProduct.checkpointFolder, collection: "models", record, run)
        }
        run.metrics = record.metrics
        if let gate = record.gate { run.log("gate: \(gate.outcome.rawValue): \(gate.reason)") }
        run.report(1, "packaged \(run.publications.map { "\($0.collection)/\($0.name)" }.joined(separator: " and "))")
    }

    private static func package(
        _ source: URL, as name: String, collection: String, _ record: VersionRecord, _ run: StageRun
    ) throws {
        let target = run.output.appending(path: name, directoryHint: .isDirectory)
        // Left over from an attempt that was interrupted here.
        try? FileManager.default.removeItem(at: target)
        try FileManager.default.createDirectory(at: target, withIntermediateDirectories: true)
        for file in try FileManager.default.contentsOfDirectory(at: source, includingPropertiesForKeys: nil) {
            try FileManager.default.copyItem(at: file, to: target.appending(path: file.lastPathComponent))
        }
        let base = BaseName(path: run.manifest.base.path, workspace: run.request.workspace)
        let card = record.card(base: base.description, isAdapter: collection == "adapters")
        try Data(card.text.utf8).write(to: target.appending(path: "README.md"), options: .atomic)
        try run.write(record, to: "\(name)/lorajobs.json")
        run.publications.append(Publication(collection: collection, name: run.request.name, folder: name))
    }
}

/// What `lorajobs.json` says of a version, before the store adds name, number and digest.
struct VersionRecord: Codable {
    var schema = 1
    var job: String
    /// The numbers that lists show: loss and perplexity on the test split, and the base's.
    var metrics: [String: Double]
    var evaluation: EvaluationReport
    /// How it does beside published versions, where there were any; `nil` in what an earlier program wrote.
    var comparisons: [VersionComparison]?
    /// What the job's gate said; `nil` for a job without.
    var gate: GateVerdict?
    var training: TrainStage.Report
    var data: [String: TokenizeStage.Report.Split]
    /// How often each class was named in the training records, where classes are: a later job's data are compared with it.
    var labels: [String: Int]?
    /// What was learned.
    var task: JobManifest.Task
    /// The names of the classes by index, where a head chooses between some.
    var classes: [String]?
    var lineage: Lineage

    /// Everything the version was made from.
    struct Lineage: Codable {
        var manifest: JobManifest
        var manifest_digest: String
        /// Files as they were pinned when a stage began to read them.
        var base: [PinnedFile]
        var tokenizer: [PinnedFile]
        var data: [String: [PinnedFile]]
        /// The files of suites and of the general text.
        var suites: [String: [PinnedFile]]?
        /// The version that training went on from.
        var parent: PinnedVersion?
        /// Digests of the outputs this version was packaged from, by kind of stage.
        var stages: [String: String]
        /// What making them took, and the digests of their logs; `nil` in what an earlier program wrote.
        var costs: [String: StageCost]?
        /// Name and version of the program that packaged it; `nil` in what an earlier one wrote.
        var program: String?
        var numerics_version: Int
        var seed: UInt64
        var threads: Int
        var precision: String
        /// Which kernels and which BLAS computed: the kind of processor that reproduces the bytes.
        var engine: String
    }

    init(_ run: StageRun) throws {
        let tokenize = try run.input("tokenize"), train = try run.input("train"), evaluate = try run.input("evaluate")
        let tokenizeInputs = try run.read(InputRecord.self, from: tokenize.appending(path: InputRecord.fileName))
        let trainInputs = try run.read(InputRecord.self, from: train.appending(path: InputRecord.fileName))
        let evaluateInputs = try run.read(
            InputRecord.self, from: evaluate.appending(path: InputRecord.fileName))
        job = run.request.job
        let evaluation = try run.read(
            EvaluationReport.self, from: evaluate.appending(path: EvaluationReport.fileName))
        self.evaluation = evaluation
        metrics = evaluation.test.values[.trained] ?? [:]
        for (name, value) in evaluation.test.values[.base] ?? [:] { metrics["base_\(name)"] = value }
        let judgement = try Self.judgement(evaluation, in: evaluate, run)
        comparisons = try judgement.comparisons()
        gate = run.manifest.gate == nil ? nil : try judgement.verdict()
        training = try run.read(TrainStage.Report.self, from: train.appending(path: "training.json"))
        let report = try run.read(TokenizeStage.Report.self, from: tokenize.appending(path: "report.json"))
        data = report.splits
        labels = report.health.flatMap { $0.labels.isEmpty ? nil : $0.labels }
        (task, classes) = (report.task, report.classes)
        lineage = Lineage(
            manifest: run.manifest, manifest_digest: run.request.manifestDigest, base: trainInputs.base,
            tokenizer: tokenizeInputs.base, data: tokenizeInputs.data, suites: evaluateInputs.suites,
            parent: training.parent, stages: run.request.inputDigests, costs: run.request.inputCosts,
            program: Program.description,
            numerics_version: trainInputs.numericsVersion, seed: run.manifest.train.seed, threads: trainInputs.threads,
            precision: training.precision, engine: trainInputs.engine)
    }

    /// By the job's gate; without one, by what is asked for first.
    private static func judgement(
        _ report: EvaluationReport, in output: URL, _ run: StageRun
    ) throws -> GateJudgement {
        var references: [String: [String?]] = [:]
        for set in report.sets {
            let metrics = try set.metrics.map { try MetricRegistry.metric(named: $0) }
            guard metrics.contains(where: { $0.evidence == .text }) else { continue }
            let tokenizer = try Tokenizer.load(folder: run.base)
            let file =
                set.name == EvaluationSet.test
                ? try run.input("tokenize").appending(path: SplitName.test.tokensFile)
                : output.appending(path: "sets/\(set.name).tokens")
            let examples = try TokenDataset(file)
            references[set.name] = (0..<examples.count).map { ScoredText(examples[$0], tokenizer).reference }
        }
        var gate = JobManifest.Gate()
        if let metric = run.manifest.evaluate.metrics.first { gate.metric = metric }
        return try GateJudgement(run.manifest.gate ?? gate, report, in: output, references: references)
    }
}

/// What a stage read, kept beside its output: `inputs.json`.
struct InputRecord: Codable {
    static let fileName = "inputs.json"

    var data: [String: [PinnedFile]]
    var suites: [String: [PinnedFile]]?
    var base: [PinnedFile]
    var inputDigests: [String: String]
    var numericsVersion: Int
    var threads: Int
    var engine: String

    init(_ request: StageRequest) {
        data = request.data
        suites = request.suites
        base = request.base
        inputDigests = request.inputDigests
        numericsVersion = Numerics.version
        threads = request.threads
        engine = EngineDescription.text
    }
}

/// How other tools know a base: its hub name when it lies in the local Hugging Face cache, else its path.
struct BaseName: CustomStringConvertible {
    let description: String

    /// - Parameter workspace: when given, a base inside it is named by its path from there.
    init(path: String, workspace: String? = nil) {
        let cached = path.split(separator: "/").first { $0.hasPrefix("models--") }
        let parts = cached?.dropFirst("models--".count).components(separatedBy: "--") ?? []
        let inside = workspace.map { $0.hasSuffix("/") ? $0 : $0 + "/" } ?? "/\0"
        if parts.count == 2 {
            description = parts.joined(separator: "/")
        } else {
            description = path.hasPrefix(inside) ? String(path.dropFirst(inside.count)) : path
        }
    }
}
