/// A tensor to be written: its name, type and shape, and where its bytes come from.
package struct WeightSource {
    /// Takes the next bytes of a tensor.
    package typealias Sink = (UnsafeRawBufferPointer) throws -> Void

    package let name: String
    package let dtype: DType
    package let shape: [Int]
    let emit: (Sink) throws -> Void

    /// A tensor whose bytes, little-endian and innermost axis last, are made when they are needed.
    ///
    /// - Parameter emit: gives the bytes to the sink, in order, in one call or several.
    package init(name: String, dtype: DType, shape: [Int], emit: @escaping (Sink) throws -> Void) {
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.emit = emit
    }

    /// A tensor whose bytes lie in memory, which must stay valid until it is written.
    package init(name: String, dtype: DType, shape: [Int], bytes: UnsafeRawBufferPointer) {
        self.init(name: name, dtype: dtype, shape: shape) { sink in try sink(bytes) }
    }

    /// A tensor of a file, copied as it is stored; the file stays open until the source is gone.
    ///
    /// - Parameter newName: the name to write it under; its own if `nil`.
    /// - Throws: ``WeightFileError`` with code `noSuchTensor`.
    package init(copying name: String, from file: SafetensorsFile, as newName: String? = nil) throws {
        let entry = try file.entry(name)
        self.init(name: newName ?? name, dtype: entry.dtype, shape: entry.shape) { sink in
            try withExtendedLifetime(file) { try sink(try file.bytes(of: name)) }
        }
    }

    /// A tensor of floats in memory, which must stay valid until it is written, stored as `dtype`.
    ///
    /// - Precondition: `dtype` is a floating-point type. F16 and BF16 are rounded to nearest, ties to even.
    package init(name: String, shape: [Int], floats: UnsafeBufferPointer<Float>, as dtype: DType = .float32) {
        precondition(dtype.isFloatingPoint, "WeightSource: floats cannot be stored as \(dtype)")
        guard dtype != .float32 else {
            self.init(name: name, dtype: dtype, shape: shape, bytes: UnsafeRawBufferPointer(floats))
            return
        }
        self.init(name: name, dtype: dtype, shape: shape) { sink in
            // A piece at a time: a large embedding must not be in memory twice.
            let step = 1 << 18
            let scratch = UnsafeMutableRawBufferPointer.allocate(
                byteCount: min(step, floats.count) * dtype.byteCount, alignment: 8)
            defer { scratch.deallocate() }
            for start in stride(from: 0, to: floats.count, by: step) {
                let piece = UnsafeBufferPointer(rebasing: floats[start..<min(start + step, floats.count)])
                FloatConversion.write(piece, as: dtype, into: scratch)
                try sink(UnsafeRawBufferPointer(rebasing: scratch[..<(piece.count * dtype.byteCount)]))
            }
        }
    }
}
