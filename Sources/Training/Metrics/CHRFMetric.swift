/// Corpus chrF, 0…100, as sacreBLEU computes it: up to six characters without white space, recall twice as heavy, one
/// reference.
enum CHRFMetric: Metric {
    static let name = "chrf"
    static let evidence = MetricEvidence.text
    static let isHigherBetter = true

    private static let order = 6
    /// β² of the F-score.
    private static let recallWeight = 4.0

    /// For each order the grams of the text, those of the reference, and what they have in common.
    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        guard let text = example.score.text, let reference = example.reference else { return [] }
        let (own, wanted) = (characters(of: text), characters(of: reference))
        return (0..<order).flatMap { index in
            let (grams, right) = (GramCounts(own, n: index + 1), GramCounts(wanted, n: index + 1))
            return [
                // An order of which the reference has none does not count.
                Statistic(3 * index, right.total > 0 ? Double(grams.total) : 0),
                Statistic(3 * index + 1, Double(right.total)), Statistic(3 * index + 2, Double(grams.matches(right))),
            ]
        }
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? {
        guard sums[1] > 0 else { return nil }
        let orders = (0..<order).filter { sums[3 * $0] > 0 && sums[3 * $0 + 1] > 0 }
        func mean(_ divisor: Int) -> Double {
            orders.reduce(0) { $0 + sums[3 * $1 + 2] / sums[3 * $1 + divisor] } / Double(max(orders.count, 1))
        }
        let (precision, recall) = (mean(0), mean(1))
        guard precision + recall > 0 else { return 0 }
        return 100 * (1 + recallWeight) * precision * recall / (recallWeight * precision + recall)
    }

    private static func characters(of text: String) -> [Unicode.Scalar] {
        text.unicodeScalars.filter { !$0.isPythonSpace }
    }
}
