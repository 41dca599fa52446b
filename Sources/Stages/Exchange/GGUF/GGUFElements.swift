import Foundation
import TensorCore

/// How the elements of a GGUF tensor are stored.
enum GGUFElements: String {
    case f32
    case f16
    /// Blocks of 32 elements of a row: an F16 scale `d = max|x| / 127` and 32 bytes `round(x / d)`.
    case q8 = "q8_0"

    /// The number ggml has for the type.
    var ggmlType: UInt32 {
        switch self {
        case .f32: 0
        case .f16: 1
        case .q8: 8
        }
    }

    /// The number of `general.file_type` for a file whose large tensors are so.
    var fileType: Int {
        switch self {
        case .f32: 0
        case .f16: 1
        case .q8: 7
        }
    }

    static let blockSize = 32
    private static let blockBytes = 34

    /// What rows of this length can be stored as: those that blocks do not divide stay F16.
    func fitting(_ shape: [Int]) -> GGUFElements {
        self == .q8 && (shape.last ?? 0) % Self.blockSize != 0 ? .f16 : self
    }

    func byteCount(of shape: [Int]) -> Int {
        let count = shape.reduce(1, *)
        return switch self {
        case .f32: 4 * count
        case .f16: 2 * count
        case .q8: count / Self.blockSize * Self.blockBytes
        }
    }

    func encode(_ tensor: Tensor) -> Data {
        let tensor = tensor.converted(to: .float32)
        let floats = UnsafeBufferPointer(start: tensor.pointer, count: tensor.count)
        var data = Data(count: byteCount(of: tensor.shape))
        data.withUnsafeMutableBytes { bytes in
            switch self {
            case .f32: FloatConversion.write(floats, as: .float32, into: bytes)
            case .f16: FloatConversion.write(floats, as: .float16, into: bytes)
            case .q8: Self.quantise(floats, into: bytes)
            }
        }
        return withExtendedLifetime(tensor) { data }
    }

    private static func quantise(_ floats: UnsafeBufferPointer<Float>, into bytes: UnsafeMutableRawBufferPointer) {
        for block in 0..<floats.count / blockSize {
            let values = floats[block * blockSize..<(block + 1) * blockSize]
            let scale = values.reduce(0) { max($0, abs($1)) } / 127
            // Below the smallest normal number the F16 scale is 0 as well.
            let inverse = scale < .leastNormalMagnitude ? 0 : 1 / scale
            let start = block * blockBytes
            withUnsafePointer(to: scale) {
                FloatConversion.write(
                    UnsafeBufferPointer(start: $0, count: 1), as: .float16,
                    into: UnsafeMutableRawBufferPointer(rebasing: bytes[start..<start + 2]))
            }
            for (index, value) in values.enumerated() {
                // Halves go away from zero, as ggml's reference has it.
                let rounded = (value * inverse).rounded(.toNearestOrAwayFromZero)
                bytes[start + 2 + index] = UInt8(bitPattern: Int8(max(-127, min(127, rounded))))
            }
        }
    }
}
