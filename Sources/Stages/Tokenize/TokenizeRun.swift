import Artifacts
import Foundation
import Models
import PipelineSpec
import Tokenizers
import Training

/// The work of a tokenize stage, for the stage itself and for whoever wants to know beforehand what it will do.
struct TokenizeRun {
    let manifest: JobManifest
    /// The data files by split.
    let data: [String: [PinnedFile]]
    /// The tokenizer's files.
    let tokenizerFiles: [PinnedFile]
    let threads: Int
    /// `nil` for a base that reads no text.
    let tokenizer: Tokenizer?
    let encoder: ExampleEncoder
    /// What is learned, but for what the data decide: classes.
    private(set) var task: JobTask
    /// The `out/` of an earlier run that may share records.
    var previous: URL?
    /// Examples that the report shows.
    var exampleCount = 3
    /// See ``DataTokenizer/sampleBytes``.
    var sampleBytes: Int64?

    init(manifest: JobManifest, data: [String: [PinnedFile]], tokenizerFiles: [PinnedFile], threads: Int) throws {
        self.manifest = manifest
        self.data = data
        self.tokenizerFiles = tokenizerFiles
        self.threads = threads
        let folder = URL(filePath: manifest.base.path, directoryHint: .isDirectory)
        let configuration = try ModelConfiguration(folder: folder)
        let limits = try ModelRegistry.limits(configuration)
        var isNew = false
        if case .random = manifest.base { isNew = true }
        let kind = try JobTask.kind(manifest.task, configuration, isNew: isNew) {
            try Self.format(of: data, manifest)
        }
        task = JobTask(kind: kind, images: limits.images)
        let isText = kind != .imageClassification
        tokenizer = isText ? try Tokenizer.load(folder: folder) : nil
        let wanted = isText ? manifest.data.maxLength ?? limits.contextLength : limits.contextLength
        var encoder = try ExampleEncoder(
            folder: folder, tokenizer: tokenizer, vocabularySize: limits.vocabularySize,
            maxLength: min(wanted, limits.contextLength), data: manifest.data)
        encoder.task = kind
        encoder.images = try limits.images.map { try ImageEncoder(configuration, $0) }
        encoder.comparesExamples = manifest.data.format == .preference
        self.encoder = encoder
        if kind == .maskedLM {
            task.maskID = tokenizer?.id(of: "[MASK]") ?? tokenizer?.id(of: "<mask>")
            guard task.maskID != nil else {
                throw StageError(
                    "no_mask_token",
                    "\(folder.path): the tokenizer has neither [MASK] nor <mask>, so that nothing can stand for a hidden token"
                )
            }
        }
    }

    /// The format of the first file that is not empty.
    private static func format(
        of data: [String: [PinnedFile]], _ manifest: JobManifest
    ) throws -> JobManifest.DataFormat? {
        if manifest.data.format != .auto { return manifest.data.format }
        let files = SplitName.allCases.flatMap { data[$0.rawValue] ?? [] }
        return try files.first { $0.length > 0 }.map {
            try RecordSource(data: manifest.data, passageBytes: 1 << 12).formatName(of: $0)
        }
    }

    /// What was done, besides the files.
    struct Outcome {
        var report: TokenizeStage.Report
        /// What is learned, classes included.
        var task = JobTask.writing
        /// Records taken from the earlier run, and why none were.
        var reused = 0
        var whyNone: String?
    }

