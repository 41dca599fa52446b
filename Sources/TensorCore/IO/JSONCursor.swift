/// A strict reader of JSON text (RFC 8259), front to back, for the headers and indices of weight files.
///
/// Foundation's decoders keep one of two equal keys in silence and round large integers; a file whose header says
/// two things about one tensor must not be read at all.
struct JSONCursor {
    /// What is not JSON, or not the JSON that was asked for.
    struct Failure: Error {
        /// Bytes from the start of the text.
        let offset: Int
        let message: String
    }

    private let text: UnsafeRawBufferPointer
    private var offset = 0

    /// `text` must stay valid while the cursor is used.
    init(_ text: UnsafeRawBufferPointer) { self.text = text }

    /// Reads an object, calling `member` with each key, the cursor then standing at its value.
    ///
    /// - Throws: ``Failure`` for a key that comes twice, besides syntax errors and what `member` throws.
    mutating func readObject(member: (inout JSONCursor, String) throws -> Void) throws {
        try expect(UInt8(ascii: "{"), "an object")
        var keys = Set<String>()
        guard !take(UInt8(ascii: "}")) else { return }
        repeat {
            skipSpace()
            let start = offset
            let key = try readString()
            guard keys.insert(key).inserted else {
                throw Failure(offset: start, message: "the key \"\(key)\" comes twice")
            }
            try expect(UInt8(ascii: ":"), "':'")
            try member(&self, key)
        } while take(UInt8(ascii: ","))
        try expect(UInt8(ascii: "}"), "',' or '}'")
    }

    /// Reads an array, calling `element` at each of its values.
    mutating func readArray(element: (inout JSONCursor) throws -> Void) throws {
        try expect(UInt8(ascii: "["), "an array")
        guard !take(UInt8(ascii: "]")) else { return }
        repeat { try element(&self) } while take(UInt8(ascii: ","))
        try expect(UInt8(ascii: "]"), "',' or ']'")
    }

    /// Reads an integer of digits only, as sizes and offsets are written.
    mutating func readSize() throws -> Int {
        skipSpace()
        let start = offset
        var value = 0
        while let digit = peek(), isDigit(digit) {
            let scaled = value.multipliedReportingOverflow(by: 10)
            let next = scaled.partialValue.addingReportingOverflow(Int(digit - UInt8(ascii: "0")))
            guard !scaled.overflow, !next.overflow else {
                throw Failure(offset: start, message: "the number is too large")
            }
            value = next.partialValue
            offset += 1
        }
        let hasLeadingZero = offset - start > 1 && text[start] == UInt8(ascii: "0")
        let goesOn = peek().map { ".eE+-".utf8.contains($0) } ?? false
        guard offset > start, !hasLeadingZero, !goesOn else {
            throw Failure(offset: start, message: "expected a whole number, not negative")
        }
        return value
    }

    mutating func readString() throws -> String {
        try expect(UInt8(ascii: "\""), "a string")
        let start = offset
        // Nearly every string is plain; one with an escape is put together in `unescaped`.
        var unescaped: [UInt8]?
        while let byte = peek() {
            switch byte {
            case UInt8(ascii: "\""):
                let content: String?
                if let unescaped {
                    content = String(validating: unescaped, as: UTF8.self)
                } else {
                    content = String(validating: text[start..<offset], as: UTF8.self)
                }
                guard let content else { throw Failure(offset: start, message: "the string is not valid UTF-8") }
                offset += 1
                return content
            case UInt8(ascii: "\\"):
                var bytes = unescaped ?? Array(text[start..<offset])
                try readEscape(into: &bytes)
                unescaped = bytes
            case 0..<0x20:
                throw Failure(offset: offset, message: "a control character inside a string")
            default:
                unescaped?.append(byte)
                offset += 1
            }
        }
        throw Failure(offset: offset, message: "the text ends inside a string")
    }

    /// Passes over one value of any kind, checking its syntax.
    mutating func skipValue(depth: Int = 0) throws {
        // A text of a million '[' must not use up the stack.
        guard depth < 64 else { throw Failure(offset: offset, message: "nested more than 64 deep") }
        skipSpace()
        switch peek() {
        case UInt8(ascii: "{"): try readObject { cursor, _ in try cursor.skipValue(depth: depth + 1) }
        case UInt8(ascii: "["): try readArray { cursor in try cursor.skipValue(depth: depth + 1) }
        case UInt8(ascii: "\""): _ = try readString()
        case UInt8(ascii: "t"): try skipWord("true")
        case UInt8(ascii: "f"): try skipWord("false")
        case UInt8(ascii: "n"): try skipWord("null")
        default: try skipNumber()
        }
    }

