/// The share of examples whose class was predicted rightly.
enum AccuracyMetric: Metric {
    static let name = "accuracy"
    static let evidence = MetricEvidence.classes
    static let isHigherBetter = true

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        guard let label = example.score.label, let prediction = example.score.prediction else { return [] }
        return [Statistic(0, label == prediction ? 1 : 0), Statistic(1, 1)]
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? { sums[1] > 0 ? sums[0] / sums[1] : nil }
}
