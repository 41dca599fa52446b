import Foundation
import PipelineSpec
import TensorCore

/// A GGUF file, version 3: metadata by key, then tensors by name, as ggml-org/ggml's `docs/gguf.md` lays them out.
///
/// Little-endian; tensor data begins at a multiple of 32 bytes, and so does each tensor. The same content gives the same
/// bytes.
struct GGUFFile {
    /// A value of the metadata; the numbers of the types are the format's.
    enum Value: Equatable {
        case uint32(UInt32)
        case float32(Float)
        case bool(Bool)
        case string([UInt8])
        case strings([[UInt8]])
        case int32s([Int32])
        case float32s([Float])

        static func string(_ text: String) -> Value { .string(Array(text.utf8)) }

        fileprivate var type: UInt32 {
            switch self {
            case .uint32: 4
            case .float32: 6
            case .bool: 7
            case .string: 8
            case .strings, .int32s, .float32s: 9
            }
        }
    }

    /// A tensor and how its elements are stored.
    struct TensorSource {
        let name: String
        /// Sizes from the outermost axis to the innermost, as everywhere here; the file has them the other way round.
        let shape: [Int]
        let format: GGUFElements
        /// Made when its turn comes, and dropped behind it.
        let values: () throws -> Tensor
    }

    /// Metadata in the order in which it is written.
    private(set) var metadata: [(key: String, value: Value)] = []
    var tensors: [TensorSource] = []

    mutating func set(_ key: String, _ value: Value) { metadata.append((key, value)) }
    mutating func set(_ key: String, _ value: Int) { set(key, .uint32(UInt32(value))) }
    mutating func set(_ key: String, _ value: String) { set(key, .string(value)) }

    private static let alignment = 32

    /// Writes the file and flushes it.
    ///
    /// - Throws: ``StageError`` for what the disk refuses, or what a tensor's values throw.
    func write(to file: URL) throws {
        let path = file.path(percentEncoded: false)
        guard FileManager.default.createFile(atPath: path, contents: nil) else {
            throw StageError("cannot_write", "\(path) cannot be made", exit: .tryAgain)
        }
        let handle = try FileHandle(forWritingTo: file)
        defer { try? handle.close() }
        var header = ByteWriter()
        header.bytes(Array("GGUF".utf8))
        header.integer(UInt32(3))
        header.integer(UInt64(tensors.count))
        header.integer(UInt64(metadata.count))
        for (key, value) in metadata { header.entry(key, value) }
        var offset = 0
        for tensor in tensors {
            header.string(Array(tensor.name.utf8))
            header.integer(UInt32(tensor.shape.count))
            for size in tensor.shape.reversed() { header.integer(UInt64(size)) }
            header.integer(tensor.format.ggmlType)
            header.integer(UInt64(offset))
            offset += Self.padded(tensor.format.byteCount(of: tensor.shape))
        }
        header.pad(to: Self.alignment)
        try handle.write(contentsOf: header.data)
        for tensor in tensors {
            let values = try tensor.values()
            precondition(
                values.shape == tensor.shape, "\(tensor.name): \(values.shape) given for \(tensor.shape)")
            var data = tensor.format.encode(values)
            data.append(Data(count: Self.padded(data.count) - data.count))
            try handle.write(contentsOf: data)
        }
        try handle.synchronize()
    }

    private static func padded(_ count: Int) -> Int { (count + alignment - 1) / alignment * alignment }
}

extension ByteWriter {
    fileprivate mutating func entry(_ key: String, _ value: GGUFFile.Value) {
        string(Array(key.utf8))
        integer(value.type)
        switch value {
        case .uint32(let number): integer(number)
        case .float32(let number): integer(number.bitPattern)
        case .bool(let flag): bytes([flag ? 1 : 0])
        case .string(let text): string(text)
        case .strings(let texts):
            integer(UInt32(8))
            integer(UInt64(texts.count))
            for text in texts { string(text) }
        case .int32s(let numbers):
            integer(UInt32(5))
            integer(UInt64(numbers.count))
            for number in numbers { integer(number) }
        case .float32s(let numbers):
            integer(UInt32(6))
            integer(UInt64(numbers.count))
            for number in numbers { integer(number.bitPattern) }
        }
    }
}

/// Bytes in the making, little-endian.
struct ByteWriter {
    private(set) var data = Data()

    mutating func bytes(_ bytes: [UInt8]) { data.append(contentsOf: bytes) }

    mutating func integer(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { data.append(contentsOf: $0) }
    }

    /// A text behind its length.
    mutating func string(_ text: [UInt8]) {
        integer(UInt64(text.count))
        bytes(text)
    }

    mutating func pad(to alignment: Int) {
        data.append(Data(count: (alignment - data.count % alignment) % alignment))
    }
}
