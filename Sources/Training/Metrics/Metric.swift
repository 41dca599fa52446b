/// One way to judge what a model did with a set of examples.
///
/// A metric is a file and a line in ``MetricRegistry``. What it needs of each example is a few numbers, and its value
/// follows from their sums: so a corpus is judged as a corpus, BLEU among them, and resampling examples costs additions.
package protocol Metric: SendableMetatype {
    /// Its name in manifests and reports.
    static var name: String { get }
    /// What an example must say for it.
    static var evidence: MetricEvidence { get }
    static var isHigherBetter: Bool { get }

    /// What an example contributes; empty when it says nothing that this metric needs.
    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic]
    /// The value that follows from the sums of all statistics; `nil` where none is defined, as without any example.
    ///
    /// - Parameter sums: as many as the highest index asks for, or more.
    static func value(of sums: StatisticSums, classes: Int) -> Double?
}

/// What has to be asked of a model before a metric can be computed.
package enum MetricEvidence: String, Sendable, Hashable, CaseIterable {
    /// The likelihood of each token that counts.
    case likelihood
    /// A class of several.
    case classes
    /// One of the answers that an example offers.
    case choices
    /// Text that the model writes.
    case text
}

/// One number that an example contributes, and which of a metric's sums it belongs to.
package struct Statistic: Sendable, Equatable {
    package let index: Int
    package let value: Double

    package init(_ index: Int, _ value: Double) {
        self.index = index
        self.value = value
    }
}

/// Sums of statistics over examples; one that nothing was added to is 0.
package struct StatisticSums: Sendable, Equatable {
    private(set) var values: [Double]

    package init(width: Int = 0) { values = [Double](repeating: 0, count: width) }

    package subscript(index: Int) -> Double { index < values.count ? values[index] : 0 }

    package mutating func add(_ statistics: [Statistic]) {
        for one in statistics {
            if one.index >= values.count {
                values.append(contentsOf: repeatElement(0, count: one.index + 1 - values.count))
            }
            values[one.index] += one.value
        }
    }

    /// Sets every sum to 0.
    mutating func reset() { for index in values.indices { values[index] = 0 } }
}

/// What a model did with one example, beside what was right.
package struct ScoredExample: Sendable, Equatable {
    package var score: ExampleScore
    /// The text that was to be written.
    package var reference: String?

    package init(_ score: ExampleScore, reference: String? = nil) {
        self.score = score
        self.reference = reference
    }
}

/// What a model did with one example. It holds no text of the data.
package struct ExampleScore: Codable, Sendable, Equatable {
    /// The sum over what was scored, in nats.
    package var nll = 0.0
    /// How many tokens were scored, or 1 where the whole was judged.
    package var tokens = 0
    /// Bytes of text that the scored tokens stand for.
    package var bytes: Int?
    /// For how many of them the likeliest token was the right one.
    package var correct: Int?
    /// The right class and the one that was predicted, or the same of the answers on offer.
    package var label: Int?
    package var prediction: Int?
    /// The log-likelihood of each answer on offer, in nats, and its length in bytes.
    package var choices: [Double]?
    package var choiceBytes: [Int]?
    /// What the model wrote.
    package var text: String?

    package init() {}
}

/// Every metric, by name.
package enum MetricRegistry {
    /// One line a metric.
    package static let metrics: [any Metric.Type] = [
        LossMetric.self,
        PerplexityMetric.self,
        BytePerplexityMetric.self,
        TokenAccuracyMetric.self,
        ExactMatchMetric.self,
        AccuracyMetric.self,
        MacroF1Metric.self,
        MatthewsCorrelationMetric.self,
        BLEUMetric.self,
        CHRFMetric.self,
        ROUGE1Metric.self,
        ROUGE2Metric.self,
        ROUGELMetric.self,
        ChoiceAccuracyMetric.self,
        NormalizedChoiceAccuracyMetric.self,
    ]

    /// - Throws: ``TrainingError`` `invalidInput` for a name that is none.
    package static func metric(named name: String) throws -> any Metric.Type {
        guard let metric = metrics.first(where: { $0.name == name }) else {
            let known = metrics.map { $0.name }.joined(separator: ", ")
            throw TrainingError(.invalidInput, "there is no metric \"\(name)\"; known: \(known)")
        }
        return metric
    }
}

extension Metric {
    /// The value over examples.
    package static func value(of examples: [ScoredExample], classes: Int = 0) -> Double? {
        var sums = StatisticSums()
        for example in examples { sums.add(statistics(of: example, classes: classes)) }
        return value(of: sums, classes: classes)
    }

    /// How much better `new` is than `old`; negative when it is worse.
    package static func gain(from old: Double, to new: Double) -> Double { isHigherBetter ? new - old : old - new }
}
