/// The checked header of a safetensors file: what it holds, and where.
///
/// The format: 8 bytes of header length (little-endian), the header in JSON, then the data. The header maps names to
/// `{"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}`, offsets counted from the end of the header,
/// and may hold strings under `__metadata__`. The ranges cover the data without gap or overlap. Checked as the
/// reference implementation does (safetensors 0.8, `SafeTensors::read_metadata`).
struct SafetensorsHeader: Sendable {
    /// The longest header the format allows, in bytes.
    static let maximumByteCount = 100_000_000

    /// One tensor and the bytes of the file it takes.
    struct Tensor: Sendable {
        let entry: WeightEntry
        /// Counted from the start of the file.
        let range: Range<Int>
    }

    private(set) var tensors: [String: Tensor] = [:]
    private(set) var metadata: [String: String] = [:]

    /// Reads and checks the header of the file whose whole content is `bytes`.
    ///
    /// - Parameter path: the file's name in errors.
    /// - Throws: ``WeightFileError`` with code `truncated`, `malformed` or `unsupported`.
    init(fileBytes bytes: UnsafeRawBufferPointer, path: String) throws {
        try Self.checkFirstBytes(bytes, path: path)
        guard bytes.count >= 8 else {
            throw WeightFileError(
                .truncated, file: path, "is not a safetensors file: it has \(bytes.count) bytes, the least is 10")
        }
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(Self.maximumByteCount) else {
            throw WeightFileError(
                .malformed, file: path,
                "is not a safetensors file: its first 8 bytes give a header of \(length) bytes, "
                    + "the most is \(Self.maximumByteCount)")
        }
        let dataStart = 8 + Int(length)
        guard dataStart <= bytes.count else {
            throw WeightFileError(
                .truncated, file: path,
                "ends early: the header needs bytes 8..<\(dataStart), the file has \(bytes.count)")
        }
        let drafts = try parse(UnsafeRawBufferPointer(rebasing: bytes[8..<dataStart]), path: path)
        for draft in drafts {
            tensors[draft.name] = try draft.checked(dataStart: dataStart, fileByteCount: bytes.count, path: path)
        }
        try checkCoverage(dataStart: dataStart, fileByteCount: bytes.count, path: path)
    }

    /// Recognises what people have instead of a safetensors file.
    private static func checkFirstBytes(_ bytes: UnsafeRawBufferPointer, path: String) throws {
        if bytes.starts(with: "version https://git-lfs".utf8) {
            throw WeightFileError(
                .malformed, file: path,
                "is a Git LFS pointer, not the weights; fetch them with `git lfs pull` in its folder")
        }
        if bytes.starts(with: [0x50, 0x4b, 0x03, 0x04]) {
            throw WeightFileError(
                .unsupported, file: path,
                "is a zip archive, as PyTorch's pickles are, not a safetensors file; pickles are not read")
        }
    }

    /// Reads the JSON text of the header.
    private mutating func parse(_ text: UnsafeRawBufferPointer, path: String) throws -> [Draft] {
        var drafts: [Draft] = []
        var metadata: [String: String] = [:]
        var current: String?
        do {
            // The format asks for '{' as the first byte, so that other formats can be told apart.
            guard text.first == UInt8(ascii: "{") else {
                throw JSONCursor.Failure(offset: 0, message: "expected '{' as the first byte")
            }
            var cursor = JSONCursor(text)
            try cursor.readObject { cursor, name in
                current = name
                if name == "__metadata__" {
                    try cursor.readObject { cursor, key in metadata[key] = try cursor.readString() }
                } else {
                    drafts.append(try Draft(name: name, at: &cursor))
                }
                current = nil
            }
            try cursor.readEnd()
        } catch let failure as JSONCursor.Failure {
            throw WeightFileError(
                .malformed, file: path, tensor: current,
                "the header is wrong at byte \(8 + failure.offset): \(failure.message)")
        }
        self.metadata = metadata
        return drafts
    }

