/// The mean F1 of the longest common subsequence of words, 0…1, as the rouge-score package computes `rougeL` without
/// stemming.
enum ROUGELMetric: Metric {
    static let name = "rougeL"
    static let evidence = MetricEvidence.text
    static let isHigherBetter = true

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        ROUGEWords.statistics(of: example) { text, reference in
            ROUGEWords.f1(
                matches: commonLength(text.words, reference.words), of: text.words.count, and: reference.words.count)
        }
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? { sums[1] > 0 ? sums[0] / sums[1] : nil }

    /// The length of the longest common subsequence.
    private static func commonLength(_ a: [[UInt8]], _ b: [[UInt8]]) -> Int {
        var row = [Int](repeating: 0, count: b.count + 1)
        for word in a {
            var diagonal = 0
            for index in b.indices {
                let above = row[index + 1]
                row[index + 1] = word == b[index] ? diagonal + 1 : max(above, row[index])
                diagonal = above
            }
        }
        return row.last ?? 0
    }
}
