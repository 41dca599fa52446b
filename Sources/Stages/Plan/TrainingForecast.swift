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
    /// Training records that are not in `data.sample`.
    package var leftOut = 0
    package var reasons: [String: Int] = [:]
    /// Broken records that are tolerated, and the first of them with place and reason.
    package var badCount = 0
    package var badRecords: [String] = []
    package var lengths = LengthHistogram()
    package var longest = 0
    package var maxLength = 0
    package var splits: [String: Split] = [:]
    package var trainedShare = 0.0
    package var duplicates: [String: Int] = [:]
    package var overlap: [String: Int] = [:]
    package var health = DataHealth()
    /// What of that is worth saying, in sentences.
    package var healthLines: [String] = []
    package var examples: [DecodedExample] = []

    /// Of the whole data; estimated from the sample where there is one.
    package var tokensPerEpoch = 0
    package var steps = 0
    package var stepsPerEpoch = 0
    package var trainedTokens = 0
    /// The most tokens that are computed at once, and how full micro-batches are on average.
    package var microBatchTokens = 0
    package var microBatchFill = 0.0
    package var parameters = 0
    package var trainedParameters = 0
    package var memory: MemoryEstimate?
    package var peakBytes: Int64 = 0
    /// Training alone, on this machine, while nothing else runs.
    package var seconds = 0.0
    package var speed: TrainingSpeed?
    /// The training of each trial of a sweep, in seconds.
    package var trialSeconds: [Double] = []

    /// Whether the counts are a sample's.
    package var isSample: Bool { bytesRead < bytes }

    /// How much larger the files of a split are than what was read of them, by split key of the manifest.
    private var scales: [String: Double] = [:]

    /// What a count in a split is multiplied by: 1 where its files were read whole. A split without files of its own is
    /// a share of the training files.
    package func scale(of split: String) -> Double { scales[split] ?? scales["train"] ?? 1 }

    /// The test examples there will be; `nil` where there is no such split.
    package var testExamples: Int? {
        splits["test"].map { Int((Double($0.sequences) * scale(of: "test")).rounded()) }
    }

    /// Data up to this size are read whole.
    private static let wholeBytes: Int64 = 32 << 20

    /// Reads and encodes the data as the tokenize stage does, into a folder that is removed again.
    ///
    /// - Parameters:
    ///   - data: the pinned files by split key.
    ///   - isFull: read all of it, however large.
    ///   - exampleCount: how many examples to decode.
    ///   - trials: of a sweep, the manifests, which read the same data.
    ///   - champion: what is in production, with whose data these are compared.
    ///   - known: how fast trainings of models of this size were here; `nil` where none was.
    /// - Throws: ``StageError``, as the stages would.
    package init(
        of manifest: JobManifest, data: [String: [PinnedFile]], tokenizer: [PinnedFile], isFull: Bool = false,
        exampleCount: Int = 3, trials: [JobManifest] = [], champion: PinnedVersion? = nil,
        known: (_ operationsPerToken: Double) throws -> KnownSpeed? = { _ in nil }
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
            scales = data.mapValues { files in
                let (all, read) = files.reduce((0.0, 0.0)) {
                    ($0.0 + Double($1.length), $0.1 + Double(min($1.length, share)))
                }
                return all / max(read, 1)
            }
        }
        let folder = FileManager.default.temporaryDirectory.appending(path: "lorajobs-plan-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        work.exampleCount = exampleCount
        let outcome = try work.write(to: folder)
        take(outcome.report)
        guard (splits["train"]?.targets ?? 0) > 0 else {
            throw StageError(
                "no_data",
                "the training split has nothing to learn: \(records) records read, \(dropped) dropped "
                    + "(\(reasons["overlength"] ?? 0) longer than \(maxLength) tokens), \(badCount) bad")
        }
        let drift = DataDrift(health, from: champion)
        healthLines = health.lines(drift)
        try health.check(manifest.data.health, drift)
        let training = try TokenDataset(folder.appending(path: SplitName.train.tokensFile))
        let microBatches = try plan(training, manifest, outcome.task, tokens: splits["train"]?.tokens ?? 0)
        try estimate(manifest, outcome.task, microBatches: microBatches, known)
        trialSeconds = try trials.map { try seconds(of: $0, training, outcome.task) }
    }

    private mutating func take(_ report: TokenizeStage.Report) {
        formats = report.reading.formats
        records = report.reading.records
        (badCount, badRecords) = (report.reading.badCount, report.reading.badRecords)
        leftOut = report.leftOut ?? 0
        (kept, dropped, truncated, reasons) = (report.kept, report.dropped, report.truncated, report.reasons)
        (lengths, longest, maxLength) = (report.lengths, report.longest, report.maxLength)
        splits = report.splits.mapValues { Split(sequences: $0.sequences, tokens: $0.tokens, targets: $0.targets) }
        trainedShare = report.trainedShare
        (duplicates, overlap, examples) = (report.duplicates, report.overlap, report.examples)
        health = report.health ?? DataHealth()
    }

    /// - Returns: the sizes of the micro-batches.
    private mutating func plan(
        _ training: TokenDataset, _ manifest: JobManifest, _ task: JobTask, tokens: Int
    ) throws -> Set<Int> {
        let scale = scale(of: "train")
        let forecast = try StepForecast(training, manifest, task, scale: scale)
        tokensPerEpoch = Int(Double(tokens) * scale)
        (steps, stepsPerEpoch, trainedTokens) = (forecast.steps, forecast.stepsPerEpoch, forecast.trainedTokens)
        (microBatchTokens, microBatchFill) = (forecast.microBatches.max() ?? 0, forecast.fill)
        return forecast.microBatches
    }

    private mutating func estimate(
        _ manifest: JobManifest, _ task: JobTask, microBatches: Set<Int>,
        _ known: (Double) throws -> KnownSpeed?
    ) throws {
        let folder = URL(filePath: manifest.base.path, directoryHint: .isDirectory)
        let estimate = try MemoryEstimate(
            of: manifest, task, microBatches: microBatches, longestSequence: longest)
        (memory, peakBytes) = (estimate, estimate.peak)
        (parameters, trainedParameters) = (estimate.parameters, estimate.trainedParameters)
        let operations = TrainingOperations(
            try ModelRegistry.outline(ModelConfiguration(folder: folder), for: task.model),
            trainedParameters: trainedParameters, trainsAll: manifest.adapter.method == .full,
            trainedShare: trainedShare, sequence: tokensPerSequence)
        let speed = try TrainingSpeed(operations, rows: microBatchTokens, known: known)
        self.speed = speed
        seconds = Double(trainedTokens) / speed.tokensPerSecond
    }

    /// The training of another manifest on the same sequences, at the same speed.
    private func seconds(of manifest: JobManifest, _ training: TokenDataset, _ task: JobTask) throws -> Double {
        let steps = try StepForecast(
            training, manifest, task, scale: scale(of: "train"))
        let memory = try MemoryEstimate(
            of: manifest, task, microBatches: steps.microBatches, longestSequence: longest)
        let folder = URL(filePath: manifest.base.path, directoryHint: .isDirectory)
        let operations = TrainingOperations(
            try ModelRegistry.outline(ModelConfiguration(folder: folder), for: task.model),
            trainedParameters: memory.trainedParameters, trainsAll: manifest.adapter.method == .full,
            trainedShare: trainedShare, sequence: tokensPerSequence)
        return Double(steps.trainedTokens) * operations.perToken / ((speed?.gigaflops ?? 1) * 1e9)
    }

    private var tokensPerSequence: Int {
        let train = splits["train"]
        return (train?.tokens ?? 0) / max(train?.sequences ?? 1, 1)
    }
}
