import CKernels

/// Conversion of elements between the formats of files and `Float`, a buffer at a time.
package enum FloatConversion {
    /// Reads `destination.count` elements of type `dtype` at the start of `source`, which may have any alignment.
    ///
    /// F16, BF16 and F32 are exact; F64 is rounded to nearest, ties to even.
    ///
    /// - Precondition: `dtype` is a floating-point type and `source` holds enough bytes.
    package static func read(
        _ source: UnsafeRawBufferPointer, as dtype: DType, into destination: UnsafeMutableBufferPointer<Float>
    ) {
        let count = destination.count
        precondition(source.count >= count * dtype.byteCount, "FloatConversion.read: the source is too short")
        guard count > 0, let from = source.baseAddress, let to = destination.baseAddress else { return }
        switch dtype {
        case .float32: UnsafeMutableRawPointer(to).copyMemory(from: from, byteCount: count * 4)
        case .float16: ckernels_f32_from_f16(from, to, count)
        case .bfloat16: ckernels_f32_from_bf16(from, to, count)
        case .float64: ckernels_f32_from_f64(from, to, count)
        default: preconditionFailure("FloatConversion.read: \(dtype) is not a floating-point type")
        }
    }

    /// Writes `source` as elements of type `dtype` to the start of `destination`, which may have any alignment.
    ///
    /// F32 and F64 are exact; F16 and BF16 are rounded to nearest, ties to even, and overflow to infinity.
    ///
    /// - Precondition: `dtype` is a floating-point type and `destination` has enough room.
    package static func write(
        _ source: UnsafeBufferPointer<Float>, as dtype: DType, into destination: UnsafeMutableRawBufferPointer
    ) {
        let count = source.count
        precondition(destination.count >= count * dtype.byteCount, "FloatConversion.write: no room")
        guard count > 0, let from = source.baseAddress, let to = destination.baseAddress else { return }
        switch dtype {
        case .float32: to.copyMemory(from: from, byteCount: count * 4)
        case .float16: ckernels_f16_from_f32(from, to, count)
        case .bfloat16: ckernels_bf16_from_f32(from, to, count)
        case .float64: ckernels_f64_from_f32(from, to, count)
        default: preconditionFailure("FloatConversion.write: \(dtype) is not a floating-point type")
        }
    }
}
