import Foundation

/// `exp` of the negative log-likelihood of a byte of text: comparable between tokenizers, as perplexity is not.
enum BytePerplexityMetric: Metric {
    static let name = "byte_perplexity"
    static let evidence = MetricEvidence.likelihood
    static let isHigherBetter = false

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        guard let bytes = example.score.bytes else { return [] }
        return [Statistic(0, example.score.nll), Statistic(1, Double(bytes))]
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? { sums[1] > 0 ? exp(sums[0] / sums[1]) : nil }
}
