/// Hand-written equivalents of the splitting patterns that most models use, chosen by the exact text of the pattern.
///
/// Each pattern matches every character of any text, so a scanner only has to say where the next match ends.
enum PatternScanner: Sendable, Equatable {
    /// The pattern of GPT-2, which the ByteLevel pre-tokenizer applies by default.
    case gpt2
    /// The pattern of cl100k, LLaMA 3 and Qwen, which differ in how many digits may stay together.
    case wordsAndDigits(maximumDigits: Int)

    private static let gpt2Pattern = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    /// The pattern of CLIP, the only one here that passes over some characters: white space.
    static let clipPattern = #"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"#

    private static func wordsAndDigitsPattern(_ digits: String) -> String {
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\#(digits)| ?[^\s\p{L}\p{N}]+[\r\n]*"#
            + #"|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    /// The scanner for a pattern, or `nil` when the pattern is none of the well-known ones.
    init?(pattern: String) {
        switch pattern {
        case Self.gpt2Pattern: self = .gpt2
        case Self.wordsAndDigitsPattern(#"\p{N}"#): self = .wordsAndDigits(maximumDigits: 1)
        case Self.wordsAndDigitsPattern(#"\p{N}{1,3}"#): self = .wordsAndDigits(maximumDigits: 3)
        case Self.wordsAndDigitsPattern(#"\p{N}+"#): self = .wordsAndDigits(maximumDigits: .max)
        default: return nil
        }
    }

    /// Where the match that starts at `start` ends; `start` must be below the count.
    @inline(__always)
    func end(of utf8: UnsafeBufferPointer<UInt8>, from start: Int, _ classes: ScalarClasses) -> Int {
        switch self {
        case .gpt2: Self.gpt2End(utf8, start, classes)
        case .wordsAndDigits(let maximum): Self.wordsAndDigitsEnd(utf8, start, maximum, classes)
        }
    }

    private static func gpt2End(
        _ utf8: UnsafeBufferPointer<UInt8>, _ start: Int, _ classes: ScalarClasses
    ) -> Int {
        let first = utf8[start]
        if first == UInt8(ascii: "'") {
            let length = contractionLength(utf8, start, ignoringCase: false)
            if length > 0 { return start + length }
        }
        let word = first == UInt8(ascii: " ") && start + 1 < utf8.count ? start + 1 : start
        let (kind, length) = classes.at(word, in: utf8)
        if kind != ScalarClasses.space { return runEnd(utf8, word + length, kind, classes) }
        return spaceEnd(utf8, start, splitsAfterNewlines: false, classes)
    }

    private static func wordsAndDigitsEnd(
        _ utf8: UnsafeBufferPointer<UInt8>, _ start: Int, _ maximumDigits: Int, _ classes: ScalarClasses
    ) -> Int {
        let first = utf8[start]
        if first == UInt8(ascii: "'") {
            let length = contractionLength(utf8, start, ignoringCase: true)
            if length > 0 { return start + length }
        }
        let (kind, length) = classes.at(start, in: utf8)
        let next = start + length
        if kind == ScalarClasses.letter { return runEnd(utf8, next, kind, classes) }
        if kind == ScalarClasses.number {
            var end = next
            var digits = 1
            while digits < maximumDigits, end < utf8.count {
                let (kind, length) = classes.at(end, in: utf8)
                guard kind == ScalarClasses.number else { break }
                end += length
                digits += 1
            }
            return end
        }
        var symbol = kind == 0 ? start : utf8.count
        if next < utf8.count {
            let (following, followingLength) = classes.at(next, in: utf8)
            if following == ScalarClasses.letter, !isNewline(first) {
                return runEnd(utf8, next + followingLength, following, classes)
            }
            if first == UInt8(ascii: " "), following == 0 { symbol = next }
        }
        if symbol < utf8.count {
            var end = runEnd(utf8, symbol, 0, classes)
            while end < utf8.count, isNewline(utf8[end]) { end += 1 }
            return end
        }
        return spaceEnd(utf8, start, splitsAfterNewlines: true, classes)
    }

    @inline(__always)
    private static func isNewline(_ byte: UInt8) -> Bool { byte == 0x0A || byte == 0x0D }

    /// The end of the run of scalars of class `kind` that goes on at `index`.
    @inline(__always)
    private static func runEnd(
        _ utf8: UnsafeBufferPointer<UInt8>, _ index: Int, _ kind: UInt8, _ classes: ScalarClasses
    ) -> Int {
        var end = index
        while end < utf8.count {
            let (next, length) = classes.at(end, in: utf8)
            if next != kind { break }
            end += length
        }
        return end
    }

    /// `\s*[\r\n]+` (if asked for), then `\s+(?!\S)`, then `\s+`: a run of spaces before a word leaves its last scalar
    /// to the word.
    private static func spaceEnd(
        _ utf8: UnsafeBufferPointer<UInt8>, _ start: Int, splitsAfterNewlines: Bool, _ classes: ScalarClasses
    ) -> Int {
        var end = start
        var last = start
        var afterNewline = start
        while end < utf8.count {
            let (kind, length) = classes.at(end, in: utf8)
            if kind != ScalarClasses.space { break }
            last = end
            end += length
            if isNewline(utf8[last]) { afterNewline = end }
        }
        if splitsAfterNewlines, afterNewline > start { return afterNewline }
        return end == utf8.count || last == start ? end : last
    }

    /// The next match of ``clipPattern`` at or after `start`, or `nil`.
    static func clipMatch(
        _ utf8: UnsafeBufferPointer<UInt8>, from start: Int, _ classes: ScalarClasses
    ) -> Range<Int>? {
        var start = start
        while start < utf8.count {
            if utf8[start] == UInt8(ascii: "'") {
                let length = contractionLength(utf8, start, ignoringCase: false)
                if length > 0 { return start..<start + length }
            }
            let (kind, length) = classes.at(start, in: utf8)
            switch kind {
            case ScalarClasses.space: start += length
            case ScalarClasses.number: return start..<start + length
            default: return start..<runEnd(utf8, start + length, kind, classes)
            }
        }
        return nil
    }

    /// The length of one of `'s 't 're 've 'm 'll 'd` at `start`, or 0.
    private static func contractionLength(
        _ utf8: UnsafeBufferPointer<UInt8>, _ start: Int, ignoringCase: Bool
    ) -> Int {
        guard start + 1 < utf8.count else { return 0 }
        let fold: UInt8 = ignoringCase ? 0x20 : 0
        let first = utf8[start + 1] | fold
        switch first {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return 2
        case 0xC5 | fold:
            // U+017F, the long s, is another case of "s".
            let isLongS = utf8[start + 1] == 0xC5 && start + 2 < utf8.count && utf8[start + 2] == 0xBF
            return ignoringCase && isLongS ? 3 : 0
        default: break
        }
        guard start + 2 < utf8.count else { return 0 }
        let second = utf8[start + 2] | fold
        switch (first, second) {
        case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
            (UInt8(ascii: "l"), UInt8(ascii: "l")):
            return 3
        default: return 0
        }
    }
}
