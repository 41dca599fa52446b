import Foundation
import Testing
import Training

@testable import Stages

/// Which versions may be the best that an alias ever pointed at.
@Suite struct MarkTests {
    /// What a record says: the set it was judged on, and values by role; 0 is the version itself.
    private func night(
        _ digest: String, champion: (number: Int, loss: Double)? = nil, best: (number: Int, loss: Double)? = nil,
        others: [Int: Double] = [:], own: Double
    ) -> PastEvaluation {
        var values: [EvaluationRole: [String: Double]] = [.trained: ["loss": own]]
        values[.champion] = champion.map { ["loss": $0.loss] }
        values[.best] = best.map { ["loss": $0.loss] }
        var set = EvaluationReport.SetReport(
            name: "test", digest: digest, examples: 1, tokens: 1, metrics: ["loss"], classes: 0, values: values,
            models: [:], best: best?.number)
        set.others = others.isEmpty ? nil : others.mapValues { ["loss": $0] }
        return PastEvaluation(sets: [set], champion: champion?.number)
    }

    private func candidates(
        _ past: [(number: Int, evaluation: PastEvaluation?)], today: String, beside champion: Int?,
        by metric: String = "loss"
    ) throws -> [Int] {
        try Mark(
            name: "test", metric: MetricRegistry.metric(named: metric), isOfToday: { $0.digest == today }, among: past
        ).candidates(beside: champion)
    }

    @Test func onTheSameExamplesTheBestValueIsTheMark() throws {
        let past: [(number: Int, evaluation: PastEvaluation?)] = [
            (1, night("a", own: 3)), (2, night("a", own: 2)), (3, night("a", own: 2.5)),
        ]
        #expect(try candidates(past, today: "a", beside: 3) == [2])
        #expect(try candidates(past, today: "a", beside: 2) == [])
    }

    /// Production was taken back to 1, and the examples are others than any night had.
    @Test func afterARollBackTheNewestRecordsSayWhoLeads() throws {
        let rising: [(number: Int, evaluation: PastEvaluation?)] = [
            (1, night("a", own: 4)), (2, night("b", champion: (1, 4.1), own: 3)),
            (3, night("c", champion: (2, 3.1), own: 2)), (4, night("d", champion: (3, 2.1), own: 1)),
        ]
        #expect(try candidates(rising, today: "e", beside: 1) == [4])
        // Slow decay: each is a little worse than the best, which every night asks again.
        let falling: [(number: Int, evaluation: PastEvaluation?)] = [
            (1, night("a", own: 1)), (2, night("b", champion: (1, 1), own: 1.1)),
            (3, night("c", champion: (2, 1.1), best: (1, 1), own: 1.2)),
            (4, night("d", champion: (3, 1.2), best: (1, 1), own: 1.3)),
        ]
        #expect(try candidates(falling, today: "e", beside: 4) == [1])
        // Once the best is rejected, it is one of those it had beaten.
        #expect(try candidates(Array(falling.dropFirst()), today: "e", beside: 4) == [2])
    }

    @Test func whoWasNeverComparedIsAskedAndNotAgain() throws {
        // 3 was promoted by hand after 4 had been judged without it.
        let past: [(number: Int, evaluation: PastEvaluation?)] = [
            (2, night("a", own: 3)), (3, night("b", champion: (2, 3), own: 2)),
            (4, night("c", champion: (2, 3), own: 2.5)),
        ]
        #expect(try candidates(past, today: "d", beside: 2) == [4, 3])
        let after: [(number: Int, evaluation: PastEvaluation?)] =
            past + [(5, night("d", champion: (4, 2.6), best: (3, 2.2), others: [2: 3.3], own: 2.1))]
        #expect(try candidates(after, today: "e", beside: 5) == [])
        // Of a version without a record nothing is known; of those that have one, the leader is asked first.
        let imported: [(number: Int, evaluation: PastEvaluation?)] = past + [(7, nil)]
        #expect(try candidates(imported, today: "a", beside: nil) == [7, 4, 3])
    }

    @Test func aMetricThatNobodyHadIsAskedOfTheBestFew() throws {
        let past: [(number: Int, evaluation: PastEvaluation?)] = (1...9).map { number in
            (number, night("a", champion: number > 1 ? (number - 1, 5) : nil, own: number == 5 ? 1 : 4))
        }
        let asked = try candidates(past, today: "a", beside: 9, by: "rougeL")
        #expect(asked.count == Mark.most && asked.contains(5), "\(asked)")
    }

    @Test func aRingHidesNobody() throws {
        let past: [(number: Int, evaluation: PastEvaluation?)] = [
            (1, nil), (2, night("a", champion: (1, 2), own: 1)), (3, night("b", champion: (2, 2), own: 1)),
            (4, night("c", champion: (3, 2), best: (1, 0.5), own: 3)),
        ]
        // 1 beats 3 and 4, 2 beats 1, 3 beats 2.
        #expect(try candidates(past, today: "d", beside: nil).sorted() == [1, 2, 3, 4])
    }
}
