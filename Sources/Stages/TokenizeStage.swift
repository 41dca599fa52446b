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

        /// What was read of the files.
        struct Reading: Codable {
            /// The format of each file, in words.
            var formats: [String: String] = [:]
            var records = 0
            /// Each broken record with its place and reason.
            var badRecords: [String] = []
        }

        var reading = Reading()
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
        var encoder = ExampleEncoder(
            folder: run.base.path, tokenizer: tokenizer, vocabularySize: limits.vocabularySize,
            maxLength: min(run.manifest.data.maxLength ?? limits.contextLength, limits.contextLength),
            overlength: run.manifest.data.overlength)
        let source = RecordSource(data: run.manifest.data, passageBytes: 4 * encoder.maxLength)
        var report = Report(maxLength: encoder.maxLength)

        var writers: [SplitName: TokenDatasetWriter] = [:]
        for split in SplitName.allCases {
            writers[split] = try TokenDatasetWriter(run.output.appending(path: split.tokensFile))
        }
        func write(_ text: TextRecord, to split: SplitName) throws {
            for example in try encoder.encode(text) {
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
        var firstPass = Report.Reading()
        try source.forEachRecord(in: trainFiles, &firstPass) { record, _ in
            hashes.append(SplitAssignment.hash(record.text))
        }
        let assignment = SplitAssignment(run.manifest.data, hashes: hashes)
        let total = Double(max(trainFiles.reduce(0) { $0 + $1.length }, 1))

        var reading = Report.Reading()
        var lastReport = 0.0
        try source.forEachRecord(in: trainFiles, &reading) { record, bytesRead in
            try write(record, to: assignment.split(of: SplitAssignment.hash(record.text)))
            if Double(bytesRead) / total - lastReport > 0.02 {
                lastReport = Double(bytesRead) / total
                run.report(ProgressEvent(time: Date().timeIntervalSince1970, fraction: min(0.95, lastReport)))
            }
            if run.isStopRequested { throw StageError.stopped }
        }
        for split in [SplitName.validation, .test] {
            try source.forEachRecord(in: run.request.data[split.rawValue] ?? [], &reading) { record, _ in
                try write(record, to: split)
            }
        }
        for writer in writers.values { try writer.finish() }
        report.reading = reading
        report.dropped = encoder.dropped
        report.truncated = encoder.truncated
        guard (report.splits["train"]?.targets ?? 0) > 0 else {
            throw StageError(
                "no_data",
                "the training split has nothing to learn: \(reading.records) records read, \(report.dropped) dropped as longer "
                    + "than \(report.maxLength) tokens, \(reading.badRecords.count) bad")
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

/// Reads the records of several files in their formats, tolerating as many broken ones as the manifest allows.
private struct RecordSource {
    let data: JobManifest.Data
    let passageBytes: Int

    func forEachRecord(
        in files: [PinnedFile], _ reading: inout TokenizeStage.Report.Reading,
        _ body: (_ record: TextRecord, _ bytesRead: Int64) throws -> Void
    ) throws {
        var bytesRead: Int64 = 0
        // A copy, because `body` may not run while its caller's variable is being changed.
        var counted = reading
        defer { reading = counted }
        for file in files {
            let format = try RecordFormats.format(for: file, data)
            counted.formats[file.path] = format.summary
            try format.forEachRecord(in: file, columns: data.columns, passageBytes: passageBytes) { result in
                switch result {
                case .success(let record):
                    counted.records += 1
                    bytesRead += Int64(record.text.utf8.count)
                    try body(record, bytesRead)
                case .failure(let bad):
                    counted.badRecords.append("\(bad)")
                    guard counted.badRecords.count <= data.maxBadRecords else {
                        let allowed = "data.max_bad_records allows \(data.maxBadRecords)"
                        throw StageError("bad_record", "\(bad) (\(allowed))")
                    }
                }
            }
        }
    }
}
