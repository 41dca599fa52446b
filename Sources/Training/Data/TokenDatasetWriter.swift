package import Foundation
import TensorCore

/// Writes a ``TokenDataset``, one sequence after another, in memory that does not grow.
///
/// The file appears under its name whole, when ``finish()`` returns; until then it has a hidden temporary name. Equal
/// sequences give equal bytes.
package final class TokenDatasetWriter {
    private let destination: URL
    private let temporary: URL
    private let output: OutputFile
    private let mask: OutputFile
    private let starts: OutputFile
    private let types: OutputFile
    private let labels: OutputFile
    private var header = TokenDatasetHeader()
    private var pendingBits: UInt8 = 0
    private var isFinished = false

    /// Starts a file in a folder that exists.
    ///
    /// - Parameter areBytes: whether ids are below 256 and take one byte each, as those of images do.
    /// - Throws: ``TrainingError`` with code `system` or `noSpace`.
    package init(_ url: URL, areBytes: Bool = false) throws {
        header.areBytes = areBytes
        destination = url
        let stem = ".\(url.lastPathComponent).\(UUID().uuidString)"
        let folder = url.deletingLastPathComponent()
        temporary = folder.appending(path: "\(stem).tmp")
        output = try OutputFile(temporary)
        mask = try OutputFile(folder.appending(path: "\(stem).mask"), isAnonymous: true)
        starts = try OutputFile(folder.appending(path: "\(stem).starts"), isAnonymous: true)
        types = try OutputFile(folder.appending(path: "\(stem).types"), isAnonymous: true)
        labels = try OutputFile(folder.appending(path: "\(stem).labels"), isAnonymous: true)
        try Self.write([UInt8](repeating: 0, count: TokenDatasetHeader.byteCount), to: output)
    }

    deinit {
        if !isFinished { unlink(temporary.path(percentEncoded: false)) }
    }

    /// How many sequences have been appended.
    package var count: Int { header.sequenceCount }

    /// Appends a sequence.
    ///
    /// - Parameters:
    ///   - scored: for each token, whether predicting it counts; `nil` when all count. The first token of a sequence is
    ///     never predicted, whatever is said of it.
    ///   - label: what the sequence is to be judged as. All labels of a file are of one kind.
    ///   - types: which text of a pair each token belongs to, from 0; `nil` for the first.
    /// - Throws: ``TrainingError``: `invalidInput` for an empty sequence, a negative id or one that takes more bytes, a mask or types of another
    ///   length or a label of another kind; `system` and `noSpace` for what the disk refuses.
    package func append(
        _ ids: [Int32], scored: [Bool]? = nil, label: SequenceLabel? = nil, types: [UInt8]? = nil
    ) throws {
        precondition(!isFinished, "TokenDatasetWriter: append after finish")
        let place = "\(destination.path(percentEncoded: false)): sequence \(header.sequenceCount)"
        guard !ids.isEmpty else { throw TrainingError(.invalidInput, "\(place) has no tokens; leave it out") }
        guard scored.map({ $0.count == ids.count }) ?? true else {
            throw TrainingError(.invalidInput, "\(place) has \(ids.count) tokens and a mask of \(scored?.count ?? 0)")
        }
        guard types.map({ $0.count == ids.count }) ?? true else {
            throw TrainingError(.invalidInput, "\(place) has \(ids.count) tokens and \(types?.count ?? 0) types")
        }
        var largest: Int32 = 0
        for (position, id) in ids.enumerated() {
            guard id >= 0 else { throw TrainingError(.invalidInput, "\(place) has id \(id) at position \(position)") }
            largest = max(largest, id)
        }
        guard !header.areBytes || largest < 256 else {
            throw TrainingError(.invalidInput, "\(place) has id \(largest), which is no byte")
        }
        try write(label, tokens: ids.count, place)
        try write(types, tokens: ids.count)
        try Self.write(UInt64(header.tokenCount).littleEndian, to: starts)
        if header.areBytes {
            try Self.write(ids.map { UInt8(truncatingIfNeeded: $0) }, to: output)
        } else {
            try ids.withUnsafeBytes { try output.write($0) }
        }
        let targetsBefore = header.targetCount
        for position in ids.indices {
            // The first token's bit is set, so that sequences which count in full need no mask.
            let counts = position == 0 || (scored?[position] ?? true)
            if counts { pendingBits |= 1 << UInt8(header.tokenCount % 8) } else { header.hasMask = true }
            if counts && position > 0 { header.targetCount += 1 }
            header.tokenCount += 1
            if header.tokenCount % 8 == 0 { try writePendingBits() }
        }
        if header.targetCount == targetsBefore { header.targetCount += label?.targetCount ?? 0 }
        header.sequenceCount += 1
        header.longest = max(header.longest, ids.count)
        header.vocabularySize = max(header.vocabularySize, Int(largest) + 1)
    }

    /// Notes the label of the sequence that is being appended.
    private func write(_ label: SequenceLabel?, tokens: Int, _ place: String) throws {
        guard let label else {
            if let kind = header.labels {
                try fill(labels, kind.filler, count: kind == .tokens ? tokens : header.labelWidth)
            }
            return
        }
        let (kind, words) = (SequenceLabelKind(label), label.words)
        let width = kind == .tokens ? 1 : words.count
        if header.labels == nil, width > 0 {
            // Sequences before the first label have none.
            try fill(labels, kind.filler, count: kind == .tokens ? header.tokenCount : header.sequenceCount * width)
            (header.labels, header.labelWidth) = (kind, width)
        }
        guard header.labels == kind, header.labelWidth == width, kind != .tokens || words.count == tokens else {
            throw TrainingError(
                .invalidInput, "\(place) has a label of another kind or size than those before it, or than its tokens")
        }
        for word in words { try Self.write(word.littleEndian, to: labels) }
    }

    private func write(_ types: [UInt8]?, tokens: Int) throws {
        guard header.hasTypes || types?.contains(where: { $0 != 0 }) ?? false else { return }
        if !header.hasTypes { try Self.write([UInt8](repeating: 0, count: header.tokenCount), to: self.types) }
        header.hasTypes = true
        try Self.write(types ?? [UInt8](repeating: 0, count: tokens), to: self.types)
    }

    private func fill(_ file: OutputFile, _ word: UInt32, count: Int) throws {
        for _ in 0..<count { try Self.write(word.littleEndian, to: file) }
    }

    /// Completes the file and puts it in its place, on the disk.
    ///
    /// - Returns: the dataset, open.
    @discardableResult
    package func finish() throws -> TokenDataset {
        precondition(!isFinished, "TokenDatasetWriter: finish twice")
        if header.tokenCount % 8 != 0 { try writePendingBits() }
        try Self.write(UInt64(header.tokenCount).littleEndian, to: starts)
        try pad(header.tokenCount * header.idSize)
        if header.hasMask {
            try output.append(contentsOf: mask)
            try pad((header.tokenCount + 7) / 8)
        }
        try output.append(contentsOf: starts)
        if header.hasTypes {
            try output.append(contentsOf: types)
            try pad(header.tokenCount)
        }
        if header.labels != nil {
            try output.append(contentsOf: labels)
            try pad(header.labelCount * 4)
        }
        try output.drain()
        header.checksum = Checksum.of(try MappedFile(temporary), from: TokenDatasetHeader.byteCount)
        try output.overwriteStart(header.bytes)
        try output.flush()
        try OutputFile.rename(temporary, to: destination)
        isFinished = true
        return try TokenDataset(destination)
    }

    private func writePendingBits() throws {
        try Self.write(pendingBits, to: mask)
        pendingBits = 0
    }

    private func pad(_ byteCount: Int) throws {
        try Self.write([UInt8](repeating: 0, count: TokenDatasetHeader.padded(byteCount) - byteCount), to: output)
    }

    private static func write(_ bytes: [UInt8], to file: OutputFile) throws {
        try bytes.withUnsafeBytes { try file.write($0) }
    }

    private static func write(_ value: some FixedWidthInteger, to file: OutputFile) throws {
        try withUnsafeBytes(of: value) { try file.write($0) }
    }
}
