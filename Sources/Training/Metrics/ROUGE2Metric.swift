/// The mean F1 of pairs of words, 0…1, as the rouge-score package computes `rouge2` without stemming.
enum ROUGE2Metric: Metric {
    static let name = "rouge2"
    static let evidence = MetricEvidence.text
    static let isHigherBetter = true

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        ROUGEWords.statistics(of: example) { ROUGEWords.grams(2, $0, $1) }
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? { sums[1] > 0 ? sums[0] / sums[1] : nil }
}
