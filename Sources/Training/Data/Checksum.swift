import TensorCore

/// A 64-bit checksum that tells accidents apart: a torn write, a flipped bit, another file under the same name.
///
/// Little-endian words are folded in by xor, an odd multiplication and a rotation, each of which can be undone, so a
/// change within one word always shows. It is no protection against someone who wants to deceive; what must
/// withstand that is digested with SHA-256 by the store.
enum Checksum {
    /// The checksum of `bytes`.
    static func of(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        finished(folded(start(byteCount: bytes.count), bytes), bytes)
    }

    private static func start(byteCount: Int) -> UInt64 { 0x6C6F_7261_6A6F_6273 ^ UInt64(byteCount) }

    /// Folds in the whole words of `bytes`.
    private static func folded(_ hash: UInt64, _ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hash = hash
        for index in 0..<bytes.count / 8 {
            hash = mixed(hash, UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)))
        }
        return hash
    }

    /// Folds in what is left behind the last whole word.
    private static func finished(_ hash: UInt64, _ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var last: UInt64 = 0
        for index in bytes.count / 8 * 8..<bytes.count { last |= UInt64(bytes[index]) << (8 * UInt64(index % 8)) }
        return mixed(hash, last)
    }

    /// The checksum of a file's bytes from `offset` on. The mapping is held until they are read.
    ///
    /// A large file is not kept in memory.
    static func of(_ file: MappedFile, from offset: Int = 0) -> UInt64 {
        let bytes = UnsafeRawBufferPointer(rebasing: file.bytes[offset...])
        var hash = start(byteCount: bytes.count)
        for low in stride(from: 0, to: bytes.count / 8 * 8, by: window) {
            let high = min(low + window, bytes.count / 8 * 8)
            hash = folded(hash, UnsafeRawBufferPointer(rebasing: bytes[low..<high]))
            if bytes.count > window { file.releasePages() }
        }
        return withExtendedLifetime(file) { finished(hash, bytes) }
    }

    /// Bytes that are in memory at once; a multiple of 8.
    private static let window = 32 << 20

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
