/// The share of scored tokens that are the model's likeliest.
enum TokenAccuracyMetric: Metric {
    static let name = "token_accuracy"
    static let evidence = MetricEvidence.likelihood
    static let isHigherBetter = true

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        guard let correct = example.score.correct else { return [] }
        return [Statistic(0, Double(correct)), Statistic(1, Double(example.score.tokens))]
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? { sums[1] > 0 ? sums[0] / sums[1] : nil }
}
