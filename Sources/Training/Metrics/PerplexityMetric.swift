import Foundation

/// `exp` of the mean negative log-likelihood of a token.
enum PerplexityMetric: Metric {
    static let name = "perplexity"
    static let evidence = MetricEvidence.likelihood
    static let isHigherBetter = false

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        LossMetric.statistics(of: example, classes: classes)
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? {
        LossMetric.value(of: sums, classes: classes).map { exp($0) }
    }
}
