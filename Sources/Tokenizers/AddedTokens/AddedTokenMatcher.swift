/// Finds added tokens in text: leftmost first, the longest of those that start at one place.
struct AddedTokenMatcher: Sendable {
    /// A stretch of text, or the token found there.
    struct Span {
        let range: Range<Int>
        /// The id of the added token, or `nil` for text.
        let id: Int32?
    }

    private let tokens: [AddedToken]
    /// (node, byte) -> child node; nodes count from 0, the root.
    private let children: PackedTable
    /// For each node, the index of the token that ends there, or -1.
    private let tokenAt: [Int32]
    private let canStart: [Bool]
    private let classes = ScalarClasses.shared

    /// A matcher for `tokens`, looked for as the texts in `patterns` (parallel).
    init(_ tokens: [AddedToken], patterns: [[UInt8]]) {
        self.tokens = tokens
        var table: [UInt64: UInt64] = [:]
        var tokenAt: [Int32] = [-1]
        var canStart = [Bool](repeating: false, count: 256)
        for (index, pattern) in patterns.enumerated() {
            guard let first = pattern.first else { continue }
            canStart[Int(first)] = true
            var node = 0
            for byte in pattern {
                let key = Self.key(node, byte)
                if let child = table[key] {
                    node = Int(child)
                } else {
                    table[key] = UInt64(tokenAt.count)
                    node = tokenAt.count
                    tokenAt.append(-1)
                }
            }
            tokenAt[node] = Int32(index)
        }
        children = PackedTable(table.map { (key: $0.key, value: $0.value) })
        self.tokenAt = tokenAt
        self.canStart = canStart
    }

    /// Whether there is nothing to find.
    var isEmpty: Bool { tokens.isEmpty }

    @inline(__always)
    private static func key(_ node: Int, _ byte: UInt8) -> UInt64 { UInt64(node) << 8 | UInt64(byte) }

    /// Reports the text and the tokens in order; together they cover the whole text, and no text is empty.
    func forEachSpan(in utf8: UnsafeBufferPointer<UInt8>, _ body: (Span) -> Void) {
        guard !utf8.isEmpty else { return }
        guard !isEmpty else { return body(Span(range: 0..<utf8.count, id: nil)) }
        var textStart = 0
        var position = 0
        canStart.withUnsafeBufferPointer { canStart in
            while position < utf8.count {
                guard canStart[Int(utf8[position])], let match = longestMatch(in: utf8, at: position) else {
                    position += 1
                    continue
                }
                let token = tokens[match.index]
                var range = position..<match.end
                position = match.end
                if token.isSingleWord, touchesWord(range, in: utf8) { continue }
                if token.stripsLeft {
                    range = max(leftSpace(before: range.lowerBound, in: utf8), textStart)..<range.upperBound
                }
                if token.stripsRight { range = range.lowerBound..<rightSpace(after: range.upperBound, in: utf8) }
                // The stripped space of the token before may hold the start of this one.
                if range.lowerBound < textStart { continue }
                if textStart < range.lowerBound { body(Span(range: textStart..<range.lowerBound, id: nil)) }
                body(Span(range: range, id: token.id))
                textStart = range.upperBound
            }
        }
        if textStart < utf8.count { body(Span(range: textStart..<utf8.count, id: nil)) }
    }

    private func longestMatch(in utf8: UnsafeBufferPointer<UInt8>, at start: Int) -> (index: Int, end: Int)? {
        var node = 0
        var position = start
        var best: (index: Int, end: Int)?
        while position < utf8.count {
            let child = children[Self.key(node, utf8[position])]
            if child == PackedTable.missing { break }
            node = Int(child)
            position += 1
            if tokenAt[node] >= 0 { best = (Int(tokenAt[node]), position) }
        }
        return best
    }

    private func touchesWord(_ range: Range<Int>, in utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        if range.lowerBound > 0 {
            if UTF8Reading.unicodeScalar(before: range.lowerBound, in: utf8).0.isWordCharacter { return true }
        }
        guard range.upperBound < utf8.count else { return false }
        return UTF8Reading.unicodeScalar(at: range.upperBound, in: utf8).0.isWordCharacter
    }

    private func leftSpace(before end: Int, in utf8: UnsafeBufferPointer<UInt8>) -> Int {
        var start = end
        while start > 0 {
            let (scalar, length) = UTF8Reading.unicodeScalar(before: start, in: utf8)
            guard classes.isSpace(scalar) else { break }
            start -= length
        }
        return start
    }

    private func rightSpace(after start: Int, in utf8: UnsafeBufferPointer<UInt8>) -> Int {
        var end = start
        while end < utf8.count {
            let (scalar, length) = UTF8Reading.unicodeScalar(at: end, in: utf8)
            guard classes.isSpace(scalar) else { break }
            end += length
        }
        return end
    }
}
