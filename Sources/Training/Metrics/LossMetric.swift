/// Mean negative log-likelihood: nats a scored token, or a text where whole texts are judged.
enum LossMetric: Metric {
    static let name = "loss"
    static let evidence = MetricEvidence.likelihood
    static let isHigherBetter = false

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        [Statistic(0, example.score.nll), Statistic(1, Double(example.score.tokens))]
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? { sums[1] > 0 ? sums[0] / sums[1] : nil }
}
