/// The share of examples in which every scored token is the model's likeliest.
///
/// Greedy decoding would write exactly these, so nothing has to be written to know it.
enum ExactMatchMetric: Metric {
    static let name = "exact_match"
    static let evidence = MetricEvidence.likelihood
    static let isHigherBetter = true

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        guard let correct = example.score.correct, example.score.tokens > 0 else { return [] }
        return [Statistic(0, correct == example.score.tokens ? 1 : 0), Statistic(1, 1)]
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? { sums[1] > 0 ? sums[0] / sums[1] : nil }
}