    /// Reads one value of any kind.
    mutating func readValue(depth: Int = 0) throws -> JSONValue {
        guard depth < 64 else { throw Failure(offset: offset, message: "nested more than 64 deep") }
        skipSpace()
        let start = offset
        switch peek() {
        case UInt8(ascii: "{"):
            var members: [JSONValue.Member] = []
            try readObject { cursor, key in
                members.append(JSONValue.Member(key, try cursor.readValue(depth: depth + 1)))
            }
            return .object(members)
        case UInt8(ascii: "["):
            var elements: [JSONValue] = []
            try readArray { cursor in elements.append(try cursor.readValue(depth: depth + 1)) }
            return .array(elements)
        case UInt8(ascii: "\""):
            return .string(try readString())
        case UInt8(ascii: "t"), UInt8(ascii: "f"), UInt8(ascii: "n"):
            try skipValue()
            return text[start] == UInt8(ascii: "n") ? .null : .bool(text[start] == UInt8(ascii: "t"))
        default:
            try skipNumber()
            return .number(String(decoding: text[start..<offset], as: UTF8.self))
        }
    }

    /// Checks that only white space is left.
    mutating func readEnd() throws {
        skipSpace()
        guard offset == text.count else { throw Failure(offset: offset, message: "something follows the JSON value") }
    }

    private func peek() -> UInt8? { offset < text.count ? text[offset] : nil }

    private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private mutating func skipSpace() {
        while let byte = peek(), byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { offset += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        skipSpace()
        guard peek() == byte else { return false }
        offset += 1
        return true
    }

    private mutating func expect(_ byte: UInt8, _ what: String) throws {
        guard take(byte) else { throw Failure(offset: offset, message: "expected \(what)") }
    }

    private mutating func skipWord(_ word: StaticString) throws {
        let start = offset
        for index in 0..<word.utf8CodeUnitCount {
            guard peek() == word.utf8Start[index] else { throw Failure(offset: start, message: "expected a value") }
            offset += 1
        }
    }

    private mutating func skipNumber() throws {
        let start = offset
        func digits(_ cursor: inout JSONCursor) throws {
            let first = cursor.offset
            while let byte = cursor.peek(), cursor.isDigit(byte) { cursor.offset += 1 }
            guard cursor.offset > first else { throw Failure(offset: start, message: "expected a value") }
        }
        if peek() == UInt8(ascii: "-") { offset += 1 }
        let whole = offset
        try digits(&self)
        guard offset - whole == 1 || text[whole] != UInt8(ascii: "0") else {
            throw Failure(offset: start, message: "a number may not begin with 0")
        }
        if peek() == UInt8(ascii: ".") {
            offset += 1
            try digits(&self)
        }
        if let byte = peek(), byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E") {
            offset += 1
            if let sign = peek(), sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { offset += 1 }
            try digits(&self)
        }
    }

    private mutating func readEscape(into bytes: inout [UInt8]) throws {
        let start = offset
        offset += 1
        guard let kind = peek() else { throw Failure(offset: offset, message: "the text ends inside a string") }
        offset += 1
        switch kind {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): bytes.append(kind)
        case UInt8(ascii: "b"): bytes.append(0x08)
        case UInt8(ascii: "f"): bytes.append(0x0c)
        case UInt8(ascii: "n"): bytes.append(0x0a)
        case UInt8(ascii: "r"): bytes.append(0x0d)
        case UInt8(ascii: "t"): bytes.append(0x09)
        case UInt8(ascii: "u"):
            var units = [try readHexadecimal()]
            if UTF16.isLeadSurrogate(units[0]), peek() == UInt8(ascii: "\\") {
                offset += 1
                guard peek() == UInt8(ascii: "u") else {
                    throw Failure(offset: start, message: "half of a surrogate pair")
                }
                offset += 1
                units.append(try readHexadecimal())
            }
            guard let string = String(validating: units, as: UTF16.self) else {
                throw Failure(offset: start, message: "half of a surrogate pair")
            }
            bytes.append(contentsOf: string.utf8)
        default:
            throw Failure(offset: start, message: "an unknown escape")
        }
    }

    private mutating func readHexadecimal() throws -> UInt16 {
        var value: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = peek(), let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
                throw Failure(offset: offset, message: "expected four hexadecimal digits")
            }
            value = value << 4 | UInt16(digit)
            offset += 1
        }
        return value
    }
}
