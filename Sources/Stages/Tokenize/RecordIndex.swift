import Crypto
import Foundation
import PipelineSpec
import TensorCore

/// What became of every record of a tokenize stage: the file `records.index`, by which a later run finds the sequences of
/// records that have not changed.
///
///     0  8 bytes "LJRECORD"
///     8  UInt64  version, 1
///    16  24 bytes a record: UInt64 hash, UInt64 end, UInt64 outcome
///     …  a JSON object, ``Contents``
///     …  UInt64  how many bytes the object has
///
/// All numbers are little-endian.
enum RecordIndex {
    static let fileName = "records.index"
    fileprivate static let magic = Data("LJRECORD".utf8) + Self.bytes(1)
    fileprivate static let entrySize = 24

    /// What is remembered of one record.
    struct Entry: Equatable {
        var hash: UInt64
        /// As ``Record/end``.
        var end: Int64
        var outcome: Outcome
        /// The split it went to, and how many sequences it became there.
        var split: SplitName
        var sequences: Int
        /// As ``EncodedRecord/length``.
        var length: Int

        /// `leftOut` was not encoded, because it is not in the sample that was trained on.
        enum Outcome: UInt64 { case kept, truncated, overlength, nothingToLearn, bad, leftOut }
    }

    /// A file of the data, whose records follow those of the file before it.
    struct Source: Codable, Equatable {
        var path: String
        var length: Int64
        var digest: String
        var format: String
        var records = 0
        /// The sequences that its records became, by split.
        var sequences: [String: Int] = [:]
    }

    /// Everything but the records.
    struct Contents: Codable {
        /// Digest of what besides the records decides about the sequences.
        var settings: String
        /// Over the records' bytes.
        var digest: String
        var sources: [Source]
    }

    fileprivate static func bytes(_ value: UInt64) -> Data { withUnsafeBytes(of: value.littleEndian) { Data($0) } }
}

extension RecordIndex.Entry {
    /// The outcome of an encoded record.
    init(_ encoded: EncodedRecord, hash: UInt64, end: Int64, split: SplitName) {
        let outcome: Outcome =
            switch encoded.outcome {
            case .kept: .kept
            case .truncated: .truncated
            case .overlength: .overlength
            case .nothingToLearn: .nothingToLearn
            case .bad: .bad
            }
        self.init(
            hash: hash, end: end, outcome: outcome, split: split, sequences: encoded.examples.count,
            length: encoded.length)
    }

    /// The encoded record with the sequences that were found again; `nil` for what must be encoded anew.
    func encoded(_ examples: [EncodedExample]) -> EncodedRecord? {
        let outcome: EncodedRecord.Outcome? =
            switch self.outcome {
            case .kept: .kept
            case .truncated: .truncated
            case .overlength: .overlength
            case .nothingToLearn: .nothingToLearn
            case .bad, .leftOut: nil
            }
        return outcome.map { EncodedRecord(outcome: $0, examples: examples, length: length) }
    }

    /// Outcome in 4 bits, split in 4, then 28 each for sequences and length.
    fileprivate var packed: UInt64 {
        let split = UInt64(SplitName.allCases.firstIndex(of: self.split) ?? 0)
        return outcome.rawValue | split << 4 | UInt64(sequences) << 8 | UInt64(length) << 36
    }

    fileprivate init?(hash: UInt64, end: UInt64, packed: UInt64) {
        let split = Int(packed >> 4 & 15)
        guard let outcome = Outcome(rawValue: packed & 15), split < SplitName.allCases.count else { return nil }
        self.init(
            hash: hash, end: Int64(bitPattern: end), outcome: outcome, split: SplitName.allCases[split],
            sequences: Int(packed >> 8 & 0xFFF_FFFF), length: Int(packed >> 36))
    }
}

extension RecordIndex {
    /// Writes an index, a record after the other.
    final class Writer {
        private let handle: FileHandle
        private let settings: String
        private var buffer = RecordIndex.magic
        private var hasher = SHA256()
        private var sources: [Source] = []

