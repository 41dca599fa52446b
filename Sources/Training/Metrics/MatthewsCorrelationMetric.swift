/// Matthews' correlation coefficient, for any number of classes (Gorodkin 2004); 0 where one side never varies.
enum MatthewsCorrelationMetric: Metric {
    static let name = "mcc"
    static let evidence = MetricEvidence.classes
    static let isHigherBetter = true

    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        ConfusionTable.statistics(of: example, classes: classes)
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? {
        let table = ConfusionTable(sums, classes: classes)
        let total = Double(table.total)
        guard total > 0 else { return nil }
        let (rows, columns) = (table.rows.map(Double.init), table.columns.map(Double.init))
        let correct = Double((0..<classes).reduce(0) { $0 + table.counts[$1][$1] })
        func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
        let spread = (total * total - dot(columns, columns)) * (total * total - dot(rows, rows))
        return spread > 0 ? (correct * total - dot(rows, columns)) / spread.squareRoot() : 0
    }
}
