package import Foundation

/// A safetensors file, checked when opened and read in place.
package final class SafetensorsFile: Sendable {
    /// The path as it was given; errors begin with it.
    package var path: String { file.path }
    /// The strings under `__metadata__`; empty if there are none.
    package var metadata: [String: String] { header.metadata }
    /// The names of the tensors, sorted.
    package let names: [String]

    private let file: MappedFile
    private let header: SafetensorsHeader

    /// Maps the file and checks its header; no tensor data is touched.
    ///
    /// - Throws: ``WeightFileError`` that names the file, the tensor and what is wrong: codes `notFound`, `system`,
    ///   `truncated`, `malformed`, `unsupported`.
    package init(_ url: URL) throws {
        file = try MappedFile(url)
        header = try SafetensorsHeader(fileBytes: file.bytes, path: file.path)
        names = header.tensors.keys.sorted()
    }

    /// Whether there is a tensor of that name.
    package func contains(_ name: String) -> Bool { header.tensors[name] != nil }

    /// The type and shape of a tensor.
    ///
    /// - Throws: ``WeightFileError`` with code `noSuchTensor`.
    package func entry(_ name: String) throws -> WeightEntry { try tensor(name).entry }

    /// The elements of a tensor as stored, little-endian, innermost axis last; of any alignment.
    ///
    /// Valid while this object lives, so hold it: `try SafetensorsFile(url).bytes(of: name)` is gone at once.
    package func bytes(of name: String) throws -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: file.bytes[try tensor(name).range])
    }

    /// The elements of an F32 tensor that lie aligned to 4 bytes, without a copy; `nil` for any other.
    ///
    /// Valid while this object lives.
    package func directFloats(of name: String) throws -> UnsafeBufferPointer<Float>? {
        guard try isDirectlyUsable(name) else { return nil }
        return try bytes(of: name).bindMemory(to: Float.self)
    }

    /// Whether ``directFloats(of:)`` gives the tensor.
    package func isDirectlyUsable(_ name: String) throws -> Bool {
        let bytes = try bytes(of: name)
        guard try entry(name).dtype == .float32 else { return false }
        return UInt(bitPattern: bytes.baseAddress) % UInt(MemoryLayout<Float>.alignment) == 0
    }

    /// Copies an F32, F16, BF16 or F64 tensor to `destination` as `Float`.
    ///
    /// - Throws: ``WeightFileError`` with code `noSuchTensor`, or `mismatch` when the tensor holds integers or not
    ///   exactly `destination.count` elements.
    package func readFloats(_ name: String, into destination: UnsafeMutableBufferPointer<Float>) throws {
        let entry = try entry(name)
        guard entry.dtype.isFloatingPoint else {
            throw WeightFileError(.mismatch, file: path, tensor: name, "holds \(entry.dtype), not real numbers")
        }
        guard entry.count == destination.count else {
            throw WeightFileError(
                .mismatch, file: path, tensor: name,
                "has shape \(entry.shape), \(entry.count) elements, where \(destination.count) are wanted")
        }
        try withExtendedLifetime(self) {
            FloatConversion.read(try bytes(of: name), as: entry.dtype, into: destination)
        }
    }

    /// The elements of an F32, F16, BF16 or F64 tensor, converted; throws as ``readFloats(_:into:)``.
    package func floats(of name: String) throws -> [Float] {
        try [Float](unsafeUninitializedCapacity: try entry(name).count) { buffer, count in
            // The capacity may be larger than what was asked for.
            let wanted = UnsafeMutableBufferPointer(rebasing: buffer[..<(try entry(name).count)])
            try readFloats(name, into: wanted)
            count = wanted.count
        }
    }

    private func tensor(_ name: String) throws -> SafetensorsHeader.Tensor {
        guard let tensor = header.tensors[name] else {
            throw WeightFileError(
                .noSuchTensor, file: path, tensor: name, "is not among the \(names.count) tensors of the file")
        }
        return tensor
    }
}
