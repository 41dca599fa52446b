package import Foundation

extension ByteLevelBPETrainer {
    /// Adds a file of UTF-8 text, read block by block: memory grows with the number of different words, not with the
    /// length of the file.
    ///
    /// The words are those of the whole text at once, wherever the blocks end.
    ///
    /// - Throws: ``TokenizerError`` when the file cannot be read or is not UTF-8; what was added before stays added.
    package mutating func add(file: URL, blockSize: Int = 1 << 20) throws {
        var text = PendingText()
        do {
            let handle = try FileHandle(forReadingFrom: file)
            defer { try? handle.close() }
            while let block = try handle.read(upToCount: blockSize), !block.isEmpty {
                text.append(block)
                try add(&text, upTo: text.lastCertainBorder(), of: file)
            }
        } catch let error as TokenizerError {
            throw error
        } catch {
            throw TokenizerError(.unreadable, file: file.path, "cannot be read: \(error.localizedDescription)")
        }
        try add(&text, upTo: text.bytes.count, of: file)
    }

    private mutating func add(_ text: inout PendingText, upTo end: Int, of file: URL) throws {
        guard end > 0 else { return }
        let isValid = text.bytes.withUnsafeBufferPointer { bytes in
            let part = UnsafeBufferPointer(rebasing: bytes[..<end])
            guard UTF8Reading.isValid(part) else { return false }
            add(part)
            return true
        }
        guard isValid else {
            throw TokenizerError(
                .invalidValue, file: file.path,
                "is not UTF-8 text somewhere between byte \(text.offset) and byte \(text.offset + end)")
        }
        text.removeFirst(end)
    }
}

/// The bytes of a text that are read but not yet cut into words.
private struct PendingText {
    private(set) var bytes: [UInt8] = []
    /// Where ``bytes`` start in the file.
    private(set) var offset = 0
    /// Before this place there is no border that is certain.
    private var searched = 0
    private let classes = ScalarClasses.shared

    mutating func append(_ block: Data) { bytes.append(contentsOf: block) }

    mutating func removeFirst(_ count: Int) {
        bytes.removeFirst(count)
        offset += count
        searched = 0
    }

    /// The last place that is a border between words whatever follows in the file; 0 where there is none.
    ///
    /// No word of GPT-2's pattern goes on across white space that follows something else, or from a letter or a digit
    /// to a character of another kind; and what stands before such a place is cut without a look behind it.
    mutating func lastCertainBorder() -> Int {
        let start = searched
        searched = max(0, bytes.count - 8)
        return bytes.withUnsafeBufferPointer { utf8 in
            // The last character may go on in the next block, so what is before it is not known to be a border.
            var place = utf8.count - 1
            while place > start, UTF8Reading.isContinuation(utf8[place]) { place -= 1 }
            if place > start { place -= UTF8Reading.unicodeScalar(before: place, in: utf8).1 }
            while place > start {
                let next = classes.at(place, in: utf8).kind
                let (scalar, length) = UTF8Reading.unicodeScalar(before: place, in: utf8)
                let last = classes.ofScalar(scalar.value)
                let isAlnum = last == ScalarClasses.letter || last == ScalarClasses.number
                if isAlnum && next != last || next == ScalarClasses.space && last != next { return place }
                place -= length
            }
            return 0
        }
    }
}
