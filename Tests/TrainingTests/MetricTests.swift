import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Training

/// Metrics against the packages whose numbers people compare with; see `Tests/Reference/metric_vectors.py`.
@Suite struct MetricTests {
    private struct Vectors: Decodable {
        struct Pair: Decodable {
            var text: String
            var reference: String
            var values: [String: Double]
        }
        struct Corpus: Decodable {
            var pairs: [Int]
            var values: [String: Double]
        }
        struct Words: Decodable {
            var text: String
            var words: [String]
        }
        struct Table: Decodable {
            var labels: [Int]
            var predictions: [Int]
            var classes: Int
            var accuracy: Double
            var macro_f1: Double
            var mcc: Double
            var confusion: [[Int]]
        }
        var pairs: [Pair]
        var corpora: [Corpus]
        var words: [Words]
        var tables: [Table]
    }

    private func vectors() throws -> Vectors {
        let file = TestData.packageRoot.appending(path: "Tests/Fixtures/metrics/vectors.json")
        return try JSONDecoder().decode(Vectors.self, from: Data(contentsOf: file))
    }

    private func example(_ text: String, _ reference: String) -> ScoredExample {
        var score = ExampleScore()
        score.text = text
        return ScoredExample(score, reference: reference)
    }

    private func expect(_ values: [String: Double], of examples: [ScoredExample], _ label: String) throws {
        for (name, wanted) in values {
            // Python's smallest logarithm makes 0 of what has none.
            let value = try MetricRegistry.metric(named: name).value(of: examples, classes: 0) ?? 0
            #expect(abs(value - wanted) < 1e-9, "\(label): \(name) is \(value), not \(wanted)")
        }
    }

    @Test func generatedTextIsJudgedAsSacreBLEUAndRougeScoreDo() throws {
        let vectors = try vectors()
        for pair in vectors.pairs { try expect(pair.values, of: [example(pair.text, pair.reference)], pair.text) }
        for corpus in vectors.corpora {
            let examples = corpus.pairs.map { example(vectors.pairs[$0].text, vectors.pairs[$0].reference) }
            try expect(corpus.values, of: examples, "\(corpus.pairs)")
        }
    }

    @Test func wordsAreCutAsByMteval() throws {
        for line in try vectors().words {
            let words = BLEUMetric.words(of: line.text).map { String(String.UnicodeScalarView($0)) }
            #expect(words.map { Array($0.utf8) } == line.words.map { Array($0.utf8) }, "\(line.text)")
        }
    }

    @Test func classesAreJudgedAsScikitLearnDoes() throws {
        for table in try vectors().tables {
            let examples = zip(table.labels, table.predictions).map { label, prediction in
                var score = ExampleScore()
                (score.label, score.prediction) = (label, prediction)
                return ScoredExample(score)
            }
            let classes = table.classes
            #expect(ConfusionTable(examples, classes: classes).counts == table.confusion)
            for (metric, wanted) in [
                (AccuracyMetric.self, table.accuracy), (MacroF1Metric.self, table.macro_f1),
                (MatthewsCorrelationMetric.self, table.mcc),
            ] as [(any Metric.Type, Double)] {
                let value = metric.value(of: examples, classes: classes) ?? .nan
                #expect(abs(value - wanted) < 1e-12, "\(metric.name) is \(value), not \(wanted)")
            }
        }
    }

    @Test func likelihoodsAreMeansOverTokensBytesAndExamples() throws {
        let examples = [(6.0, 3, 12, 3), (4.0, 1, 8, 0)].map { nll, tokens, bytes, correct in
            var score = ExampleScore()
            (score.nll, score.tokens, score.bytes, score.correct) = (nll, tokens, bytes, correct)
            return ScoredExample(score)
        }
        #expect(LossMetric.value(of: examples) == 2.5)
        #expect(PerplexityMetric.value(of: examples) == exp(2.5))
        #expect(BytePerplexityMetric.value(of: examples) == exp(0.5))
        #expect(TokenAccuracyMetric.value(of: examples) == 0.75)
        #expect(ExactMatchMetric.value(of: examples) == 0.5)
        #expect(LossMetric.value(of: []) == nil)
    }

    @Test func aLongAnswerWinsOnlyByTheByte() throws {
        var score = ExampleScore()
        // The second answer is less likely as a whole and likelier a byte.
        (score.choices, score.choiceBytes, score.label) = ([-4, -6], [4, 12], 1)
        #expect(ChoiceAccuracyMetric.value(of: [ScoredExample(score)]) == 0)
        #expect(NormalizedChoiceAccuracyMetric.value(of: [ScoredExample(score)]) == 1)
        // Of equal ones the first is chosen, as numpy's argmax does.
        (score.choices, score.choiceBytes, score.label) = ([-4, -4], [4, 4], 0)
        #expect(ChoiceAccuracyMetric.value(of: [ScoredExample(score)]) == 1)
    }

