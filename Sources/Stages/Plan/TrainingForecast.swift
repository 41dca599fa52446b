import Adapters
import Foundation
import Layers
import Models
package import PipelineSpec
import TensorCore
import Tokenizers
import Training

/// What a job will read, learn and take, found out before it runs: what `lorajobs plan` shows.
package struct TrainingForecast: Codable, Sendable {
    /// A part of an example whose tokens are all learned, or all only read.
    package struct Piece: Codable, Sendable, Equatable {
        package var text: String
        package var trained: Bool
    }

    /// A decoded example of the training split.
    package struct Example: Codable, Sendable, Equatable {
        package var tokens: Int
        package var pieces: [Piece]
    }

    package struct Split: Codable, Sendable, Equatable {
        package var sequences: Int
        package var tokens: Int
        package var targets: Int
    }

    /// Bytes of the data, and how many of them were read for this; fewer mean that the counts are a sample's.
    package var bytes: Int64 = 0
    package var bytesRead: Int64 = 0
    /// The format of each file, in words.
    package var formats: [String: String] = [:]
    package var records = 0
    package var kept = 0
    package var dropped = 0
    package var truncated = 0
    package var reasons: [String: Int] = [:]
    /// Broken records that are tolerated, with place and reason.
    package var badRecords: [String] = []
    package var lengths = LengthHistogram()
    package var longest = 0
    package var maxLength = 0
    package var splits: [String: Split] = [:]
    package var trainedShare = 0.0
    package var paddingShare = 0.0
    package var duplicates: [String: Int] = [:]
    package var overlap: [String: Int] = [:]
    package var examples: [Example] = []

    /// Of the whole data; estimated from the sample where there is one.
    package var tokensPerEpoch = 0
    package var steps = 0
    package var trainedTokens = 0
    /// The most tokens that are computed at once, and how full such a micro-batch is on average.
    package var microBatchTokens = 0
    package var microBatchFill = 0.0
    package var parameters = 0
    package var trainedParameters = 0
    package var memory: MemoryEstimate?
    package var peakBytes: Int64 = 0
    /// Training alone, on this machine, while nothing else runs.
    package var seconds = 0.0
    package var tokensPerSecond = 0.0
    /// Large products in this process, on as many threads as the job has.
    package var gigaflopsPerSecond = 0.0

    /// Whether the counts are a sample's.
    package var isSample: Bool { bytesRead < bytes }

    /// Data up to this size are read whole.
    private static let wholeBytes: Int64 = 32 << 20

    /// Reads and encodes the data as the tokenize stage does, into a folder that is removed again.
    ///
    /// - Parameters:
    ///   - data: the pinned files by split key.
    ///   - isFull: read all of it, however large.
    ///   - exampleCount: how many examples to decode.
    /// - Throws: ``StageError``, as the stages would.
    package init(
        of manifest: JobManifest, data: [String: [PinnedFile]], tokenizer: [PinnedFile], isFull: Bool = false,
        exampleCount: Int = 3
    ) throws {
        Parallel.threadCount = manifest.run.threads
        var work = try TokenizeRun(
            manifest: manifest, data: data, tokenizerFiles: tokenizer, threads: manifest.run.threads)
        let files = data.values.flatMap { $0 }
        bytes = files.reduce(0) { $0 + $1.length }
        bytesRead = bytes
        if !isFull, bytes > Self.wholeBytes {
            let share = max(1 << 20, (Self.wholeBytes / 2) / Int64(max(files.count, 1)))
            work.sampleBytes = share
            bytesRead = files.reduce(0) { $0 + min($1.length, share) }
        }
        let folder = FileManager.default.temporaryDirectory.appending(path: "lorajobs-plan-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var shown: [EncodedExample] = []
        func show(_ split: SplitName, _ encoded: EncodedRecord) {
            guard split == .train, shown.count < exampleCount, let example = encoded.examples.first else { return }
            shown.append(example)
        }
        let outcome = try work.write(to: folder, watch: show)
        take(outcome.report)
        examples = shown.map { Example($0, work.tokenizer) }
        guard (splits["train"]?.targets ?? 0) > 0 else {
            throw StageError(
                "no_data",
                "the training split has nothing to learn: \(records) records read, \(dropped) dropped "
                    + "(\(reasons["overlength"] ?? 0) longer than \(maxLength) tokens), \(badRecords.count) bad")
        }
        try plan(try TokenDataset(folder.appending(path: SplitName.train.tokensFile)), manifest)
        try estimate(manifest)
    }

    private mutating func take(_ report: TokenizeStage.Report) {
        formats = report.reading.formats
        records = report.reading.records
        badRecords = report.reading.badRecords
        (kept, dropped, truncated, reasons) = (report.kept, report.dropped, report.truncated, report.reasons)
        (lengths, longest, maxLength) = (report.lengths, report.longest, report.maxLength)
        splits = report.splits.mapValues { Split(sequences: $0.sequences, tokens: $0.tokens, targets: $0.targets) }
        (trainedShare, paddingShare) = (report.trainedShare, report.paddingShare)
        (duplicates, overlap) = (report.duplicates, report.overlap)
    }

    private mutating func plan(_ training: TokenDataset, _ manifest: JobManifest) throws {
        var options = TrainingOptions(manifest.train)
        let limit = TrainStage.microBatchTokens(manifest.train, longest: training.longest)
        options.microBatchSize = .tokens(limit)
        let plan = try BatchPlan(
            training, duration: options.duration, stepSize: options.stepSize, microBatchSize: options.microBatchSize,
            seed: options.seed)
        let scale = Double(bytes) / Double(max(bytesRead, 1))
        tokensPerEpoch = Int(Double(training.tokenCount) * scale)
        var (parts, tokens, stepTokens) = (0, 0, 0)
        let epoch = plan.steps(inEpoch: 0)
        for step in epoch {
            stepTokens += step.tokens
            for part in plan.microBatches(of: step) {
                let size = part.reduce(0) { $0 + training.length($1) }
                (parts, tokens) = (parts + 1, tokens + size)
                microBatchTokens = max(microBatchTokens, size)
            }
        }
        microBatchFill = Double(tokens) / Double(max(parts, 1) * limit)
        steps = plan.stepCount
        if case .epochs = options.duration { steps = Int((Double(steps) * scale).rounded()) }
        trainedTokens = steps * stepTokens / max(epoch.count, 1)
    }

    private mutating func estimate(_ manifest: JobManifest) throws {
        let estimate = try MemoryEstimate(
            of: manifest, microBatchTokens: microBatchTokens, longestSequence: longest)
        (memory, peakBytes) = (estimate, estimate.peak)
        (parameters, trainedParameters) = (estimate.parameters, estimate.trainedParameters)
        let folder = URL(filePath: manifest.base.path, directoryHint: .isDirectory)
        let speed = try TrainingSpeed(
            ModelRegistry.outline(ModelConfiguration(folder: folder)), trainedParameters: trainedParameters,
            trainsAll: manifest.adapter.method == .full, trainedShare: trainedShare, rows: microBatchTokens,
            sequence: tokensPerSequence)
        gigaflopsPerSecond = speed.productsPerSecond / 1e9
        tokensPerSecond = speed.tokensPerSecond
        seconds = Double(trainedTokens) / speed.tokensPerSecond
    }

    private var tokensPerSequence: Int {
        let train = splits["train"]
        return (train?.tokens ?? 0) / max(train?.sequences ?? 1, 1)
    }
}

extension TrainingForecast.Example {
    init(_ example: EncodedExample, _ tokenizer: Tokenizer) {
        self.init(tokens: example.ids.count, pieces: [])
        var run: [Int32] = []
        var isTrained = false
        func finish() {
            guard !run.isEmpty else { return }
            pieces.append(.init(text: tokenizer.decode(run, skipSpecialTokens: false), trained: isTrained))
            run = []
        }
        for (position, id) in example.ids.enumerated() {
            // The first token of a sequence is never predicted.
            let counts = position > 0 && (example.scored?[position] ?? true)
            if counts != isTrained { finish() }
            isTrained = counts
            run.append(id)
        }
        finish()
    }
}
