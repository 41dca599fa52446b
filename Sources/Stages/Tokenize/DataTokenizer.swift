import Artifacts
import Foundation
import PipelineSpec
import Training

/// Streams the records of a job's files through the encoder on several threads, in their order.
///
/// In memory at any moment: some batches of records, of about a megabyte of text each, and ``RecordHashes``.
struct DataTokenizer: Sendable {
    let source: RecordSource
    let encoder: ExampleEncoder
    let threads: Int
    /// Sequences that need not be made again.
    var earlier: EarlierTokens?
    /// Bytes of each file that are read, when a sample is enough.
    var sampleBytes: Int64?

    /// A record, tokenised.
    struct Item {
        let split: SplitName
        let file: PinnedFile
        let hash: UInt64
        let end: Int64
        let encoded: EncodedRecord
        /// Whether it was found in the earlier output.
        let isReused: Bool
    }

    /// What is noticed between records.
    enum Event {
        case began(PinnedFile, format: String)
        case record(Item)
    }

    /// Reads the files and tells `body` of each record, in order. A record that only the encoder finds broken counts among
    /// the bad ones.
    ///
    /// - Throws: ``StageError`` that names file and line; whatever `body` throws.
    func forEach(
        in files: [(split: SplitName, file: PinnedFile)], _ reading: inout RecordReading, _ body: (Event) throws -> Void
    ) throws {
        var unusable: [BadRecord] = []
        for (split, file) in files {
            let format = try RecordFormats.format(for: file, source.data).summary
            try body(.began(file, format: format))
            let part = try earlier?.part(of: file, format: format)
            var cursor = part.map { EarlierTokens.Cursor($0) }
            let encoder = encoder
            try OrderedMap<Batch, [Tokenised]>.run(threads: threads) { batch in
                try batch.records.enumerated().map { offset, record in
                    let ordinal = batch.first + offset
                    let hash = record.hash
                    let isKnown = part?.has(ordinal, hash: hash, end: record.end) ?? false
                    return Tokenised(
                        ordinal: ordinal, hash: hash, end: record.end,
                        encoded: isKnown ? nil : try encoder.encode(record))
                }
            } deliver: { results in
                for result in results {
                    let found = cursor?.record(result.ordinal, isWanted: result.encoded == nil)
                    guard let encoded = result.encoded ?? found else {
                        throw StageError(
                            "damaged_input", "the earlier output lost a record of \(file.path) while it was read",
                            exit: .tryAgain)
                    }
                    if case .bad(let bad) = encoded.outcome {
                        unusable.append(bad)
                        try check(unusable.count, bad)
                    }
                    try body(
                        .record(
                            Item(
                                split: split, file: file, hash: result.hash, end: result.end, encoded: encoded,
                                isReused: result.encoded == nil)))
                }
            } produce: { submit in
                var batch = Batch(first: 0)
                do {
                    var begin: Int64 = 0
                    try source.forEachRecord(in: [file], &reading) { record in
                        if let sampleBytes, record.end > sampleBytes, batch.first + batch.records.count > 0 {
                            throw SampleEnd()
                        }
                        batch.records.append(record)
                        guard batch.records.count == 128 || record.end - begin > 1 << 20 else { return }
                        begin = record.end
                        let next = Batch(first: batch.first + batch.records.count)
                        try submit(batch)
                        batch = next
                    }
                } catch is SampleEnd {}
                if !batch.records.isEmpty { try submit(batch) }
            }
        }
        reading.badRecords += unusable.map { "\($0)" }
        if let last = unusable.last { try check(reading.badRecords.count, last) }
    }

    private func check(_ count: Int, _ bad: BadRecord) throws {
        let allowed = source.data.maxBadRecords
        guard count <= allowed else {
            throw StageError("bad_record", "\(bad) (data.max_bad_records allows \(allowed))")
        }
    }

    /// Enough has been read.
    private struct SampleEnd: Error {}

    private struct Batch: Sendable {
        /// Which record of its file the first one is.
        let first: Int
        var records: [Record] = []
    }

    private struct Tokenised: Sendable {
        let ordinal: Int
        let hash: UInt64
        let end: Int64
        /// `nil` for one that is found in the earlier output.
        let encoded: EncodedRecord?
    }
}
