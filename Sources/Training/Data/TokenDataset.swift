package import Foundation
import TensorCore

/// Tokenised examples in a file, read in place: the input of training and evaluation.
///
/// Written by ``TokenDatasetWriter``. Opening checks the header, the size and the table of sequences; ``verify()``
/// reads everything once and compares it with the checksum.
package final class TokenDataset: Sendable {
    /// The path as it was given; errors begin with it.
    package var path: String { file.path }
    /// How many sequences there are.
    package var count: Int { header.sequenceCount }
    /// Tokens of all sequences.
    package var tokenCount: Int { header.tokenCount }
    /// Tokens whose prediction counts, and of sequences without any what their labels ask for. The first token of a
    /// sequence is never predicted.
    package var targetCount: Int { header.targetCount }
    /// Tokens of the longest sequence; 0 when there is none.
    package var longest: Int { header.longest }
    /// The smallest vocabulary that has every id: the largest id plus one.
    package var vocabularySize: Int { header.vocabularySize }
    /// Whether sequences have labels.
    package var hasLabels: Bool { header.labels != nil }
    /// Tells this content from any other by counts and checksum; equal for equal sequences, wherever the file lies.
    package var identity: String {
        "\(count) sequences, \(tokenCount) tokens, \(targetCount) targets, checksum \(header.checksum.hexadecimal)"
    }

    private let file: MappedFile
    private let header: TokenDatasetHeader

    /// Maps the file and checks its header and its table of sequences.
    ///
    /// - Throws: ``TrainingError``: `truncated` for a file that ends early, `malformed` for one that is something else,
    ///   `unsupported` for another version; a ``WeightFileError`` when it cannot be opened. All name the file.
    package init(_ url: URL) throws {
        file = try MappedFile(url)
        header = try TokenDatasetHeader(file.bytes, path: file.path)
        var previous = 0
        for index in 0...header.sequenceCount {
            let start = self.start(index)
            let isRight = index == 0 ? start == 0 : start > previous && start - previous <= header.longest
            guard isRight, start <= header.tokenCount else {
                throw TrainingError(
                    .malformed, "\(file.path): sequence \(index) begins at token \(start) after one at \(previous)")
            }
            previous = start
        }
        guard previous == header.tokenCount else {
            throw TrainingError(
                .malformed, "\(file.path): its sequences end at token \(previous) of \(header.tokenCount)")
        }
    }

    /// Reads the whole file and compares it with the checksum in its header.
    ///
    /// - Throws: ``TrainingError`` with code `malformed`.
    package func verify() throws {
        guard Checksum.of(file, from: TokenDatasetHeader.byteCount) == header.checksum else {
            throw TrainingError(
                .malformed, "\(path): the content does not match the checksum in its header; tokenise again")
        }
    }

    /// Lets the system take back the memory of sequences that have been read; see ``MappedFile/releasePages()``.
    package func releasePages() { file.releasePages() }

    /// Sequence `index`, counted from 0. The ids stay valid while this dataset lives.
    package subscript(index: Int) -> TokenSequence {
        let tokens = range(index)
        guard let start = file.bytes.baseAddress else { preconditionFailure("a dataset has a header") }
        let ids = TokenIDs(
            start + header.idsOffset + header.idSize * tokens.lowerBound, count: tokens.count, areBytes: header.areBytes
        )
        return TokenSequence(
            ids: ids, first: tokens.lowerBound,
            mask: header.hasMask ? file.bytes.baseAddress.map { $0 + header.maskOffset } : nil, label: label(index),
            owner: self)
    }

    /// What sequence `index` is to be judged as; `nil` where nothing is said.
    package func label(_ index: Int) -> SequenceLabel? {
        guard let kind = header.labels else { return nil }
        let tokens = range(index)
        let entries = kind == .tokens ? tokens : index * header.labelWidth..<(index + 1) * header.labelWidth
        return SequenceLabel(
            kind,
            entries.map {
                UInt32(
                    littleEndian: file.bytes.loadUnaligned(
                        fromByteOffset: header.labelsOffset + 4 * $0, as: UInt32.self))
            })
    }

    /// Which text of a pair each token of sequence `index` belongs to, from 0; `nil` when there are no pairs.
    package func tokenTypes(_ index: Int) -> [UInt8]? {
        guard header.hasTypes else { return nil }
        let tokens = range(index)
        return Array(file.bytes[header.typesOffset + tokens.lowerBound..<header.typesOffset + tokens.upperBound])
    }

    /// How many tokens sequence `index` has.
    package func length(_ index: Int) -> Int { range(index).count }

    private func range(_ index: Int) -> Range<Int> {
        precondition(index >= 0 && index < count, "TokenDataset: sequence \(index) of \(count)")
        return start(index)..<start(index + 1)
    }

    private func start(_ index: Int) -> Int {
        let offset = header.startsOffset + 8 * index
        let value = UInt64(littleEndian: file.bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        return Int(truncatingIfNeeded: value)
    }
}

/// One sequence of a dataset: its ids, and which of them count.
package struct TokenSequence {
    /// The token ids.
    package let ids: TokenIDs
    /// The place of its first token in the dataset, where its bits of the mask begin.
    private let first: Int
    private let mask: UnsafeRawPointer?
    /// What the sequence is to be judged as.
    package let label: SequenceLabel?
    private let owner: TokenDataset

    fileprivate init(
        ids: TokenIDs, first: Int, mask: UnsafeRawPointer?, label: SequenceLabel?,
        owner: TokenDataset
    ) {
        self.ids = ids
        self.first = first
        self.mask = mask
        self.label = label
        self.owner = owner
    }

    /// Whether predicting the token at `position` counts; never for the first.
    package func isScored(_ position: Int) -> Bool {
        guard position > 0 else { return false }
        guard let mask else { return true }
        let bit = first + position
        return mask.load(fromByteOffset: bit / 8, as: UInt8.self) >> UInt8(bit % 8) & 1 == 1
    }

    /// How many of its tokens count; where none does, how much its label asks for.
    package var targetCount: Int {
        let tokens = mask == nil ? ids.count - 1 : (1..<max(ids.count, 1)).count { isScored($0) }
        return tokens > 0 ? tokens : label?.targetCount ?? 0
    }
}
