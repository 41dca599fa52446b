/// The mean F1 of single words, 0…1, as the rouge-score package computes `rouge1` without stemming.
enum ROUGE1Metric: Metric {
    static let name = "rouge1"
    static let evidence = MetricEvidence.text
    static let isHigherBetter = true

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        ROUGEWords.statistics(of: example) { ROUGEWords.grams(1, $0, $1) }
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? { sums[1] > 0 ? sums[0] / sums[1] : nil }
}
