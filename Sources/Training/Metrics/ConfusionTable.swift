/// How often each class was taken for each: rows are what is right, columns what was predicted.
package struct ConfusionTable: Codable, Sendable, Equatable {
    package let counts: [[Int]]

    package init(_ examples: [ScoredExample], classes: Int) {
        var sums = StatisticSums()
        for example in examples { sums.add(Self.statistics(of: example, classes: classes)) }
        self.init(sums, classes: classes)
    }

    init(_ sums: StatisticSums, classes: Int) {
        counts = (0..<classes).map { row in (0..<classes).map { Int(sums[row * classes + $0]) } }
    }

    /// One entry of the table, row by row.
    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        guard let label = example.score.label, let prediction = example.score.prediction,
            (0..<classes).contains(label), (0..<classes).contains(prediction)
        else { return [] }
        return [Statistic(label * classes + prediction, 1)]
    }

    var total: Int { counts.reduce(0) { $0 + $1.reduce(0, +) } }
    /// How often each class is right, and how often it was predicted.
    var rows: [Int] { counts.map { $0.reduce(0, +) } }
    var columns: [Int] { counts.indices.map { column in counts.reduce(0) { $0 + $1[column] } } }
}
