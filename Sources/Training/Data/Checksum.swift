import TensorCore

/// A 64-bit checksum that tells accidents apart: a torn write, a flipped bit, another file under the same name.
///
/// Little-endian words are folded in by xor, an odd multiplication and a rotation, each of which can be undone, so a
/// change within one word always shows. It is no protection against someone who wants to deceive; what must
/// withstand that is digested with SHA-256 by the store.
enum Checksum {
    /// The checksum of `bytes`.
    static func of(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hash = 0x6C6F_7261_6A6F_6273 ^ UInt64(bytes.count)
        let words = bytes.count / 8
        for index in 0..<words {
            hash = mixed(hash, UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)))
        }
        var last: UInt64 = 0
        for index in words * 8..<bytes.count { last |= UInt64(bytes[index]) << (8 * UInt64(index % 8)) }
        return mixed(hash, last)
    }

    /// The checksum of a file's bytes from `offset` on. The mapping is held until they are read.
    static func of(_ file: MappedFile, from offset: Int = 0) -> UInt64 {
        withExtendedLifetime(file) { of(UnsafeRawBufferPointer(rebasing: file.bytes[offset...])) }
    }

    /// The checksum of a text's UTF-8.
    static func of(_ text: String) -> UInt64 {
        Array(text.utf8).withUnsafeBytes { of($0) }
    }

    private static func mixed(_ hash: UInt64, _ word: UInt64) -> UInt64 {
        let product = (hash ^ word) &* 0x9E37_79B9_7F4A_7C15
        return product << 29 | product >> 35
    }
}

extension UInt64 {
    /// Sixteen hexadecimal digits.
    var hexadecimal: String {
        let digits = String(self, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
