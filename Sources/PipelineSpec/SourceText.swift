import Foundation

/// The text of a file as Unicode scalars, with the starts of its lines: what a mark points into.
struct SourceText: Sendable {
    let string: String
    let scalars: [Unicode.Scalar]
    private let lineStarts: [Int]

    /// Decodes `data`, which must be UTF-8 text without control characters.
    init(_ data: Data, maxBytes: Int) throws {
        if data.count > maxBytes {
            throw InvalidFile([.tooLarge(bytes: data.count, limit: maxBytes)])
        }
        var bytes = data[...]
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes = bytes.dropFirst(3) }
        if bytes.starts(with: [0xFE, 0xFF]) || bytes.starts(with: [0xFF, 0xFE]) {
            throw InvalidFile([
                Finding(
                    .notUTF8, at: SourceMark(line: 1, column: 1), "the file is UTF-16 text",
                    hint: "save it as UTF-8")
            ])
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw Self.undecodable(bytes) }
        self.init(text)
        if let bad = scalars.firstIndex(where: { Self.isForbidden($0) }) {
            let isBinary = scalars[bad] == "\0"
            let name = PrintableText.line(String(scalars[bad]), limit: 12)
            throw InvalidFile([
                Finding(
                    isBinary ? .binary : .controlCharacter, at: mark(at: bad),
                    isBinary ? "the file is binary, not text" : "the file holds the control character \(name)")
            ])
        }
        if scalars.allSatisfy({ $0.properties.isWhitespace }) {
            throw InvalidFile([Finding(.empty, "the file is empty")])
        }
    }

    /// Text that is already decoded; nothing is checked.
    init(_ string: String) {
        self.string = string
        scalars = Array(string.unicodeScalars)
        var starts = [0]
        for (offset, scalar) in scalars.enumerated() {
            let isLoneReturn = scalar == "\r" && (offset + 1 == scalars.count || scalars[offset + 1] != "\n")
            if scalar == "\n" || isLoneReturn { starts.append(offset + 1) }
        }
        lineStarts = starts
    }

    var lineCount: Int { lineStarts.count }

    /// The offset behind the last scalar that is not white space.
    var contentEnd: Int { (scalars.lastIndex { !$0.properties.isWhitespace } ?? -1) + 1 }

    /// Where the scalar at `offset` stands.
    func mark(at offset: Int) -> SourceMark {
        var low = 0
        var high = lineStarts.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if lineStarts[middle] <= offset { low = middle } else { high = middle }
        }
        return SourceMark(line: low + 1, column: offset - lineStarts[low] + 1)
    }

    /// The offset of `mark`, cut to the text.
    func offset(of mark: SourceMark) -> Int {
        guard mark.line >= 1 else { return 0 }
        guard mark.line <= lineStarts.count else { return scalars.count }
        return min(lineStarts[mark.line - 1] + max(mark.column - 1, 0), scalars.count)
    }

    /// The scalar at `mark`; `nil` at the end of the text.
    func scalar(at mark: SourceMark) -> Unicode.Scalar? {
        let offset = offset(of: mark)
        return offset < scalars.count ? scalars[offset] : nil
    }

    /// The scalars of a line, counted from 1, without its end.
    func line(_ number: Int) -> ArraySlice<Unicode.Scalar> {
        guard number >= 1, number <= lineStarts.count else { return [] }
        let end = number < lineStarts.count ? lineStarts[number] : scalars.count
        var line = scalars[lineStarts[number - 1]..<end]
        while let last = line.last, last == "\n" || last == "\r" { line.removeLast() }
        return line
    }

    /// Whether a scalar has no business in a file a person edits.
    static func isForbidden(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "\n", "\r", "\t": false
        case "\u{200B}"..."\u{200F}", "\u{2060}"..."\u{2064}": false  // joiners, part of some scripts
        default: PrintableText.isUnsafe(scalar)
        }
    }

    /// Whether an anchor or alias may begin behind `scalar`.
    static func mayPrecedeToken(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case " ", "\t", "\n", "\r", "[", "{", ",", ":", "?", "-", "\"", "'": true
        default: false
        }
    }

    /// Whether `scalar` may stand in the name of an anchor, by libyaml.
    static func isAnchorCharacter(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "A"..."Z", "0"..."9", "_", "-": true
        default: false
        }
    }

    private static func undecodable(_ bytes: Data) -> InvalidFile {
        if bytes.contains(0) {
            return InvalidFile([Finding(.binary, at: SourceMark(line: 1, column: 1), "the file is binary, not text")])
        }
        // The longest valid prefix ends where the first bad byte stands.
        var low = 0
        var high = bytes.count
        while high - low > 1 {
            let middle = (low + high) / 2
            let valid = isValidPrefix(bytes.prefix(middle))
            if valid { low = middle } else { high = middle }
        }
        let mark = SourceText(String(decoding: bytes.prefix(low), as: UTF8.self))
        let place = mark.mark(at: mark.scalars.count)
        return InvalidFile([Finding(.notUTF8, at: place, "the file is not UTF-8 text", hint: "save it as UTF-8")])
    }

    /// Whether `bytes` are UTF-8, but for a character cut off at the end.
    private static func isValidPrefix(_ bytes: Data) -> Bool {
        for cut in 0...min(3, bytes.count) where String(validating: bytes.dropLast(cut), as: UTF8.self) != nil {
            let tail = bytes.suffix(cut)
            guard let lead = tail.first else { return true }
            let length = lead > 0xF4 ? 0 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0
            return length > cut && tail.dropFirst().allSatisfy { $0 & 0xC0 == 0x80 }
        }
        return false
    }
}
