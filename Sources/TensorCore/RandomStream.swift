import CKernels
import Glibc

/// Random numbers by position: element `i` of a stream is a hash of the stream's key and `i`.
///
/// A stream has no state, so a run that continues from a checkpoint draws what the uninterrupted one would have drawn, and a
/// dropout mask is made again in the backward pass instead of being kept. The hash is SplitMix64's.
package struct RandomStream: Sendable, Equatable {
    package let key: UInt64

    package init(seed: UInt64) { key = Self.mix(seed &+ 0x9E37_79B9_7F4A_7C15) }

    private init(key: UInt64) { self.key = key }

    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// An independent stream for number `index` of something, such as a step.
    package func substream(_ index: Int) -> RandomStream {
        RandomStream(key: Self.mix(key ^ Self.mix(UInt64(bitPattern: Int64(index)) &+ 0xD1B5_4A32_D192_ED03)))
    }

    /// An independent stream for a named purpose, such as a parameter (FNV-1a of the name).
    package func substream(_ name: String) -> RandomStream {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return RandomStream(key: Self.mix(key ^ Self.mix(hash)))
    }

    /// The 64 bits at position `index`.
    package func bits(at index: Int) -> UInt64 {
        Self.mix(key &+ (UInt64(index) &+ 1) &* 0x9E37_79B9_7F4A_7C15)
    }

    /// `count` numbers, uniform in `low ..< high`.
    package func uniform(_ shape: [Int], low: Float, high: Float) -> Tensor {
        let result = Tensor(uninitialized: shape)
        let pointer = result.pointer
        Parallel.forEachRange(result.count, grain: 4096) { range in
            ck_kernels().pointee.uniform(
                range.count, key, UInt64(range.lowerBound), low, high, pointer + range.lowerBound)
        }
        return result
    }

    /// Normally distributed numbers of mean 0 (Box and Muller's transform of two uniform numbers).
    package func normal(_ shape: [Int], standardDeviation: Float) -> Tensor {
        let result = Tensor(uninitialized: shape)
        let pointer = result.pointer
        Parallel.forEachRange(result.count, grain: 4096) { range in
            for index in range {
                // Element i and its neighbour use the two outputs of one pair of uniform numbers.
                let pair = index / 2
                let radius = Double(bits(at: 2 * pair) >> 11) * 0x1p-53
                let angle = Double(bits(at: 2 * pair + 1) >> 11) * 0x1p-53
                let length = (-2 * log(1 - radius)).squareRoot() * Double(standardDeviation)
                pointer[index] = Float(length * (index % 2 == 0 ? cos(2 * .pi * angle) : sin(2 * .pi * angle)))
            }
        }
        return result
    }

    /// A permutation of `0..<count` (Fisher and Yates's shuffle).
    package func permutation(_ count: Int) -> [Int] {
        var order = Array(0..<count)
        for index in stride(from: count - 1, to: 0, by: -1) {
            let other = Int(bits(at: index).multipliedFullWidth(by: UInt64(index + 1)).high)
            order.swapAt(index, other)
        }
        return order
    }
}
