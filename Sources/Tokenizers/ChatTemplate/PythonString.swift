/// A string as Python has it: a sequence of Unicode scalars, equal only when every scalar is.
///
/// Swift's own equality would call a composed and a decomposed letter the same.
struct PythonString: Hashable {
    let text: String

    init(_ text: String) { self.text = text }

    init(_ scalars: some Sequence<Unicode.Scalar>) {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        text = String(view)
    }

    static func == (left: PythonString, right: PythonString) -> Bool {
        left.text.utf8.count == right.text.utf8.count && left.text.utf8.elementsEqual(right.text.utf8)
    }

    func hash(into hasher: inout Hasher) {
        var copy = text
        copy.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }

    var isEmpty: Bool { text.isEmpty }
    /// The length in bytes, which is what work is charged by.
    var size: Int { text.utf8.count }
    var count: Int { text.unicodeScalars.count }
    var scalars: [Unicode.Scalar] { Array(text.unicodeScalars) }

    static func + (left: PythonString, right: PythonString) -> PythonString {
        PythonString(left.text + right.text)
    }

    /// Python compares code points; UTF-8 sorts alike.
    func precedes(_ other: PythonString) -> Bool { text.utf8.lexicographicallyPrecedes(other.text.utf8) }

    // MARK: Searching

    /// Calls `visit` with the byte offset of each occurrence of `part`, from the left, without overlap.
    private func visitOccurrences(of part: PythonString, limit: Int, _ visit: (Int) -> Void) {
        var (bytes, needle) = (text, part.text)
        bytes.withUTF8 { bytes in
            needle.withUTF8 { needle in
                guard let first = needle.first, needle.count <= bytes.count else { return }
                var place = 0
                var found = 0
                while place + needle.count <= bytes.count, found < limit {
                    if bytes[place] == first, (1..<needle.count).allSatisfy({ bytes[place + $0] == needle[$0] }) {
                        visit(place)
                        found += 1
                        place += needle.count
                    } else {
                        place += 1
                    }
                }
            }
        }
    }

    /// The byte offsets of the occurrences of `part`, from the left, without overlap.
    func occurrences(of part: PythonString, limit: Int = .max) -> [Int] {
        var places: [Int] = []
        visitOccurrences(of: part, limit: limit) { places.append($0) }
        return places
    }

    func occurrenceCount(of part: PythonString, limit: Int = .max) -> Int {
        var count = 0
        visitOccurrences(of: part, limit: limit) { _ in count += 1 }
        return count
    }

    func contains(_ part: PythonString) -> Bool { part.isEmpty || !occurrences(of: part, limit: 1).isEmpty }
    func hasPrefix(_ part: PythonString) -> Bool { text.utf8.starts(with: part.text.utf8) }
    func hasSuffix(_ part: PythonString) -> Bool { text.utf8.reversed().starts(with: part.text.utf8.reversed()) }

    private func piece(_ range: Range<Int>) -> PythonString {
        let utf8 = text.utf8
        let start = utf8.index(utf8.startIndex, offsetBy: range.lowerBound)
        let end = utf8.index(utf8.startIndex, offsetBy: range.upperBound)
        return PythonString(String(text[start..<end]))
    }

    func dropFirst(bytes: Int) -> PythonString { piece(bytes..<size) }
    func dropLast(bytes: Int) -> PythonString { piece(0..<size - bytes) }

    /// The index in scalars of a byte offset.
    func scalarIndex(ofByte offset: Int) -> Int {
        text.utf8.prefix(offset).reduce(into: 0) { if $1 & 0xC0 != 0x80 { $0 += 1 } }
    }

    func replacing(_ old: PythonString, with new: PythonString, limit: Int) -> PythonString {
        if old.isEmpty {
            var result = ""
            var done = 0
            for scalar in text.unicodeScalars {
                if done < limit {
                    result += new.text
                    done += 1
                }
                result.unicodeScalars.append(scalar)
            }
            return PythonString(done < limit ? result + new.text : result)
        }
        let bytes = Array(text.utf8)
        var result: [UInt8] = []
        var start = 0
        visitOccurrences(of: old, limit: limit) { place in
            result.append(contentsOf: bytes[start..<place])
            result.append(contentsOf: new.text.utf8)
            start = place + old.size
        }
        result.append(contentsOf: bytes[start...])
        return PythonString(String(decoding: result, as: UTF8.self))
    }

