/// Finds what someone may have meant by a name that does not exist.
enum NearNames {
    /// At most three names within a few edits of `name`, or that contain it, nearest first.
    static func nearest(to name: String, among known: [String]) -> [String] {
        let wanted = Array(name.lowercased().utf8)
        let limit = max(1, wanted.count / 3)
        let scored = known.compactMap { candidate -> (String, Int)? in
            let text = Array(candidate.lowercased().utf8)
            let distance = distance(wanted, text)
            if distance <= limit { return (candidate, distance) }
            let isPart = wanted.count >= 3 && candidate.lowercased().contains(name.lowercased())
            return isPart ? (candidate, limit + 1) : nil
        }
        return scored.sorted { ($0.1, $0.0) < ($1.1, $1.0) }.prefix(3).map(\.0)
    }

    /// The number of insertions, removals, changes and swaps of neighbours (optimal string alignment).
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var before = [Int](repeating: 0, count: right.count + 1)
        var above = Array(0...right.count)
        for i in 0..<left.count {
            var row = [i + 1]
            for j in 0..<right.count {
                var best = min(above[j + 1] + 1, row[j] + 1, above[j] + (left[i] == right[j] ? 0 : 1))
                if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
                    best = min(best, before[j - 1] + 1)
                }
                row.append(best)
            }
            (before, above) = (above, row)
        }
        return above[right.count]
    }
}
