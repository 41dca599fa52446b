/// Multiple choice: the share of examples whose right answer is the likeliest (`acc` of lm-evaluation-harness).
enum ChoiceAccuracyMetric: Metric {
    static let name = "acc"
    static let evidence = MetricEvidence.choices
    static let isHigherBetter = true

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        statistics(of: example) { likelihood, _ in likelihood }
    }

    /// - Parameter worth: of an answer's log-likelihood and bytes, the first of the greatest being what is chosen.
    static func statistics(of example: ScoredExample, by worth: (Double, Int) -> Double) -> [Statistic] {
        guard let likelihoods = example.score.choices, let bytes = example.score.choiceBytes,
            let label = example.score.label, likelihoods.count == bytes.count, !bytes.isEmpty
        else { return [] }
        let worths = zip(likelihoods, bytes).map(worth)
        var best = 0
        for index in worths.indices where worths[index] > worths[best] { best = index }
        return [Statistic(0, best == label ? 1 : 0), Statistic(1, 1)]
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? { sums[1] > 0 ? sums[0] / sums[1] : nil }
}