    @Test func namesAreUniqueAndUnknownOnesSaySo() {
        #expect(Set(MetricRegistry.metrics.map { $0.name }).count == MetricRegistry.metrics.count)
        #expect(throws: TrainingError.self) { try MetricRegistry.metric(named: "blue") }
    }
}

@Suite struct MetricComparisonTests {
    private func scores(_ losses: [Double]) -> [ScoredExample] {
        losses.map { loss in
            var score = ExampleScore()
            (score.nll, score.tokens) = (loss, 1)
            return ScoredExample(score)
        }
    }

    /// Examples differ much more from each other than the models do on each.
    private let before = (0..<200).map { 1 + Double($0 % 10) }

    @Test func whatIsSmallAndEverywhereIsCertain() throws {
        let after = before.map { $0 - 0.01 }
        let result = try #require(
            MetricComparison(LossMetric.self, from: scores(before), to: scores(after), confidence: 0.95))
        #expect(result.gain.low > 0.0099 && result.gain.high < 0.0101)
        let worse = try #require(
            MetricComparison(LossMetric.self, from: scores(after), to: scores(before), confidence: 0.95))
        #expect(worse.gain.high < 0 && worse.share?.high ?? 0 < 0)
    }

    @Test func chanceIsNotCertainAndNothingIsNothing() throws {
        let after = before.enumerated().map { $1 + ($0 * 7919 % 13 < 6 ? -0.5 : 0.43) }
        let result = try #require(
            MetricComparison(LossMetric.self, from: scores(before), to: scores(after), confidence: 0.95))
        #expect(result.gain.low < 0 && result.gain.high > 0)
        let same = try #require(
            MetricComparison(LossMetric.self, from: scores(before), to: scores(before), confidence: 0.95))
        #expect(same.gain == MetricComparison.Interval(low: 0, estimate: 0, high: 0))
        #expect(MetricComparison(LossMetric.self, from: [], to: [], confidence: 0.95) == nil)
    }

    @Test func drawsFollowFromTheSeed() throws {
        let after = before.enumerated().map { $1 - Double($0 % 3) * 0.1 }
        let results = [1, 1, 2].map {
            MetricComparison(LossMetric.self, from: scores(before), to: scores(after), confidence: 0.9, seed: $0)
        }
        #expect(results[0] == results[1] && results[0] != results[2])
    }

    /// The interval of a mean is close to that of the normal distribution.
    @Test func theIntervalIsAsWideAsTheErrorOfTheMean() throws {
        let values = RandomStream(seed: 3).normal([1000], standardDeviation: 1).values.map { Double($0) + 0.5 }
        let mean = values.reduce(0, +) / 1000
        let error = (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 1000).squareRoot() / 1000.squareRoot()
        let zeros = scores([Double](repeating: 0, count: 1000))
        for (confidence, z) in [(0.95, 1.95996), (0.90, 1.64485), (0.99, 2.57583)] {
            let gain = try #require(
                MetricComparison(
                    LossMetric.self, from: scores(values), to: zeros, confidence: confidence, resamples: 10_000)
            ).gain
            #expect(abs(gain.estimate - mean) < 1e-12)
            #expect(abs(gain.low - (mean - z * error)) < 0.06 * error * z)
            #expect(abs(gain.high - (mean + z * error)) < 0.06 * error * z)
        }
    }

    @Test func aTokenCountsAsMuchAsAnyOther() throws {
        let pair = { (first: Double) in
            [(first * 3, 3), (2.0, 1)].map { sum, tokens in
                var score = ExampleScore()
                (score.nll, score.tokens) = (sum, tokens)
                return ScoredExample(score)
            }
        }
        let gain = try #require(MetricComparison(LossMetric.self, from: pair(1), to: pair(2), confidence: 0.95)).gain
        #expect(gain == MetricComparison.Interval(low: -1, estimate: -0.75, high: 0))
    }

    /// Of many pairs of models that are equal in truth, about as many are told apart as the confidence allows.
    @Test func equalModelsAreSeldomToldApart() throws {
        var state: UInt64 = 99
        func noise() -> Double {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Double(state >> 11) * 0x1p-53 - 0.5
        }
        let wrong = (0..<200).count { _ in
            let (a, b) = (scores((0..<50).map { _ in 2 + noise() }), scores((0..<50).map { _ in 2 + noise() }))
            let result = MetricComparison(LossMetric.self, from: a, to: b, confidence: 0.9, resamples: 400)
            return result.map { $0.gain.low > 0 || $0.gain.high < 0 } ?? true
        }
        // Ten in a hundred are expected: twenty, with a spread of about four.
        #expect((6...38).contains(wrong), "\(wrong) of 200")
    }
}
