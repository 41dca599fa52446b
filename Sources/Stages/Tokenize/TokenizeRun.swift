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
    let tokenizer: Tokenizer
    let encoder: ExampleEncoder
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
        tokenizer = try Tokenizer.load(folder: folder)
        var encoder = try ExampleEncoder(
            folder: folder, tokenizer: tokenizer, vocabularySize: limits.vocabularySize,
            maxLength: min(manifest.data.maxLength ?? limits.contextLength, limits.contextLength),
            data: manifest.data)
        encoder.comparesExamples = manifest.data.format == .preference
        encoder.judgesTexts = try ModelRegistry.judgesTexts(configuration)
        self.encoder = encoder
    }

    /// What was done, besides the files.
    struct Outcome {
        var report: TokenizeStage.Report
        /// Records taken from the earlier run, and why none were.
        var reused = 0
        var whyNone: String?
    }

    /// Writes the files of each split and `records.index` into `output`.
    ///
    /// - Parameters:
    ///   - progress: told the share of the bytes that is done; what it throws ends the work.
    func write(to output: URL, progress: ((Double) throws -> Void)? = nil) throws -> Outcome {
        let source = RecordSource(data: manifest.data, passageBytes: 4 * encoder.maxLength)
        var encoder = encoder
        if encoder.classes == nil {
            encoder.classes = try source.classNames(in: files.map { $0.file }, upTo: sampleBytes)
        }
        let classes = try encoder.judgesTexts ? TokenizeStage.classes(encoder) : nil
        let settings = try self.settings(encoder)
        var outcome = Outcome(report: .init())
        var earlier: EarlierTokens?
        if let previous { (earlier, outcome.whyNone) = EarlierTokens.open(previous, settings: settings) }
        let tokenizer = DataTokenizer(
            source: source, encoder: encoder, threads: threads, earlier: earlier, sampleBytes: sampleBytes)
        // Almost always every split that was asked for gets a record by itself. Only when not, one is moved there, and
        // everything is done once more.
        let plain = SplitAssignment(manifest.data, hashes: [])
        var assignment = plain
        while true {
            var extremes = SplitExtremes(plain)
            outcome.report = try pass(
                tokenizer, assignment, to: output, settings, &extremes, &outcome.reused, progress)
            outcome.report.classes = classes
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
        _ tokenizer: DataTokenizer, _ assignment: SplitAssignment, to output: URL, _ settings: String,
        _ extremes: inout SplitExtremes, _ reused: inout Int, _ progress: ((Double) throws -> Void)?
    ) throws -> TokenizeStage.Report {
        var report = TokenizeStage.Report(maxLength: encoder.maxLength)
        var writers: [SplitName: TokenDatasetWriter] = [:]
        for split in SplitName.allCases {
            writers[split] = try TokenDatasetWriter(output.appending(path: split.tokensFile))
        }
        let index = try RecordIndex.Writer(output.appending(path: RecordIndex.fileName), settings: settings)
        var hashes = RecordHashes()
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
            case .record(let item):
                if item.split == .train { extremes.insert(item.hash) }
                let split = item.split == .train ? assignment.split(of: item.hash) : item.split
                report.count(item.encoded)
                for example in item.encoded.examples {
                    try writers[split]?.append(
                        example.ids, scored: example.scored, label: example.label, types: example.types)
                    report.count(example, in: split)
                }
                hashes.insert(item.hash, in: split)
                if item.isReused { reused += 1 }
                try index.append(RecordIndex.Entry(item.encoded, hash: item.hash, end: item.end, split: split))
                if split == .train, report.examples.count < exampleCount, let first = item.encoded.examples.first {
                    report.examples.append(DecodedExample(first, self.tokenizer))
                }
                try progress?(Double(finished + min(item.end, item.file.length)) / total)
            }
        }
        report.reading = reading
        for writer in writers.values { try writer.finish() }
        try index.finish()
        (report.duplicates, report.overlap) = hashes.summary()
        report.comparedOneIn = hashes.sampledOneIn
        if let train = report.splits["train"], train.tokens > 0 {
            report.tokensPerEpoch = train.tokens
            report.trainedShare = Double(train.targets) / Double(train.tokens)
        }
        return report
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
            var judgesTexts: Bool
        }
        // Which split a record belongs to is decided anew.
        let keys = TokenizeStage.descriptor.manifestKeys.filter { !["data.validation", "data.test"].contains($0) }
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
                    judgesTexts: encoder.judgesTexts)))
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
