/// Reading scalars out of UTF-8 bytes without making strings.
enum UTF8Reading {
    /// The scalar value that starts at `index`, and its length in bytes.
    ///
    /// A malformed sequence counts as one U+FFFD of one byte, so no input can lead outside the buffer.
    @inline(__always)
    static func scalar(at index: Int, in utf8: UnsafeBufferPointer<UInt8>) -> (value: UInt32, length: Int) {
        let first = UInt32(utf8[index])
        if first < 0x80 { return (first, 1) }
        let left = utf8.count - index
        if first < 0xE0 {
            guard first >= 0xC2, left >= 2 else { return (0xFFFD, 1) }
            return ((first & 0x1F) << 6 | UInt32(utf8[index + 1] & 0x3F), 2)
        }
        if first < 0xF0 {
            guard left >= 3 else { return (0xFFFD, 1) }
            let value = (first & 0x0F) << 12 | UInt32(utf8[index + 1] & 0x3F) << 6 | UInt32(utf8[index + 2] & 0x3F)
            return (value, 3)
        }
        guard first <= 0xF4, left >= 4 else { return (0xFFFD, 1) }
        let high = (first & 0x07) << 18 | UInt32(utf8[index + 1] & 0x3F) << 12
        let value = high | UInt32(utf8[index + 2] & 0x3F) << 6 | UInt32(utf8[index + 3] & 0x3F)
        return (value <= 0x10FFFF ? value : 0xFFFD, 4)
    }

    /// The same as a `Unicode.Scalar`.
    static func unicodeScalar(at index: Int, in utf8: UnsafeBufferPointer<UInt8>) -> (Unicode.Scalar, Int) {
        let (value, length) = scalar(at: index, in: utf8)
        return (Unicode.Scalar(value) ?? "\u{FFFD}", length)
    }

    /// The scalar that ends before `index`, and its length in bytes.
    static func unicodeScalar(before index: Int, in utf8: UnsafeBufferPointer<UInt8>) -> (Unicode.Scalar, Int) {
        var start = index - 1
        while start > 0, index - start < 4, isContinuation(utf8[start]) { start -= 1 }
        return (unicodeScalar(at: start, in: utf8).0, index - start)
    }

    @inline(__always)
    static func isContinuation(_ byte: UInt8) -> Bool { byte & 0xC0 == 0x80 }

    /// Whether every byte is ASCII.
    static func isASCII(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        guard let base = UnsafeRawPointer(utf8.baseAddress) else { return true }
        var index = 0
        while index + 8 <= utf8.count {
            if base.loadUnaligned(fromByteOffset: index, as: UInt64.self) & 0x8080_8080_8080_8080 != 0 { return false }
            index += 8
        }
        while index < utf8.count {
            if utf8[index] >= 0x80 { return false }
            index += 1
        }
        return true
    }

    /// Whether the bytes are well-formed UTF-8.
    static func isValid(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        guard let base = UnsafeRawPointer(utf8.baseAddress) else { return true }
        var index = 0
        while index < utf8.count {
            if index + 8 <= utf8.count,
                base.loadUnaligned(fromByteOffset: index, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
            {
                index += 8
                continue
            }
            let first = utf8[index]
            let length =
                first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0
            guard length > 0, index + length <= utf8.count else { return false }
            for offset in 1..<max(length, 1) where !isContinuation(utf8[index + offset]) { return false }
            let second = length > 1 ? utf8[index + 1] : 0
            switch first {
            case 0xE0 where second < 0xA0, 0xED where second > 0x9F, 0xF0 where second < 0x90, 0xF4 where second > 0x8F:
                return false
            default: index += length
            }
        }
        return true
    }
}

extension String {
    /// Runs `body` on the UTF-8 bytes, copying them only when the string is not stored contiguously.
    func withUTF8Bytes<Result>(_ body: (UnsafeBufferPointer<UInt8>) throws -> Result) rethrows -> Result {
        var copy = self
        return try copy.withUTF8(body)
    }
}