    private func cut(at places: [Int], length: Int) -> [PythonString] {
        guard !places.isEmpty else { return [self] }
        let bytes = Array(text.utf8)
        var pieces: [PythonString] = []
        var start = 0
        for place in places {
            pieces.append(PythonString(String(decoding: bytes[start..<place], as: UTF8.self)))
            start = place + length
        }
        pieces.append(PythonString(String(decoding: bytes[start...], as: UTF8.self)))
        return pieces
    }

    static func joined(_ pieces: [PythonString], by separator: PythonString) -> PythonString {
        var result = ""
        for (index, piece) in pieces.enumerated() {
            if index > 0 { result += separator.text }
            result += piece.text
        }
        return PythonString(result)
    }

    // MARK: Splitting and stripping

    func split(by separator: PythonString, limit: Int) -> [PythonString] {
        cut(at: occurrences(of: separator, limit: limit), length: separator.size)
    }

    func splitFromRight(by separator: PythonString, limit: Int) -> [PythonString] {
        let reversed = PythonString(text.unicodeScalars.reversed())
        let pieces = reversed.split(by: PythonString(separator.text.unicodeScalars.reversed()), limit: limit)
        return pieces.reversed().map { PythonString($0.text.unicodeScalars.reversed()) }
    }

    /// Splits at runs of white space, which also fall away at the ends.
    func splitAtSpace(limit: Int) -> [PythonString] {
        let scalars = self.scalars
        var pieces: [PythonString] = []
        var place = 0
        while true {
            while place < scalars.count, PythonScalars.isSpace(scalars[place]) { place += 1 }
            guard place < scalars.count else { return pieces }
            if pieces.count == limit {
                pieces.append(PythonString(scalars[place...]))
                return pieces
            }
            let start = place
            while place < scalars.count, !PythonScalars.isSpace(scalars[place]) { place += 1 }
            pieces.append(PythonString(scalars[start..<place]))
        }
    }

    func splitAtSpaceFromRight(limit: Int) -> [PythonString] {
        PythonString(text.unicodeScalars.reversed()).splitAtSpace(limit: limit).reversed()
            .map { PythonString($0.text.unicodeScalars.reversed()) }
    }

    func lines(keepingEnds: Bool) -> [PythonString] {
        let scalars = self.scalars
        var lines: [PythonString] = []
        var start = 0
        var place = 0
        while place < scalars.count {
            guard PythonScalars.isLineEnd(scalars[place]) else {
                place += 1
                continue
            }
            var next = place + 1
            if scalars[place] == "\r", next < scalars.count, scalars[next] == "\n" { next += 1 }
            lines.append(PythonString(scalars[start..<(keepingEnds ? next : place)]))
            start = next
            place = next
        }
        if start < scalars.count { lines.append(PythonString(scalars[start...])) }
        return lines
    }

    func stripped(left: Bool = true, right: Bool = true, of set: PythonString? = nil) -> PythonString {
        let members = set.map { Set($0.text.unicodeScalars) }
        func falls(_ scalar: Unicode.Scalar) -> Bool {
            members.map { $0.contains(scalar) } ?? PythonScalars.isSpace(scalar)
        }
        var view = text.unicodeScalars[...]
        if left { view = view.drop(while: falls) }
        if right { while let last = view.last, falls(last) { view.removeLast() } }
        return view.count == text.unicodeScalars.count ? self : PythonString(String(view))
    }

    // MARK: Case

    var uppercased: PythonString {
        var result = ""
        for scalar in text.unicodeScalars { result.unicodeScalars.append(contentsOf: scalar.upper) }
        return PythonString(result)
    }

    var lowercased: PythonString { PythonString(Self.lower(scalars)) }

    /// Lower case with the final form of the Greek sigma, as Python and Unicode have it.
    private static func lower(_ scalars: [Unicode.Scalar]) -> String.UnicodeScalarView {
        var result = String.UnicodeScalarView()
        for (index, scalar) in scalars.enumerated() {
            guard scalar == "\u{3A3}" else {
                result.append(contentsOf: scalar.properties.lowercaseMapping.unicodeScalars)
                continue
            }
            let before = scalars[..<index].last { !$0.properties.isCaseIgnorable }
            let after = scalars[(index + 1)...].first { !$0.properties.isCaseIgnorable }
            let isFinal = before?.properties.isCased == true && after?.properties.isCased != true
            result.append(isFinal ? "\u{3C2}" : "\u{3C3}")
        }
        return result
    }

