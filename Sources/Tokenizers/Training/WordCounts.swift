/// The distinct words of a corpus and how often each occurs.
struct WordCounts {
    /// The words, in order of first appearance.
    private(set) var words: [(bytes: Range<Int>, count: Int)] = []
    /// The bytes of the words, one after the other.
    private(set) var bytes: [UInt8] = []
    private var slots = [Int32](repeating: -1, count: 1 << 12)
    private var hashes: [UInt64] = []
    private let classes = ScalarClasses.shared

    /// Cuts a text with GPT-2's pattern and counts its words.
    mutating func add(_ utf8: UnsafeBufferPointer<UInt8>) {
        var start = 0
        while start < utf8.count {
            let end = PatternScanner.gpt2.end(of: utf8, from: start, classes)
            count(UnsafeBufferPointer(rebasing: utf8[start..<end]))
            start = end
        }
    }

    private mutating func count(_ word: UnsafeBufferPointer<UInt8>) {
        guard let base = word.baseAddress else { return }
        let hash = ByteHash.hash(base, word.count)
        var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[slot] >= 0 {
            let index = Int(slots[slot])
            if hashes[index] == hash, bytes[words[index].bytes].elementsEqual(word) {
                words[index].count += 1
                return
            }
            slot = (slot + 1) & (slots.count - 1)
        }
        slots[slot] = Int32(words.count)
        words.append((bytes.count..<bytes.count + word.count, 1))
        hashes.append(hash)
        bytes.append(contentsOf: word)
        if words.count * 2 > slots.count { grow() }
    }

    private mutating func grow() {
        slots = [Int32](repeating: -1, count: slots.count * 2)
        for (index, hash) in hashes.enumerated() {
            var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
            while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
            slots[slot] = Int32(index)
        }
    }
}
