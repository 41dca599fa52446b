import Foundation

@testable import TensorCore

/// A safetensors file put together by hand, right or wrong.
func safetensors(_ header: String, data: [UInt8] = [], length: UInt64? = nil) -> Data {
    safetensors(Array(header.utf8), data: data, length: length)
}

func safetensors(_ header: [UInt8], data: [UInt8] = [], length: UInt64? = nil) -> Data {
    withUnsafeBytes(of: (length ?? UInt64(header.count)).littleEndian) { Data($0) } + Data(header) + Data(data)
}

extension SafetensorsFile {
    /// A copy of the bytes of a tensor, which may outlive the file.
    func copy(of name: String) throws -> [UInt8] {
        try withExtendedLifetime(self) { Array(try bytes(of: name)) }
    }

    /// A copy of the floats that are usable in place.
    func directCopy(of name: String) throws -> [Float]? {
        try withExtendedLifetime(self) { try directFloats(of: name).map(Array.init) }
    }
}