        init(_ file: URL, settings: String) throws {
            try Data().write(to: file)
            handle = try FileHandle(forWritingTo: file)
            self.settings = settings
        }

        /// The records that follow are of this file.
        func begin(_ file: PinnedFile, format: String) {
            sources.append(Source(path: file.path, length: file.length, digest: file.digest, format: format))
        }

        /// - Precondition: a file has begun.
        func append(_ entry: Entry) throws {
            let bytes =
                RecordIndex.bytes(entry.hash) + RecordIndex.bytes(UInt64(bitPattern: entry.end))
                + RecordIndex.bytes(entry.packed)
            hasher.update(data: bytes)
            buffer += bytes
            sources[sources.count - 1].records += 1
            sources[sources.count - 1].sequences[entry.split.rawValue, default: 0] += entry.sequences
            if buffer.count > 1 << 18 { try drain() }
        }

        /// Completes the file, on the disk.
        func finish() throws {
            let digest = hasher.finalize().map { String(format: "%02x", $0) }.joined()
            let object = try ProtocolJSON.encode(Contents(settings: settings, digest: digest, sources: sources))
            buffer += object + RecordIndex.bytes(UInt64(object.count))
            try drain()
            try handle.synchronize()
            try handle.close()
        }

        private func drain() throws {
            try handle.write(contentsOf: buffer)
            buffer.removeAll(keepingCapacity: true)
        }
    }

    /// An index in memory, as it lies in its file.
    final class Reader: Sendable {
        let contents: Contents
        private let file: MappedFile
        let count: Int

        /// Maps and checks a file; `nil` when it is no whole index of this version.
        init?(_ url: URL) {
            guard let file = try? MappedFile(url) else { return nil }
            let bytes = file.bytes
            let least = RecordIndex.magic.count + 8
            guard bytes.count >= least, bytes.prefix(RecordIndex.magic.count).elementsEqual(RecordIndex.magic) else {
                return nil
            }
            let objectSize = UInt64(
                littleEndian: bytes.loadUnaligned(fromByteOffset: bytes.count - 8, as: UInt64.self))
            guard objectSize <= UInt64(bytes.count - least) else { return nil }
            let end = bytes.count - 8 - Int(objectSize)
            let entries = UnsafeRawBufferPointer(rebasing: bytes[RecordIndex.magic.count..<end])
            guard entries.count % RecordIndex.entrySize == 0,
                let contents = try? ProtocolJSON.decode(Contents.self, from: Data(bytes[end..<bytes.count - 8]))
            else { return nil }
            var hasher = SHA256()
            for low in stride(from: 0, to: entries.count, by: 8 << 20) {
                let part = entries[low..<min(low + (8 << 20), entries.count)]
                hasher.update(bufferPointer: UnsafeRawBufferPointer(rebasing: part))
                file.releasePages()
            }
            let digest = hasher.finalize().map { String(format: "%02x", $0) }.joined()
            count = entries.count / RecordIndex.entrySize
            guard digest == contents.digest, contents.sources.reduce(0, { $0 + $1.records }) == count else {
                return nil
            }
            self.contents = contents
            self.file = file
        }

        /// See ``MappedFile/releasePages()``.
        func releasePages() { file.releasePages() }

        /// Record `index`, counted over all files; `nil` for one that this version cannot read.
        subscript(index: Int) -> Entry? {
            precondition(index >= 0 && index < count, "RecordIndex: record \(index) of \(count)")
            let offset = RecordIndex.magic.count + index * RecordIndex.entrySize
            func word(_ number: Int) -> UInt64 {
                UInt64(littleEndian: file.bytes.loadUnaligned(fromByteOffset: offset + 8 * number, as: UInt64.self))
            }
            return withExtendedLifetime(file) { Entry(hash: word(0), end: word(1), packed: word(2)) }
        }
    }
}
