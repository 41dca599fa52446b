/// Multiple choice, by log-likelihood a byte of the answer, so that long answers are not at a disadvantage (`acc_norm` of
/// lm-evaluation-harness).
enum NormalizedChoiceAccuracyMetric: Metric {
    static let name = "acc_norm"
    static let evidence = MetricEvidence.choices
    static let isHigherBetter = true

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        ChoiceAccuracyMetric.statistics(of: example) { $0 / Double(max($1, 1)) }
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? {
        ChoiceAccuracyMetric.value(of: sums, classes: classes)
    }
}
