/// Reads the wire format of Protocol Buffers: fields of a message, one after the other.
///
/// Nothing is allocated for a length that the bytes do not bear out, and no message is entered unless asked for.
struct ProtobufReader {
    /// The content of a field.
    enum Value {
        case varint(UInt64)
        case fixed32(UInt32)
        case fixed64(UInt64)
        case bytes(ArraySlice<UInt8>)
    }

    /// Why the bytes are no message.
    struct Malformed: Error, CustomStringConvertible {
        /// The byte at which reading failed.
        let position: Int
        let reason: String
        var description: String { "byte \(position): \(reason)" }
    }

    private let data: ArraySlice<UInt8>
    private var position: Int

    init(_ data: ArraySlice<UInt8>) {
        self.data = data
        position = data.startIndex
    }

    /// The next field, or `nil` at the end of the message.
    mutating func next() throws -> (number: Int, value: Value)? {
        guard position < data.endIndex else { return nil }
        let key = try varint()
        let number = Int(truncatingIfNeeded: key >> 3)
        guard (1..<1 << 29).contains(number) else { throw failure("the field number \(key >> 3) is impossible") }
        switch key & 7 {
        case 0: return (number, .varint(try varint()))
        case 1: return (number, .fixed64(try fixed(8)))
        case 2:
            let length = try varint()
            guard length <= UInt64(data.endIndex - position) else {
                throw failure("a field of \(length) bytes reaches beyond the end; the file may be truncated")
            }
            let start = position
            position += Int(length)
            return (number, .bytes(data[start..<position]))
        case 5: return (number, .fixed32(UInt32(try fixed(4))))
        default: throw failure("the wire type \(key & 7) is not in use")
        }
    }

    private func failure(_ reason: String) -> Malformed { Malformed(position: position, reason: reason) }

    private mutating func varint() throws -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            guard position < data.endIndex else { throw failure("a number is cut off") }
            let byte = data[position]
            position += 1
            guard shift < 63 || byte <= 1 else { break }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
        }
        throw failure("a number has more than 64 bits")
    }

    private mutating func fixed(_ count: Int) throws -> UInt64 {
        guard data.endIndex - position >= count else { throw failure("a number is cut off") }
        var value: UInt64 = 0
        for index in 0..<count { value |= UInt64(data[position + index]) << UInt64(8 * index) }
        position += count
        return value
    }
}
