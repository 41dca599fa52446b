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
    private var header = TokenDatasetHeader()
    private var pendingBits: UInt8 = 0
    private var isFinished = false

    /// Starts a file in a folder that exists.
    ///
    /// - Throws: ``TrainingError`` with code `system` or `noSpace`.
    package init(_ url: URL) throws {
        destination = url
        let stem = ".\(url.lastPathComponent).\(UUID().uuidString)"
        let folder = url.deletingLastPathComponent()
        temporary = folder.appending(path: "\(stem).tmp")
        output = try OutputFile(temporary)
        mask = try OutputFile(folder.appending(path: "\(stem).mask"), isAnonymous: true)
        starts = try OutputFile(folder.appending(path: "\(stem).starts"), isAnonymous: true)
        try Self.write([UInt8](repeating: 0, count: TokenDatasetHeader.byteCount), to: output)
    }

    deinit {
        if !isFinished { unlink(temporary.path(percentEncoded: false)) }
    }

    /// How many sequences have been appended.
    package var count: Int { header.sequenceCount }

    /// Appends a sequence.
    ///
    /// - Parameter scored: for each token, whether predicting it counts; `nil` when all count. The first token of a
    ///   sequence is never predicted, whatever is said of it.
    /// - Throws: ``TrainingError``: `invalidInput` for an empty sequence, a negative id or a mask of another length;
    ///   `system` and `noSpace` for what the disk refuses.
    package func append(_ ids: [Int32], scored: [Bool]? = nil) throws {
        precondition(!isFinished, "TokenDatasetWriter: append after finish")
        let place = "\(destination.path(percentEncoded: false)): sequence \(header.sequenceCount)"
        guard !ids.isEmpty else { throw TrainingError(.invalidInput, "\(place) has no tokens; leave it out") }
        guard scored.map({ $0.count == ids.count }) ?? true else {
            throw TrainingError(.invalidInput, "\(place) has \(ids.count) tokens and a mask of \(scored?.count ?? 0)")
        }
        var largest: Int32 = 0
        for (position, id) in ids.enumerated() {
            guard id >= 0 else { throw TrainingError(.invalidInput, "\(place) has id \(id) at position \(position)") }
            largest = max(largest, id)
        }
        try Self.write(UInt64(header.tokenCount).littleEndian, to: starts)
        try ids.withUnsafeBytes { try output.write($0) }
        for position in ids.indices {
            // The first token's bit is set, so that sequences which count in full need no mask.
            let counts = position == 0 || (scored?[position] ?? true)
            if counts { pendingBits |= 1 << UInt8(header.tokenCount % 8) } else { header.hasMask = true }
            if counts && position > 0 { header.targetCount += 1 }
            header.tokenCount += 1
            if header.tokenCount % 8 == 0 { try writePendingBits() }
        }
        header.sequenceCount += 1
        header.longest = max(header.longest, ids.count)
        header.vocabularySize = max(header.vocabularySize, Int(largest) + 1)
    }

    /// Completes the file and puts it in its place, on the disk.
    ///
    /// - Returns: the dataset, open.
    @discardableResult
    package func finish() throws -> TokenDataset {
        precondition(!isFinished, "TokenDatasetWriter: finish twice")
        if header.tokenCount % 8 != 0 { try writePendingBits() }
        try Self.write(UInt64(header.tokenCount).littleEndian, to: starts)
        try pad(header.tokenCount * 4)
        if header.hasMask {
            try output.append(contentsOf: mask)
            try pad((header.tokenCount + 7) / 8)
        }
        try output.append(contentsOf: starts)
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
