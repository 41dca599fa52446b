/// The state of BPE training: the words as symbols, and how often each pair of neighbours occurs.
struct MergeLearner {
    /// Two neighbouring symbols.
    struct Pair: Hashable {
        let left: Int32
        let right: Int32
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

    private var words: [[Int32]]
    private let frequencies: [Int]
    private var counts: [Pair: Int] = [:]
    /// The words in which a pair has occurred; some may not hold it any more.
    private var places: [Pair: [Int32]] = [:]
    private var heap: [Candidate] = []

    init(words corpus: WordCounts, byteIDs: [Int32]) {
        words = corpus.words.map { word in corpus.bytes[word.bytes].map { byteIDs[Int($0)] } }
        frequencies = corpus.words.map(\.count)
        for (index, word) in words.enumerated() {
            for (left, right) in zip(word, word.dropFirst()) {
                add(Pair(left: left, right: right), frequencies[index], in: index)
            }
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
        let old = words[index]
        var new: [Int32] = []
        new.reserveCapacity(old.count)
        var position = 0
        while position < old.count {
            if position + 1 < old.count, old[position] == pair.left, old[position + 1] == pair.right {
                new.append(merged)
                position += 2
            } else {
                new.append(old[position])
                position += 1
            }
        }
        guard new.count < old.count else { return }
        words[index] = new
        let frequency = frequencies[index]
        for (left, right) in zip(old, old.dropFirst()) { counts[Pair(left: left, right: right)]! -= frequency }
        for (left, right) in zip(new, new.dropFirst()) {
            let neighbour = Pair(left: left, right: right)
            if left == merged || right == merged {
                add(neighbour, frequency, in: index)
                changed.insert(neighbour)
            } else {
                counts[neighbour]! += frequency
            }
        }
    }

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