    /// Checks that the ranges follow each other from the first byte of the data to the last.
    private func checkCoverage(dataStart: Int, fileByteCount: Int, path: String) throws {
        let ordered = tensors.sorted {
            ($0.value.range.lowerBound, $0.value.range.upperBound, $0.key)
                < ($1.value.range.lowerBound, $1.value.range.upperBound, $1.key)
        }
        var reached = dataStart
        var previous: String?
        for (name, tensor) in ordered {
            let begin = tensor.range.lowerBound
            guard begin == reached else {
                let before = previous.map { "tensor \($0)" } ?? "the header"
                let trouble =
                    begin < reached
                    ? "overlaps \(before), which ends at byte \(reached)"
                    : "leaves a gap of \(begin - reached) bytes after \(before)"
                throw WeightFileError(
                    .malformed, file: path, tensor: name, "bytes \(begin)..<\(tensor.range.upperBound): it \(trouble)")
            }
            reached = tensor.range.upperBound
            previous = name
        }
        guard reached == fileByteCount else {
            throw WeightFileError(
                .malformed, file: path,
                "has \(fileByteCount - reached) bytes after its last tensor, which ends at \(reached)")
        }
    }
}

/// One member of the header as written, before its numbers are compared with each other and with the file.
private struct Draft {
    let name: String
    private var dtype: String?
    private var shape: [Int]?
    private var offsets: [Int]?

    init(name: String, at cursor: inout JSONCursor) throws {
        func sizes(_ cursor: inout JSONCursor) throws -> [Int] {
            var sizes: [Int] = []
            try cursor.readArray { cursor in sizes.append(try cursor.readSize()) }
            return sizes
        }
        var dtype: String?
        var shape: [Int]?
        var offsets: [Int]?
        try cursor.readObject { cursor, key in
            switch key {
            case "dtype": dtype = try cursor.readString()
            case "shape": shape = try sizes(&cursor)
            case "data_offsets": offsets = try sizes(&cursor)
            default: try cursor.skipValue()
            }
        }
        (self.name, self.dtype, self.shape, self.offsets) = (name, dtype, shape, offsets)
    }

    func checked(dataStart: Int, fileByteCount: Int, path: String) throws -> SafetensorsHeader.Tensor {
        func failure(_ code: WeightFileError.Code, _ message: String) -> WeightFileError {
            WeightFileError(code, file: path, tensor: name, message)
        }
        guard let dtype, let shape, let offsets else {
            let missing = [("dtype", dtype == nil), ("shape", shape == nil), ("data_offsets", offsets == nil)]
            throw failure(.malformed, "has no \(missing.filter(\.1).map(\.0).joined(separator: ", no "))")
        }
        guard let type = DType(rawValue: dtype) else {
            let known = DType.allCases.map(\.rawValue).joined(separator: " ")
            throw failure(.unsupported, "element type \(dtype) is not known; known are \(known)")
        }
        guard let entry = WeightEntry(dtype: type, shape: shape) else {
            throw failure(.malformed, "shape \(shape) is too large to be true")
        }
        guard offsets.count == 2, offsets[0] <= offsets[1] else {
            throw failure(.malformed, "data_offsets \(offsets) are not a begin and an end")
        }
        guard offsets[1] - offsets[0] == entry.byteCount else {
            throw failure(
                .malformed,
                "\(type) of shape \(shape) takes \(entry.byteCount) bytes, data_offsets \(offsets) give "
                    + "\(offsets[1] - offsets[0])")
        }
        guard offsets[1] <= fileByteCount - dataStart else {
            // Sums only in words: an offset near Int.max must not overflow here.
            let wanted = "bytes \(UInt(offsets[0]) + UInt(dataStart))..<\(UInt(offsets[1]) + UInt(dataStart))"
            throw failure(.truncated, "the file ends early: it needs \(wanted), the file has \(fileByteCount)")
        }
        return SafetensorsHeader.Tensor(
            entry: entry, range: dataStart + offsets[0]..<dataStart + offsets[1])
    }
}