    /// Writes the files of each split and `records.index` into `output`.
    ///
    /// - Parameters:
    ///   - progress: told the share of the bytes that is done; what it throws ends the work.
    func write(to output: URL, progress: ((Double) throws -> Void)? = nil) throws -> Outcome {
        var source = RecordSource(data: manifest.data, passageBytes: 4 * encoder.maxLength)
        source.files = Dictionary(files.map { ($0.file.path, $0.file) }) { first, _ in first }
        try requireLabels(source.files)
        let survey = try source.survey(files.map { $0.file }, upTo: sampleBytes)
        source.listedImages = survey.images
        var encoder = encoder
        let isGiven = encoder.classes != nil
        // Numbers are no classes.
        if !isGiven, task.kind != .sequenceRegression { encoder.classes = survey.classes }
        var task = task
        if task.hasClasses {
            task.classes = try TokenizeStage.classes(
                encoder.classes?.names, isGiven: isGiven, for: task.kind,
                base: URL(filePath: manifest.base.path, directoryHint: .isDirectory))
            encoder.classes = task.classes.map { ClassNames($0) }
        }
        let settings = try self.settings(encoder)
        var outcome = Outcome(report: .init())
        var earlier: EarlierTokens?
        if let previous { (earlier, outcome.whyNone) = EarlierTokens.open(previous, settings: settings) }
        var tokenizer = DataTokenizer(
            source: source, encoder: encoder, threads: threads, earlier: earlier, sampleBytes: sampleBytes)
        outcome.task = task
        // Almost always every split that was asked for gets a record by itself. Only when not, one is moved there, and
        // everything is done once more.
        let plain = SplitAssignment(manifest.data, hashes: [])
        var assignment = plain
        while true {
            var extremes = SplitExtremes(plain)
            tokenizer.sampling = Sampling(manifest.data, assignment)
            outcome.report = try pass(
                tokenizer, assignment, task, to: output, settings, &extremes, &outcome.reused, progress)
            let next = SplitAssignment(manifest.data, hashes: extremes.hashes)
            guard next != assignment else { return outcome }
            assignment = next
        }
    }

    /// The data files in the order in which they are read.
    private var files: [(split: SplitName, file: PinnedFile)] {
        SplitName.allCases.flatMap { split in (data[split.rawValue] ?? []).map { (split: split, file: $0) } }
    }

    private func pass(
        _ tokenizer: DataTokenizer, _ assignment: SplitAssignment, _ task: JobTask, to output: URL, _ settings: String,
        _ extremes: inout SplitExtremes, _ reused: inout Int, _ progress: ((Double) throws -> Void)?
    ) throws -> TokenizeStage.Report {
        var report = TokenizeStage.Report(maxLength: task.images?.rowCount ?? encoder.maxLength)
        (report.task, report.classes, report.maskID) = (task.kind, task.classes, task.maskID)
        report.imageRows = task.images?.rowCount
        if manifest.data.sample != nil { report.leftOut = 0 }
        var writers: [SplitName: TokenDatasetWriter] = [:]
        for split in SplitName.allCases {
            writers[split] = try TokenDatasetWriter(
                output.appending(path: split.tokensFile), areBytes: task.images != nil)
        }
        let index = try RecordIndex.Writer(output.appending(path: RecordIndex.fileName), settings: settings)
        var health = HealthSurvey()
        let total = Double(max(files.reduce(0) { $0 + $1.file.length }, 1))
        var finished: Int64 = 0
        var current: PinnedFile?
        reused = 0
        var reading = RecordReading()
        try tokenizer.forEach(in: files, &reading) { event in
            switch event {
            case .began(let file, let format):
                finished += current?.length ?? 0
                current = file
                index.begin(file, format: format)
                health.begin(file)
            case .leftOut(let hash, let end):
                extremes.insert(hash)
                report.leftOut? += 1
                try index.append(
                    RecordIndex.Entry(
                        hash: hash, end: end, outcome: .leftOut, split: .train, sequences: 0, length: 0))
            case .record(let item):
                if item.split == .train { extremes.insert(item.hash) }
                let split = item.split == .train ? assignment.split(of: item.hash) : item.split
                report.count(item.encoded)
                for example in item.encoded.examples {
                    try writers[split]?.append(
                        example.ids, scored: example.scored, label: example.label, types: example.types)
                    report.count(example, in: split)
                }
                health.insert(item.features, line: item.line, in: split)
                if item.isReused { reused += 1 }
                try index.append(RecordIndex.Entry(item.encoded, hash: item.hash, end: item.end, split: split))
                if split == .train, report.examples.count < exampleCount, let first = item.encoded.examples.first {
                    report.examples.append(decoded(first, task))
                }
                try progress?(Double(finished + min(item.end, item.file.length)) / total)
            }
        }
        report.reading = reading
        for writer in writers.values { try writer.finish() }
        try index.finish()
        health.finish(&report)
        if let train = report.splits["train"], train.tokens > 0 {
            report.tokensPerEpoch = train.tokens
            report.trainedShare = Double(train.targets) / Double(train.tokens)
            if task.kind == .maskedLM { report.trainedShare *= TokenHiding.share }
        }
        return report
    }

