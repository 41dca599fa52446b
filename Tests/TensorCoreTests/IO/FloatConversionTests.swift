import Testing

@testable import TensorCore

@Suite struct FloatConversionTests {
    private static let patterns = (0...UInt16.max).map { $0 }

    private static func read<Element>(_ elements: [Element], as dtype: DType, shift: Int = 0) -> [Float] {
        // `shift` bytes in front make the elements misaligned.
        let bytes = [UInt8](repeating: 0xff, count: shift) + elements.withUnsafeBytes { Array($0) }
        return [Float](unsafeUninitializedCapacity: elements.count) { buffer, count in
            bytes.withUnsafeBytes { source in
                FloatConversion.read(
                    UnsafeRawBufferPointer(rebasing: source[shift...]), as: dtype,
                    into: UnsafeMutableBufferPointer(rebasing: buffer[..<elements.count]))
            }
            count = elements.count
        }
    }

    private static func write(_ floats: [Float], as dtype: DType) -> [UInt16] {
        [UInt16](unsafeUninitializedCapacity: floats.count) { buffer, count in
            floats.withUnsafeBufferPointer { source in
                FloatConversion.write(source, as: dtype, into: UnsafeMutableRawBufferPointer(buffer))
            }
            count = floats.count
        }
    }

    /// Every pattern whose value matters to rounding: all exponents, with low bits around the rounding boundaries.
    private static let roundingInputs: [Float] = {
        var bits: [UInt32] = []
        for upper in UInt32(0)...0xffff {
            for lower: UInt32 in [0, 1, 0x0fff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff]
            {
                bits.append(upper << 16 | lower)
            }
        }
        return bits.map(Float.init(bitPattern:))
    }()

    @Test(arguments: [0, 1, 3]) func readsEveryFloat16(shift: Int) {
        let floats = Self.read(Self.patterns, as: .float16, shift: shift)
        var wrong = 0
        for (pattern, float) in zip(Self.patterns, floats) {
            let expected = Float(Float16(bitPattern: pattern))
            let same =
                expected.isNaN ? float.isNaN && float.sign == expected.sign : float.bitPattern == expected.bitPattern
            if !same { wrong += 1 }
        }
        #expect(wrong == 0)
    }

    @Test func readsFloat16LandmarksExactly() {
        let floats = Self.read(
            [0x0001, 0x03ff, 0x0400, 0x3c00, 0x7bff, 0x7c00, 0xfc00, 0x8000] as [UInt16], as: .float16)
        #expect(floats == [0x1p-24, 0x1p-14 - 0x1p-24, 0x1p-14, 1, 65504, .infinity, -.infinity, 0])
        #expect(floats[7].sign == .minus)
    }

    @Test(arguments: [0, 1]) func readsEveryBFloat16(shift: Int) {
        let floats = Self.read(Self.patterns, as: .bfloat16, shift: shift)
        #expect(floats.map(\.bitPattern) == Self.patterns.map { UInt32($0) << 16 })
    }

    @Test func everyFloat16SurvivesARoundTrip() {
        let back = Self.write(Self.read(Self.patterns, as: .float16), as: .float16)
        let differing = zip(Self.patterns, back).filter { pattern, result in
            guard Float16(bitPattern: pattern).isNaN else { return pattern != result }
            // A NaN keeps its sign and payload and comes out quiet.
            return result != pattern | 0x0200
        }
        #expect(differing.isEmpty)
    }

    @Test func everyBFloat16SurvivesARoundTrip() {
        let back = Self.write(Self.read(Self.patterns, as: .bfloat16), as: .bfloat16)
        let differing = zip(Self.patterns, back).filter { pattern, result in
            guard Float(bitPattern: UInt32(pattern) << 16).isNaN else { return pattern != result }
            return result != pattern | 0x0040
        }
        #expect(differing.isEmpty)
    }

    @Test func roundsToFloat16AsTheLanguageDoes() {
        let results = Self.write(Self.roundingInputs, as: .float16)
        var wrong = 0
        for (float, result) in zip(Self.roundingInputs, results) {
            let expected = Float16(float)
            let actual = Float16(bitPattern: result)
            let same = expected.isNaN ? actual.isNaN : expected.bitPattern == result
            if !same { wrong += 1 }
        }
        #expect(wrong == 0)
    }

    @Test func roundsToTheNearestBFloat16() {
        let results = Self.write(Self.roundingInputs, as: .bfloat16)
        var wrong = 0
        for (float, result) in zip(Self.roundingInputs, results) {
            let actual = Float(bitPattern: UInt32(result) << 16)
            if float.isNaN {
                if !actual.isNaN { wrong += 1 }
            } else if result != Self.nearestBFloat16(float) {
                wrong += 1
            }
        }
        #expect(wrong == 0)
    }

    /// By comparing distances in double precision; the first value beyond the largest stands for infinity.
    private static func nearestBFloat16(_ float: Float) -> UInt16 {
        guard !float.isInfinite else { return UInt16(float.bitPattern >> 16) }
        func value(_ pattern: UInt16) -> Double {
            pattern & 0x7f80 == 0x7f80 ? 0x1p128 : Double(Float(bitPattern: UInt32(pattern & 0x7fff) << 16))
        }
        let lower = UInt16(float.bitPattern >> 16)
        let upper = lower + 1
        let below = Double(float.magnitude) - value(lower)
        let above = value(upper) - Double(float.magnitude)
        if below == above { return lower % 2 == 0 ? lower : upper }
        return below < above ? lower : upper
    }

    @Test func convertsFloat64() {
        let doubles: [Double] = [0.1, -0.0, 1e300, -1e-300, 0x1.000001p0, 0x1.000003p0, .infinity]
        #expect(Self.read(doubles, as: .float64, shift: 1).map(\.bitPattern) == doubles.map { Float($0).bitPattern })
        #expect(Self.read([Double.nan], as: .float64)[0].isNaN)
    }

    @Test func emptyBuffersAreFine() {
        for dtype in [DType.float16, .bfloat16, .float32, .float64] {
            #expect(Self.read([Float](), as: dtype) == [])
        }
    }
}
