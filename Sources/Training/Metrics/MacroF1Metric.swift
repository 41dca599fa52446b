/// The mean of the F1 of each class that is right or was predicted somewhere, as scikit-learn's `f1_score(average="macro")`
/// with its default labels.
enum MacroF1Metric: Metric {
    static let name = "macro_f1"
    static let evidence = MetricEvidence.classes
    static let isHigherBetter = true

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        ConfusionTable.statistics(of: example, classes: classes)
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? {
        let table = ConfusionTable(sums, classes: classes)
        let (rows, columns) = (table.rows, table.columns)
        let present = (0..<classes).filter { rows[$0] + columns[$0] > 0 }
        let scores = present.map { index -> Double in
            Double(2 * table.counts[index][index]) / Double(rows[index] + columns[index])
        }
        return scores.isEmpty ? nil : scores.reduce(0, +) / Double(scores.count)
    }
}
