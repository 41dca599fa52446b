import Artifacts
import Foundation
import PipelineSpec
import Training

/// Streams the records of a job's files through the encoder on several threads, in their order.
///
/// In memory at any moment: some batches of records, of about a megabyte of text each, and ``HealthSurvey``.
struct DataTokenizer: Sendable {
    let source: RecordSource
    let encoder: ExampleEncoder
    let threads: Int
    /// Sequences that need not be made again.
    var earlier: EarlierTokens?
    /// Bytes of each file that are read, when a sample is enough.
    var sampleBytes: Int64?
    /// Which training records are left out; `nil` for none.
    var sampling: Sampling?

    /// A record, tokenised.
    struct Item {
        let split: SplitName
        let file: PinnedFile
        let hash: UInt64
        let end: Int64
        /// The line it begins on, from 1.
        let line: Int
        let features: RecordFeatures
        let encoded: EncodedRecord
        /// Whether it was found in the earlier output.
        let isReused: Bool
    }

    /// What is noticed between records.
    enum Event {
        case began(PinnedFile, format: String)
        case record(Item)
        /// A training record that is not in the sample.
        case leftOut(hash: UInt64, end: Int64)
    }

    /// Reads the files and tells `body` of each record, in order. Records that cannot be read and those that only the
    /// encoder finds broken count together, in the order in which they stand.
    ///
    /// - Throws: ``StageError`` that names file and line; whatever `body` throws.
    func forEach(
        in files: [(split: SplitName, file: PinnedFile)], _ reading: inout RecordReading, _ body: (Event) throws -> Void
    ) throws {
        for (split, file) in files {
            let (place, format) = try source.format(of: file)
            reading.formats[place] = format
            try body(.began(file, format: format))
            let part = try earlier?.part(of: file, format: format)
            var cursor = part.map { EarlierTokens.Cursor($0) }
            try OrderedMap<Batch, [Tokenised]>.run(threads: threads) { batch in
                try encode(batch, part, split == .train ? sampling : nil)
            } deliver: { results in
                for result in results {
                    let (encoded, features): (EncodedRecord, RecordFeatures)
                    switch result.outcome {
                    case .unreadable(let bad):
                        try reading.tolerate(bad, source.data)
                        continue
                    case .leftOut:
                        cursor?.skip(result.ordinal)
                        reading.records += 1
                        try body(.leftOut(hash: result.hash, end: result.end))
                        continue
                    case .encoded(let new, let found):
                        (encoded, features) = (new, found)
                        cursor?.skip(result.ordinal)
                    case .known(let own):
                        guard let found = cursor?.record(result.ordinal) else {
                            throw StageError(
                                "damaged_input", "the earlier output lost a record of \(file.path) while it was read",
                                exit: .tryAgain)
                        }
                        (encoded, features) = (found, own)
                    }
                    reading.records += 1
                    if case .bad(let bad) = encoded.outcome { try reading.tolerate(bad, source.data) }
                    try body(
                        .record(
                            Item(
                                split: split, file: file, hash: result.hash, end: result.end, line: result.line,
                                features: features, encoded: encoded, isReused: result.isKnown)))
                }
            } produce: { submit in
                try forEachBatch(in: file, submit)
            }
        }
    }

    private func encode(_ batch: Batch, _ part: EarlierTokens.Part?, _ sampling: Sampling?) throws -> [Tokenised] {
        var ordinal = batch.first
        return try batch.records.map { result in
            switch result {
            case .failure(let bad):
                return Tokenised(outcome: .unreadable(bad), ordinal: ordinal, hash: 0, end: 0, line: bad.place.line)
            case .success(let record):
                defer { ordinal += 1 }
                let hash = record.hash
                if sampling?.leavesOut(hash) == true {
                    return Tokenised(
                        outcome: .leftOut, ordinal: ordinal, hash: hash, end: record.end, line: record.place.line)
                }
                let isKnown = part?.has(ordinal, hash: hash, end: record.end) ?? false
                let features = RecordFeatures(record)
                return Tokenised(
                    outcome: isKnown ? .known(features) : .encoded(try encoder.encode(record), features),
                    ordinal: ordinal, hash: hash, end: record.end, line: record.place.line)
            }
        }
    }

    private func forEachBatch(in file: PinnedFile, _ submit: (Batch) throws -> Void) throws {
        /// Enough has been read.
        struct SampleEnd: Error {}
        var batch = Batch(first: 0)
        // Usable records so far, and where the batch begins.
        var (count, begin) = (0, Int64(0))
        do {
            try source.forEachResult(in: file) { result in
                var end = begin
                if case .success(let record) = result {
                    end = record.end
                    if let sampleBytes, end > sampleBytes, count > 0 { throw SampleEnd() }
                    count += 1
                }
                batch.records.append(result)
                guard batch.records.count == 128 || end - begin > 1 << 20 else { return }
                begin = end
                let full = batch
                batch = Batch(first: count)
                try submit(full)
            }
        } catch is SampleEnd {}
        if !batch.records.isEmpty { try submit(batch) }
    }

    private struct Batch: Sendable {
        /// Which usable record of its file the first one is.
        let first: Int
        var records: [Result<Record, BadRecord>] = []
    }

    private struct Tokenised: Sendable {
        enum Outcome: Sendable {
            case unreadable(BadRecord)
            case leftOut
            case encoded(EncodedRecord, RecordFeatures)
            /// It is found in the earlier output.
            case known(RecordFeatures)
        }

        let outcome: Outcome
        let ordinal: Int
        let hash: UInt64
        let end: Int64
        let line: Int

        var isKnown: Bool { if case .known = outcome { true } else { false } }
    }
}
