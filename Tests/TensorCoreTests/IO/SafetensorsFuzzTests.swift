import Foundation
import TestSupport
import Testing

@testable import TensorCore

@Suite struct SafetensorsFuzzTests {
    /// A small generator with a fixed seed (xorshift64*), so that a failure comes back.
    private struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state ^= state >> 12
            state ^= state << 25
            state ^= state >> 27
            return state &* 0x2545_f491_4f6c_dd1d
        }
    }

    private static let content = safetensors(
        """
        {"__metadata__":{"format":"pt","note":"\\u00e4"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},\
        "b":{"dtype":"BF16","shape":[5],"data_offsets":[24,34]},"c":{"dtype":"I64","shape":[],"data_offsets":[34,42]}}
        """, data: Array(0..<42))

    /// Reads everything a file offers; what is offered must lie inside it.
    private func readAll(_ bytes: Data) throws {
        try bytes.withUnsafeBytes { bytes in
            let header = try SafetensorsHeader(fileBytes: bytes, path: "fuzz")
            for tensor in header.tensors.values {
                #expect(tensor.range.upperBound <= bytes.count)
                #expect(tensor.range.count == tensor.entry.byteCount)
                _ = bytes[tensor.range].reduce(0, &+)
            }
        }
    }

    @Test func damagedFilesGiveATypedErrorOrAWholeTensor() throws {
        try readAll(Self.content)
        var generator = Generator(state: 0x9e37_79b9_7f4a_7c15)
        var refused = 0
        for round in 0..<6000 {
            var bytes = Self.content
            switch round % 4 {
            case 0:
                bytes.removeLast(Int.random(in: 1...bytes.count, using: &generator))
            case 1:
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] ^=
                    1 << UInt8.random(in: 0..<8, using: &generator)
            case 2:
                // Characters that mean something to JSON, where they hurt most.
                let hurtful = Array("{}[]:,\"\\0129-.eu \u{0}\u{7f}".utf8)
                for _ in 0..<Int.random(in: 1...4, using: &generator) {
                    bytes[Int.random(in: 8..<bytes.count - 42, using: &generator)] = hurtful.randomElement(
                        using: &generator)!
                }
            default:
                let at = Int.random(in: 0..<bytes.count, using: &generator)
                bytes.replaceSubrange(
                    at..<min(at + 3, bytes.count), with: [UInt8.random(in: 0...255, using: &generator)])
            }
            do {
                try readAll(bytes)
            } catch is WeightFileError {
                refused += 1
            }
        }
        // Most damage is in the header or the length, and cannot go unnoticed.
        #expect(refused > 3000)
    }

    @Test func everyPrefixIsRefused() {
        for count in 0..<Self.content.count {
            #expect(throws: WeightFileError.self) { try readAll(Self.content.prefix(count)) }
        }
    }
}
