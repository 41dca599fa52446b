import Foundation
import Models
import PipelineSpec
import Tokenizers
import Training

/// Turns the job's text into token sequences, once, so that training, evaluation and merge read the same numbers.
///
/// Output: `train.tokens`, `validation.tokens`, `test.tokens` and `report.json`. Each example ends with the tokenizer's end
/// token. Running text is cut into consecutive blocks of `data.max_length`; an example that is longer is dropped, truncated or
/// an error, as `data.overlength` says.
enum TokenizeStage: Stage {
    static let descriptor = StageDescriptor(
        kind: "tokenize", version: 1,
        manifestKeys: [
            "data.validation", "data.test", "data.format", "data.columns", "data.max_length", "data.overlength",
            "data.max_bad_records",
        ],
        inputs: [.data, .tokenizer], requires: [])

    /// What `report.json` says.
    struct Report: Codable {
        struct Split: Codable {
            var sequences = 0
            var tokens = 0
            /// Tokens that are predicted and scored.
            var targets = 0
        }

        var reading = RecordReading()
        var dropped = 0
        var truncated = 0
        var maxLength = 0
        var longest = 0
        var splits: [String: Split] = [:]
    }

    static func run(_ run: StageRun) throws {
        let configuration = try ModelConfiguration(folder: run.base)
        let tokenizer = try Tokenizer.load(folder: run.base)
        let limits = try ModelRegistry.limits(configuration)
        let encoder = ExampleEncoder(
            folder: run.base.path, tokenizer: tokenizer, vocabularySize: limits.vocabularySize,
            maxLength: min(run.manifest.data.maxLength ?? limits.contextLength, limits.contextLength),
            overlength: run.manifest.data.overlength)
        let source = RecordSource(data: run.manifest.data, passageBytes: 4 * encoder.maxLength)
        var report = Report(maxLength: encoder.maxLength)

        var writers: [SplitName: TokenDatasetWriter] = [:]
        for split in SplitName.allCases {
            writers[split] = try TokenDatasetWriter(run.output.appending(path: split.tokensFile))
        }
        // Records that only the encoder finds broken; those that cannot be read are counted apart.
        var unusable = RecordReading()
        func write(_ record: Record, to split: SplitName) throws {
            let encoded = try encoder.encode(record)
            switch encoded.outcome {
            case .kept: break
            case .truncated: report.truncated += 1
            case .overlength, .nothingToLearn: report.dropped += 1
            case .bad(let bad): try unusable.tolerate(bad, run.manifest.data)
            }
            for example in encoded.examples {
                try writers[split]?.append(example.ids, scored: example.scored)
                report.splits[split.rawValue, default: .init()].sequences += 1
                report.splits[split.rawValue, default: .init()].tokens += example.ids.count
                report.splits[split.rawValue, default: .init()].targets += example.targetCount
                report.longest = max(report.longest, example.ids.count)
            }
        }

        run.report(0, "reading the data")
        var hashes: [UInt64] = []
        let trainFiles = run.request.data["train"] ?? []
        var firstPass = RecordReading()
        try source.forEachRecord(in: trainFiles, &firstPass) { record in
            hashes.append(record.hash)
        }
        let assignment = SplitAssignment(run.manifest.data, hashes: hashes)
        let total = Double(max(trainFiles.reduce(0) { $0 + $1.length }, 1))

        var reading = RecordReading()
        var lastReport = 0.0
        // Bytes of the files before this one, and of this one.
        var (finished, lastEnd) = (Int64(0), Int64(0))
        try source.forEachRecord(in: trainFiles, &reading) { record in
            try write(record, to: assignment.split(of: record.hash))
            if record.end < lastEnd { finished += lastEnd }
            lastEnd = record.end
            let bytesRead = finished + lastEnd
            if Double(bytesRead) / total - lastReport > 0.02 {
                lastReport = Double(bytesRead) / total
                run.report(ProgressEvent(time: Date().timeIntervalSince1970, fraction: min(0.95, lastReport)))
            }
            if run.isStopRequested { throw StageError.stopped }
        }
        for split in [SplitName.validation, .test] {
            try source.forEachRecord(in: run.request.data[split.rawValue] ?? [], &reading) { record in
                try write(record, to: split)
            }
        }
        for writer in writers.values { try writer.finish() }
        report.reading = reading
        report.reading.badRecords += unusable.badRecords
        guard (report.splits["train"]?.targets ?? 0) > 0 else {
            throw StageError(
                "no_data",
                "the training split has nothing to learn: \(reading.records) records read, \(report.dropped) dropped as longer "
                    + "than \(report.maxLength) tokens, \(report.reading.badRecords.count) bad")
        }
        try run.write(report, to: "report.json")
        for (name, split) in report.splits {
            run.metrics["\(name)_tokens"] = Double(split.tokens)
            run.metrics["\(name)_sequences"] = Double(split.sequences)
        }
        let train = report.splits["train"] ?? .init()
        run.report(1, "\(reading.records) records; \(train.tokens) training tokens in \(train.sequences) sequences")
    }
}
