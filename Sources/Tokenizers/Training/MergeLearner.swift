/// The state of BPE training: the words as symbols, and how often each pair of neighbours occurs.
struct MergeLearner {
    /// Two neighbouring symbols.
    struct Pair: Hashable {
        let left: Int32
        let right: Int32
    }

    /// A distinct word.
    private struct Word {
        let start: Int
        /// How many symbols it has now.
        var count: Int
        /// How often it occurs.
        let frequency: Int

        /// Where its pairs start.
        var pairs: Range<Int> { start..<start + max(0, count - 1) }
    }

    /// A pair with the count it had when it was queued.
    private struct Candidate {
        var count: Int
        var pair: Pair

        /// More frequent first; of equals, the lower ids first.
        func precedes(_ other: Candidate) -> Bool {
            if count != other.count { return count > other.count }
            return (pair.left, pair.right) < (other.pair.left, other.pair.right)
        }
    }

    /// The symbols of all words, one word after the other; each keeps the room of its bytes.
    private var symbols: [Int32]
    private var words: [Word]
    private var counts: [Pair: Int] = [:]
    /// The words in which a pair has occurred; some may not hold it any more.
    private var places: [Pair: [Int32]] = [:]
    private var heap: [Candidate] = []

    init(words corpus: WordCounts, byteIDs: [Int32]) {
        symbols = corpus.bytes.map { byteIDs[Int($0)] }
        words = corpus.words.map { Word(start: $0.bytes.lowerBound, count: $0.bytes.count, frequency: $0.count) }
        for (index, word) in words.enumerated() {
            for place in word.pairs { add(pair(at: place), word.frequency, in: index) }
        }
        heap = counts.map { Candidate(count: $0.value, pair: $0.key) }
        for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { siftDown(index) }
    }

    private mutating func add(_ pair: Pair, _ frequency: Int, in word: Int) {
        counts[pair, default: 0] += frequency
        // The words are visited one after the other, so a repetition is the last entry.
        if places[pair]?.last != Int32(word) { places[pair, default: []].append(Int32(word)) }
    }

    /// The pair that occurs most often now, if it occurs at least `minimum` times.
    mutating func mostFrequentPair(atLeast minimum: Int) -> Pair? {
        while let top = heap.first {
            let current = counts[top.pair] ?? 0
            if current == top.count {
                if top.count < minimum { return nil }
                return top.pair
            }
            // Queued counts are never too low, so the corrected entry still comes before any better one.
            if current > 0 {
                heap[0].count = current
            } else {
                removeTop()
                continue
            }
            siftDown(0)
        }
        return nil
    }

    /// Replaces the pair by the symbol `merged` in all words, from left to right.
    mutating func merge(_ pair: Pair, into merged: Int32) {
        let affected = places.removeValue(forKey: pair) ?? []
        var changed: Set<Pair> = []
        for index in affected { mergeWord(Int(index), pair, merged, &changed) }
        counts[pair] = nil
        for pair in changed { push(Candidate(count: counts[pair] ?? 0, pair: pair)) }
    }

    private mutating func mergeWord(_ index: Int, _ pair: Pair, _ merged: Int32, _ changed: inout Set<Pair>) {
        let word = words[index]
        guard word.pairs.contains(where: { self.pair(at: $0) == pair }) else { return }
        for place in word.pairs { counts[self.pair(at: place)]! -= word.frequency }
        var count = 0
        var place = word.start
        while place < word.start + word.count {
            let isPair = place + 1 < word.start + word.count && self.pair(at: place) == pair
            symbols[word.start + count] = isPair ? merged : symbols[place]
            place += isPair ? 2 : 1
            count += 1
        }
        words[index].count = count
        for place in words[index].pairs {
            let neighbour = self.pair(at: place)
            if neighbour.left == merged || neighbour.right == merged {
                add(neighbour, word.frequency, in: index)
                changed.insert(neighbour)
            } else {
                counts[neighbour]! += word.frequency
            }
        }
    }

    /// The symbol at `place` and the next one.
    private func pair(at place: Int) -> Pair { Pair(left: symbols[place], right: symbols[place + 1]) }

    // MARK: The queue

    private mutating func push(_ candidate: Candidate) {
        heap.append(candidate)
        var index = heap.count - 1
        while index > 0 {
            let parent = (index - 1) / 2
            guard candidate.precedes(heap[parent]) else { break }
            heap[index] = heap[parent]
            index = parent
        }
        heap[index] = candidate
    }

    private mutating func removeTop() {
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        heap[0] = last
        siftDown(0)
    }

    private mutating func siftDown(_ start: Int) {
        let candidate = heap[start]
        var index = start
        while true {
            var child = 2 * index + 1
            if child >= heap.count { break }
            if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
            guard heap[child].precedes(candidate) else { break }
            heap[index] = heap[child]
            index = child
        }
        heap[index] = candidate
    }
}
