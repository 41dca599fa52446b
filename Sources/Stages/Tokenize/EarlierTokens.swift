import Artifacts
import Foundation
import PipelineSpec
import Training

/// The output of an earlier tokenize stage, from which the sequences of records that have not changed are taken.
///
/// A record is the same when it is the same record in order of the same file, the file's first bytes are those that were
/// pinned then, and everything else that decides about sequences is the same. Its sequences are then what encoding it
/// again would give, so the output does not depend on whether there was an earlier one.
final class EarlierTokens: Sendable {
    private let index: RecordIndex.Reader
    private let datasets: [SplitName: TokenDataset]
    /// Of each file, its first record and its first sequence in each split.
    private let firstRecords: [Int]
    private let firstSequences: [[SplitName: Int]]
    /// The files by digest and by path, of which there may be as many as there are images.
    private let byDigest: [String: [Int]]
    private let byPath: [String: [Int]]

    /// Opens the `out/` of an earlier stage and checks all of it.
    ///
    /// - Parameter settings: see ``RecordIndex/Contents/settings``.
    /// - Returns: `nil`, and why in words, when it cannot be used.
    static func open(_ folder: URL, settings: String) -> (tokens: EarlierTokens?, reason: String?) {
        guard let index = RecordIndex.Reader(folder.appending(path: RecordIndex.fileName)) else {
            return (nil, "it has no index of records")
        }
        guard index.contents.settings == settings else {
            return (nil, "the tokenizer, its template or an option was another")
        }
        do {
            var datasets: [SplitName: TokenDataset] = [:]
            for split in SplitName.allCases {
                let dataset = try TokenDataset(folder.appending(path: split.tokensFile))
                try dataset.verify()
                let wanted = index.contents.sources.reduce(0) { $0 + ($1.sequences[split.rawValue] ?? 0) }
                guard dataset.count == wanted else { return (nil, "its index does not belong to its sequences") }
                datasets[split] = dataset
            }
            return (EarlierTokens(index, datasets), nil)
        } catch {
            return (nil, "\(error)")
        }
    }

    private init(_ index: RecordIndex.Reader, _ datasets: [SplitName: TokenDataset]) {
        self.index = index
        self.datasets = datasets
        var (firstRecords, firstSequences) = ([Int](), [[SplitName: Int]]())
        var (byDigest, byPath) = ([String: [Int]](), [String: [Int]]())
        var (record, sequences) = (0, [SplitName: Int]())
        for (number, source) in index.contents.sources.enumerated() {
            firstRecords.append(record)
            firstSequences.append(sequences)
            byDigest[source.digest, default: []].append(number)
            byPath[source.path, default: []].append(number)
            record += source.records
            for split in SplitName.allCases {
                sequences[split, default: 0] += source.sequences[split.rawValue] ?? 0
            }
        }
        (self.firstRecords, self.firstSequences) = (firstRecords, firstSequences)
        (self.byDigest, self.byPath) = (byDigest, byPath)
    }

    private func releasePages() {
        index.releasePages()
        for dataset in datasets.values { dataset.releasePages() }
    }

    /// What an earlier run made of the beginning of a file, in the order of its records.
    struct Part: Sendable {
        fileprivate let tokens: EarlierTokens
        fileprivate let firstRecord: Int
        fileprivate let recordCount: Int
        /// The first sequence of the file in each split.
        fileprivate let firstSequences: [SplitName: Int]

        /// Whether the earlier run saw the same record at the same place.
        func has(_ ordinal: Int, hash: UInt64, end: Int64) -> Bool {
            guard ordinal < recordCount, let entry = tokens.index[firstRecord + ordinal] else { return false }
            return entry.hash == hash && entry.end == end && entry.outcome != .bad
                && entry.outcome != .leftOut
        }
    }

    /// What was made of the beginning of `file`; `nil` when the file is new, or was changed in what was read of it.
    ///
    /// - Throws: what reading the file throws.
    func part(of file: PinnedFile, format: String) throws -> Part? {
        // Of several the first, however it was found.
        for number in Set((byDigest[file.digest] ?? []) + (byPath[file.path] ?? [])).sorted() {
            let source = index.contents.sources[number]
            guard try source.format == format && Self.begins(file, with: source) else { continue }
            return Part(
                tokens: self, firstRecord: firstRecords[number], recordCount: source.records,
                firstSequences: firstSequences[number])
        }
        return nil
    }

    /// Whether the file is what was read then, or begins with it.
    private static func begins(_ file: PinnedFile, with source: RecordIndex.Source) throws -> Bool {
        if source.length == file.length { return source.digest == file.digest }
        // A file of another name is compared only when it is whole: the beginnings of all would have to be read.
        guard source.path == file.path, source.length > 0, source.length < file.length else { return false }
        return try Digest.sha256(of: URL(filePath: file.path), length: source.length) == source.digest
    }

    /// Goes through a part record by record and finds the sequences of each.
    struct Cursor {
        private let part: Part
        private var ordinal = 0
        private var sequences: [SplitName: Int]
        /// Tokens read since memory was given back.
        private var tokens = 0

        init(_ part: Part) {
            self.part = part
            sequences = part.firstSequences
        }

        /// What record `ordinal` became; it is not before the last one that was asked for or skipped.
        mutating func record(_ ordinal: Int) -> EncodedRecord? { move(to: ordinal, isWanted: true) }

        /// Passes over a record.
        mutating func skip(_ ordinal: Int) { _ = move(to: ordinal, isWanted: false) }

        private mutating func move(to ordinal: Int, isWanted: Bool) -> EncodedRecord? {
            var found: EncodedRecord?
            while self.ordinal <= ordinal, self.ordinal < part.recordCount {
                guard let entry = part.tokens.index[part.firstRecord + self.ordinal] else { return nil }
                let first = sequences[entry.split, default: 0]
                if self.ordinal == ordinal, isWanted, let dataset = part.tokens.datasets[entry.split] {
                    found = entry.encoded((first..<first + entry.sequences).map { EncodedExample(dataset, $0) })
                }
                sequences[entry.split] = first + entry.sequences
                self.ordinal += 1
                tokens += 1 + (found?.examples.reduce(0) { $0 + $1.ids.count } ?? 0)
                if tokens > 4 << 20 {
                    tokens = 0
                    part.tokens.releasePages()
                }
            }
            return found
        }
    }
}

extension EncodedExample {
    /// A sequence as it lies in a dataset.
    fileprivate init(_ dataset: TokenDataset, _ index: Int) {
        let sequence = dataset[index]
        let scored = sequence.ids.indices.map { $0 == 0 || sequence.isScored($0) }
        self.init(
            ids: Array(sequence.ids), scored: scored.allSatisfy { $0 } ? nil : scored, label: sequence.label,
            types: dataset.tokenTypes(index))
    }
}
