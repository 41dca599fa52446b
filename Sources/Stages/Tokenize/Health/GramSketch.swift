/// Finds records that share most of their passages with others, in bounded memory.
///
/// Of the passages' hashes it keeps all up to a capacity, and beyond it those whose hash ends in zero bits, twice as
/// many bits each time: the same passages everywhere. A record is then judged by those of its passages that are kept, and one
/// with none of them is not judged. Of `n` judged records the share that is found has a standard error of at most
/// `0.5 / sqrt(n)`, and a record that has about as much in others as the limit below may fall on either side of it. As long as
/// everything is kept there is no error but for 64-bit hashes that collide.
struct GramSketch {
    /// 4 million: with the table's empty places, 64 MiB.
    static let standardCapacity = 1 << 22
    /// A training record that has so much of itself in earlier ones is nearly one of them.
    static let nearShare = 0.8
    /// A record of validation or test that has so much of itself in training records is no test.
    static let overlapShare = 0.5

    private struct Question {
        let split: SplitName
        let place: UInt64
        let grams: Range<Int>
    }

    private let capacity: Int
    private var shift: UInt64 = 0
    /// Open addressing; zero is an empty place.
    private var table = [UInt64](repeating: 0, count: 1 << 12)
    private var count = 0
    /// Records of validation and test, which are asked about when all training records are there.
    private var questions: [Question] = []
    private var asked: [UInt64] = []
    private(set) var near = DataHealth.Tally()
    /// The first training record that was found.
    private(set) var firstNear: UInt64?

    init(capacity: Int = standardCapacity) { self.capacity = capacity }

    /// One passage in so many was compared.
    var sampledOneIn: Int { 1 << Int(shift) }

    /// A record with its passages; `place` orders records.
    mutating func insert(_ grams: [UInt64], at place: UInt64, in split: SplitName) {
        let mask: UInt64 = (1 << shift) - 1
        let kept = grams.filter { $0 & mask == 0 }.map { $0 == 0 ? 1 << 63 : $0 }
        guard !kept.isEmpty else { return }
        if split == .train {
            let found = known(kept[...])
            near.judged += 1
            if Double(found) >= Self.nearShare * Double(kept.count) {
                near.found += 1
                if firstNear == nil { firstNear = place }
            }
            for gram in kept { insert(gram) }
        } else {
            questions.append(Question(split: split, place: place, grams: asked.count..<asked.count + kept.count))
            asked += kept
        }
        while count + asked.count > capacity, shift < 40 { thin() }
    }

    /// Of each split but training, how many records were found in training, and the first of them.
    func overlaps() -> [SplitName: (tally: DataHealth.Tally, first: UInt64?)] {
        var overlaps: [SplitName: (tally: DataHealth.Tally, first: UInt64?)] = [:]
        for question in questions {
            let found = known(asked[question.grams])
            var own = overlaps[question.split] ?? (DataHealth.Tally(), nil)
            own.tally.judged += 1
            if Double(found) >= Self.overlapShare * Double(question.grams.count) {
                own.tally.found += 1
                own.first = own.first ?? question.place
            }
            overlaps[question.split] = own
        }
        return overlaps
    }

    private func isKept(_ gram: UInt64) -> Bool { gram & ((1 << shift) - 1) == 0 }

    private func known(_ grams: ArraySlice<UInt64>) -> Int {
        var known = 0
        for gram in grams where contains(gram) { known += 1 }
        return known
    }

    private func contains(_ gram: UInt64) -> Bool {
        var slot = self.slot(gram)
        while table[slot] != 0 {
            if table[slot] == gram { return true }
            slot = (slot + 1) & (table.count - 1)
        }
        return false
    }

    private mutating func insert(_ gram: UInt64) {
        if 2 * (count + 1) > table.count { rebuild(table.count * 2) }
        var slot = self.slot(gram)
        while table[slot] != 0 {
            if table[slot] == gram { return }
            slot = (slot + 1) & (table.count - 1)
        }
        table[slot] = gram
        count += 1
    }

    /// By the high bits: the low ones of all that is kept may be zero.
    private func slot(_ gram: UInt64) -> Int {
        Int(truncatingIfNeeded: gram >> (64 - UInt64(table.count.trailingZeroBitCount)))
    }

    private mutating func rebuild(_ size: Int) {
        let old = table
        table = [UInt64](repeating: 0, count: size)
        count = 0
        for gram in old where gram != 0 && isKept(gram) { insert(gram) }
    }

    private mutating func thin() {
        shift += 1
        let mask: UInt64 = (1 << shift) - 1
        rebuild(table.count)
        var (left, grams): ([Question], [UInt64]) = ([], [])
        for question in questions {
            let own = asked[question.grams].filter { $0 & mask == 0 }
            guard !own.isEmpty else { continue }
            left.append(
                Question(split: question.split, place: question.place, grams: grams.count..<grams.count + own.count))
            grams += own
        }
        (questions, asked) = (left, grams)
    }
}
