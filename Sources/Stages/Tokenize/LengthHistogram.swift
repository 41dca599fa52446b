/// How long examples are, in classes that are a quarter to a half wider than the one before.
package struct LengthHistogram: Codable, Sendable, Equatable {
    /// Examples of more tokens than the class before, and at most `upTo`.
    package struct Bar: Codable, Sendable, Equatable {
        package var upTo: Int
        package var count: Int
    }

    /// From short to long; classes without an example between two that have some are there too.
    package private(set) var bars: [Bar] = []

    package init() {}

    /// Counts an example.
    mutating func add(_ length: Int) {
        let edge = Self.edge(length)
        if let index = bars.firstIndex(where: { $0.upTo == edge }) {
            bars[index].count += 1
            return
        }
        guard let first = bars.first, let last = bars.last else {
            bars = [Bar(upTo: edge, count: 1)]
            return
        }
        var between = edge < first.upTo ? edge : Self.edge(last.upTo + 1)
        let end = edge < first.upTo ? first.upTo : Self.edge(edge + 1)
        var added: [Bar] = []
        while between < end {
            added.append(Bar(upTo: between, count: between == edge ? 1 : 0))
            between = Self.edge(between + 1)
        }
        bars = edge < first.upTo ? added + bars : bars + added
    }

    /// The smallest of 4, 6, 8, 12, 16, 24 … that is not below `length`.
    private static func edge(_ length: Int) -> Int {
        var power = 4
        while power < length { power *= 2 }
        let between = power / 4 * 3
        return power > 4 && length <= between ? between : power
    }
}