    private func decoded(_ example: EncodedExample, _ task: JobTask) -> DecodedExample {
        tokenizer.map { DecodedExample(example, $0, classes: task.classes) }
            ?? DecodedExample(image: example, rows: task.images?.rowCount ?? 1, classes: task.classes)
    }

    /// A file of IDX images is read with the labels beside it, which must be of the job too: only then it is known whether
    /// they have changed.
    private func requireLabels(_ files: [String: PinnedFile]) throws {
        for file in files.values.sorted(by: { $0.path < $1.path }) {
            guard try IDXContainer.isFileOfImages(file), let labels = IDXContainer.labelsFile(of: file) else {
                continue
            }
            guard FilePaths.realPath(labels.path).flatMap({ files[$0] }) != nil else {
                throw StageError(
                    "bad_record",
                    "\(file.path): its labels, \(labels.lastPathComponent), are not among the files of the job; list both, such "
                        + "as data: {train: train-*-ubyte.gz}, so that a change of either is seen")
            }
        }
    }

    /// A digest of everything but the records that decides about sequences.
    private func settings(_ encoder: ExampleEncoder) throws -> String {
        struct Settings: Encodable {
            var stageVersion: Int
            var data: PipelineSpec.JSONValue
            var maxLength: Int
            var vocabularySize: Int
            var tokenizer: [String: String]
            var classes: [String]?
            var task: JobManifest.Task
        }
        // Which split a record belongs to, and whether it takes part, is decided anew, and so is whether the data are fit.
        let keys = TokenizeStage.descriptor.manifestKeys.filter {
            !["task", "data.sample", "data.validation", "data.test", "data.health"].contains($0)
        }
        // What the configuration decides is here by itself.
        let files = tokenizerFiles.map { (URL(filePath: $0.path).lastPathComponent, $0.digest) }
            .filter { $0.0 != "config.json" }
        return Digest.sha256(
            try ProtocolJSON.encode(
                Settings(
                    stageVersion: TokenizeStage.descriptor.version,
                    data: ManifestSchema.canonical(manifest, keys: keys),
                    maxLength: encoder.maxLength, vocabularySize: encoder.vocabularySize,
                    tokenizer: Dictionary(files) { $1 }, classes: encoder.classes?.names,
                    task: encoder.task)))
    }
}

/// The few hashes of a job's training records that decide whether a record must be moved to fill an empty split.
///
/// What ``SplitAssignment`` makes of them is what it makes of all hashes.
struct SplitExtremes {
    private let plain: SplitAssignment
    /// The lowest that would be trained on; two may be moved, and one has to stay.
    private var lowest: [UInt64] = []
    private var others: [SplitName: UInt64] = [:]

    init(_ plain: SplitAssignment) { self.plain = plain }

    mutating func insert(_ hash: UInt64) {
        let split = plain.split(of: hash)
        guard split == .train else {
            others[split] = hash
            return
        }
        guard lowest.count < 3 || hash < lowest[2], !lowest.contains(hash) else { return }
        lowest.append(hash)
        lowest.sort()
        if lowest.count > 3 { lowest.removeLast() }
    }

    var hashes: [UInt64] { lowest + Array(others.values) }
}
