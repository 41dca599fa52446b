package import Foundation
import Glibc

/// Writes safetensors files, byte for byte as the reference implementation (safetensors 0.8) lays them out.
///
/// The same tensors and metadata give the same bytes, in whatever order they come.
package enum SafetensorsWriter {
    /// Writes one file, replacing one that is there, whole or not at all.
    ///
    /// - Parameters:
    ///   - tensors: each name once; ordered in the file by type and then by name.
    ///   - metadata: strings for `__metadata__`, which is left out when there are none. PEFT and transformers want
    ///     `["format": "pt"]`.
    /// - Throws: ``WeightFileError``: `invalidInput` for a name twice or a shape that does not fit the bytes given,
    ///   `system` and `noSpace` for what the disk refuses; or what a source throws. There is no new file then.
    package static func write(_ tensors: [WeightSource], metadata: [String: String] = [:], to url: URL) throws {
        let plan = try Plan(tensors, path: url.path(percentEncoded: false))
        try plan.write(metadata: metadata, to: url)
    }

    /// Writes a checkpoint folder: `<stem>.safetensors` if it stays within `maximumShardByteCount`, else shards
    /// `<stem>-00001-of-00003.safetensors` and their index, which is written last.
    ///
    /// Shards are filled in the order the tensors come; a tensor larger than the limit has a shard of its own.
    ///
    /// - Parameter maximumShardByteCount: the most tensor bytes in a file.
    /// - Returns: the files written, the index last.
    /// - Throws: as ``write(_:metadata:to:)``; `invalidInput` too when the folder holds `<stem>.safetensors` and shards
    ///   are to be written, since readers would take the old file.
    @discardableResult
    package static func writeCheckpoint(
        _ tensors: [WeightSource], metadata: [String: String] = [:], to folder: URL, stem: String = "model",
        maximumShardByteCount: Int
    ) throws -> [URL] {
        precondition(maximumShardByteCount > 0, "SafetensorsWriter: the limit of a shard must be positive")
        let whole = folder.appending(path: "\(stem).safetensors")
        let plan = try Plan(tensors, path: whole.path(percentEncoded: false))
        let shards = plan.shards(of: tensors, limit: maximumShardByteCount)
        guard shards.count > 1 else {
            try plan.write(metadata: metadata, to: whole)
            return [whole]
        }
        guard !FileManager.default.fileExists(atPath: whole.path(percentEncoded: false)) else {
            throw WeightFileError(
                .invalidInput, file: whole.path(percentEncoded: false),
                "is in the way: readers would take it instead of the shards; remove it or write to another folder")
        }
        let index = folder.appending(path: "\(stem).safetensors.index.json")
        // While shards are being replaced, an index of the old ones must not join old and new.
        let indexPath = index.path(percentEncoded: false)
        if unlink(indexPath) == 0 {
            try AtomicFile.flushFolder(folder)
        } else if errno != ENOENT {
            throw WeightFileError(.system, file: indexPath, "cannot be replaced: \(systemMessage(errno))")
        }

        var weightMap: [String: String] = [:]
        var written: [URL] = []
        for (number, shard) in shards.enumerated() {
            let name = "\(stem)-\(padded(number + 1))-of-\(padded(shards.count)).safetensors"
            let url = folder.appending(path: name)
            try write(shard, metadata: metadata, to: url)
            for tensor in shard { weightMap[tensor.name] = name }
            written.append(url)
        }
        let text = ShardIndex(weightMap: weightMap, totalByteCount: plan.byteCount).text
        try AtomicFile.write(index) { file in try text.withUnsafeBytes { try file.write($0) } }
        return written + [index]
    }

    private static func padded(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
}

/// The tensors of one file in their order, checked.
private struct Plan {
    private var items: [(source: WeightSource, entry: WeightEntry)] = []
    private let path: String
    private(set) var byteCount = 0

    init(_ tensors: [WeightSource], path: String) throws {
        self.path = path
        var names = Set<String>()
        for tensor in tensors {
            func failure(_ message: String) -> WeightFileError {
                WeightFileError(.invalidInput, file: path, tensor: tensor.name, message)
            }
            guard tensor.name != "__metadata__" else { throw failure("the name belongs to the format") }
            guard names.insert(tensor.name).inserted else { throw failure("is to be written twice") }
            guard let entry = WeightEntry(dtype: tensor.dtype, shape: tensor.shape) else {
                throw failure("shape \(tensor.shape) is negative or too large")
            }
            let sum = byteCount.addingReportingOverflow(entry.byteCount)
            guard !sum.overflow else { throw failure("the file would be too large") }
            byteCount = sum.partialValue
            items.append((tensor, entry))
        }
        items.sort { left, right in
            let (leftRank, rightRank) = (left.source.dtype.fileRank, right.source.dtype.fileRank)
            guard leftRank == rightRank else { return leftRank > rightRank }
            return left.source.name.utf8.lexicographicallyPrecedes(right.source.name.utf8)
        }
    }

    /// Splits the tensors, in their given order, so that no part exceeds `limit` bytes unless one tensor does.
    func shards(of tensors: [WeightSource], limit: Int) -> [[WeightSource]] {
        let sizes = Dictionary(uniqueKeysWithValues: items.map { ($0.source.name, $0.entry.byteCount) })
        var shards: [[WeightSource]] = []
        var filled = 0
        for tensor in tensors {
            let size = sizes[tensor.name] ?? 0
            // `filled` never exceeds the limit but in a shard of one large tensor, so that this cannot overflow.
            if shards.isEmpty || filled > limit || size > limit - filled {
                shards.append([])
                filled = 0
            }
            shards[shards.count - 1].append(tensor)
            filled += size
        }
        return shards
    }

    func write(metadata: [String: String], to url: URL) throws {
        let header = header(metadata: metadata)
        guard header.count - 8 <= SafetensorsHeader.maximumByteCount else {
            throw WeightFileError(.invalidInput, file: path, "its header would be longer than the format allows")
        }
        try AtomicFile.write(url) { file in
            try header.withUnsafeBytes { try file.write($0) }
            for (source, entry) in items {
                var given = 0
                func failure() -> WeightFileError {
                    WeightFileError(
                        .invalidInput, file: path, tensor: source.name,
                        "\(source.dtype) of shape \(source.shape) takes \(entry.byteCount) bytes, \(given) were given")
                }
                try source.emit { bytes in
                    given += bytes.count
                    guard given <= entry.byteCount else { throw failure() }
                    try file.write(bytes)
                }
                guard given == entry.byteCount else { throw failure() }
            }
        }
    }

    /// The length and the JSON text, padded so that the data begins at a multiple of 8.
    private func header(metadata: [String: String]) -> [UInt8] {
        var members: [String] = []
        if !metadata.isEmpty {
            let keys = metadata.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            let strings = keys.map { "\($0.jsonQuoted):\((metadata[$0] ?? "").jsonQuoted)" }
            members.append("\"__metadata__\":{\(strings.joined(separator: ","))}")
        }
        var begin = 0
        for (source, entry) in items {
            let shape = source.shape.map(String.init).joined(separator: ",")
            let end = begin + entry.byteCount
            members.append(
                "\(source.name.jsonQuoted):{\"dtype\":\"\(source.dtype.rawValue)\",\"shape\":[\(shape)],"
                    + "\"data_offsets\":[\(begin),\(end)]}")
            begin = end
        }
        var text = Array("{\(members.joined(separator: ","))}".utf8)
        text.append(contentsOf: repeatElement(UInt8(ascii: " "), count: (8 - text.count % 8) % 8))
        return withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) } + text
    }
}

extension DType {
    /// The place of a type in a file: the reference implementation sorts types from its last case to its first,
    /// so that large elements come first and every tensor is aligned.
    fileprivate var fileRank: Int {
        switch self {
        case .bool: 0
        case .uint8: 1
        case .int8: 2
        case .int16: 3
        case .uint16: 4
        case .float16: 5
        case .bfloat16: 6
        case .int32: 7
        case .uint32: 8
        case .float32: 9
        case .float64: 10
        case .int64: 11
        case .uint64: 12
        }
    }
}
