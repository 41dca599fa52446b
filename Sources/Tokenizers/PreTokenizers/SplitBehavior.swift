/// What becomes of the matches (delimiters) of a splitting pattern.
enum SplitBehavior: String, Sendable, CaseIterable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"

    init(from node: JSONNode) throws {
        guard let behavior = SplitBehavior(rawValue: try node.string()) else {
            let known = Self.allCases.map(\.rawValue).joined(separator: ", ")
            throw node.error(.unsupported, "the behavior is not supported; supported: \(known)")
        }
        self = behavior
    }

    /// The pieces to keep of a text of `count` bytes whose matches are `matches`; `inverts` swaps what matches with
    /// what does not.
    func pieces(count: Int, matches: [Range<Int>], inverts: Bool) -> [Range<Int>] {
        var parts: [(range: Range<Int>, isMatch: Bool)] = []
        parts.reserveCapacity(matches.count * 2 + 1)
        var last = 0
        for match in matches {
            if last < match.lowerBound { parts.append((last..<match.lowerBound, inverts)) }
            parts.append((match, !inverts))
            last = match.upperBound
        }
        if last < count { parts.append((last..<count, inverts)) }
        switch self {
        case .removed: return parts.filter { !$0.isMatch }.map(\.range)
        case .isolated: return parts.map(\.range)
        case .contiguous: return joined(parts) { isMatch, previous in isMatch == previous }
        case .mergedWithPrevious: return joined(parts) { isMatch, previous in isMatch && !previous }
        case .mergedWithNext: return joinedBackwards(parts)
        }
    }

    private func joined(
        _ parts: [(range: Range<Int>, isMatch: Bool)], when joins: (_ isMatch: Bool, _ previous: Bool) -> Bool
    ) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var previous = false
        for part in parts {
            if joins(part.isMatch, previous), let open = result.last {
                result[result.count - 1] = open.lowerBound..<part.range.upperBound
            } else {
                result.append(part.range)
            }
            previous = part.isMatch
        }
        return result
    }

    private func joinedBackwards(_ parts: [(range: Range<Int>, isMatch: Bool)]) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var previous = false
        for part in parts.reversed() {
            if part.isMatch, !previous, let open = result.last {
                result[result.count - 1] = part.range.lowerBound..<open.upperBound
            } else {
                result.append(part.range)
            }
            previous = part.isMatch
        }
        return result.reversed()
    }
}
