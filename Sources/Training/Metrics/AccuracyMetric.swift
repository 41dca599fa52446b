/// The share of examples whose class was predicted rightly; of tokens or pairs, where these are judged.
enum AccuracyMetric: Metric {
    static let name = "accuracy"
    static let evidence = MetricEvidence.classes
    static let isHigherBetter = true

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        guard let label = example.score.label, let prediction = example.score.prediction else {
            // Where parts are judged, it is the share of them.
            guard example.score.label == nil, let correct = example.score.correct else { return [] }
            return [Statistic(0, Double(correct)), Statistic(1, Double(example.score.tokens))]
        }
        return [Statistic(0, label == prediction ? 1 : 0), Statistic(1, 1)]
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? { sums[1] > 0 ? sums[0] / sums[1] : nil }
}