    var capitalized: PythonString {
        let scalars = self.scalars
        guard let first = scalars.first else { return self }
        var result = String.UnicodeScalarView()
        result.append(contentsOf: first.properties.titlecaseMapping.unicodeScalars)
        result.append(contentsOf: Self.lower(scalars).dropFirst(first.properties.lowercaseMapping.unicodeScalars.count))
        return PythonString(String(result))
    }

    /// `str.title`: a capital after everything that has no case.
    var titlecased: PythonString {
        let scalars = self.scalars
        let lower = scalars.contains("\u{3A3}") ? nil : scalars
        var result = String.UnicodeScalarView()
        var isInWord = false
        for scalar in lower ?? scalars {
            let mapping = isInWord ? scalar.properties.lowercaseMapping : scalar.properties.titlecaseMapping
            result.append(contentsOf: mapping.unicodeScalars)
            isInWord = scalar.properties.isCased
        }
        return PythonString(String(result))
    }

    /// Whether there is a cased character, and every one satisfies `test`.
    func isCased(_ test: (Unicode.Scalar.Properties) -> Bool) -> Bool {
        var found = false
        for scalar in text.unicodeScalars where scalar.properties.isCased {
            guard test(scalar.properties) else { return false }
            found = true
        }
        return found
    }

    // MARK: Printing

    /// What `repr` prints: quoted, with escapes.
    var quoted: String {
        let quote: Unicode.Scalar = text.utf8.contains(39) && !text.utf8.contains(34) ? "\"" : "'"
        var result = String.UnicodeScalarView()
        result.append(quote)
        for scalar in text.unicodeScalars {
            switch scalar {
            case quote, "\\":
                result.append("\\")
                result.append(scalar)
            case "\n": result.append(contentsOf: "\\n".unicodeScalars)
            case "\r": result.append(contentsOf: "\\r".unicodeScalars)
            case "\t": result.append(contentsOf: "\\t".unicodeScalars)
            default:
                guard !PythonScalars.isPrintable(scalar) else {
                    result.append(scalar)
                    continue
                }
                let (mark, digits) = scalar.value < 0x100 ? ("x", 2) : scalar.value < 0x10000 ? ("u", 4) : ("U", 8)
                let hex = String(scalar.value, radix: 16)
                let padding = String(repeating: "0", count: digits - hex.utf8.count)
                result.append(contentsOf: "\\\(mark)\(padding)\(hex)".unicodeScalars)
            }
        }
        result.append(quote)
        return String(result)
    }

    /// With the five characters of HTML escaped, as markupsafe does it.
    var htmlEscaped: PythonString {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result.append(contentsOf: "&amp;".unicodeScalars)
            case "<": result.append(contentsOf: "&lt;".unicodeScalars)
            case ">": result.append(contentsOf: "&gt;".unicodeScalars)
            case "'": result.append(contentsOf: "&#39;".unicodeScalars)
            case "\"": result.append(contentsOf: "&#34;".unicodeScalars)
            default: result.append(scalar)
            }
        }
        return PythonString(String(result))
    }
}

extension Unicode.Scalar {
    /// The upper-case form, which may be several scalars.
    fileprivate var upper: String.UnicodeScalarView { properties.uppercaseMapping.unicodeScalars }
}

/// The classes of characters that Python's string methods ask for.
enum PythonScalars {
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000:
            true
        default: false
        }
    }

    static func isLineEnd(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029: true
        default: false
        }
    }

    static func isASCIIDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }

    static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
        case .spaceSeparator: scalar == " "
        default: true
        }
    }

    static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
        default: false
        }
    }

    static func isDecimal(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.numericType == .decimal }

    static func isDigit(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.numericType == .decimal || scalar.properties.numericType == .digit
    }

    static func isNumeric(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.numericType != nil }
    static func isAlphanumeric(_ scalar: Unicode.Scalar) -> Bool { isLetter(scalar) || isNumeric(scalar) }
}
