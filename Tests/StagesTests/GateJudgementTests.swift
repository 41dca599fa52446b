import Foundation
import PipelineSpec
import TestSupport
import Testing
import Training

@testable import Stages

/// What a gate says of a comparison, in words that need no sign.
@Suite struct GateJudgementTests {
    /// The check of an improvement, of losses that differ by the same share on every example.
    private func check(_ new: [Double], _ limit: JobManifest.Change) throws -> GateVerdict.Check {
        let folder = try TemporaryFolder()
        func column(_ losses: [Double]) -> [ExampleScore] {
            losses.map {
                var score = ExampleScore()
                (score.nll, score.tokens) = ($0, 1)
                return score
            }
        }
        var scores = ExampleScores()
        scores.columns = [.champion: column(new.map { _ in 1 }), .trained: column(new)]
        try scores.write(of: "test", in: folder.url)
        let mean = new.reduce(0, +) / Double(new.count)
        let set = EvaluationReport.SetReport(
            name: "test", digest: "", examples: new.count, tokens: new.count, metrics: ["loss"], classes: 0,
            values: [.champion: ["loss": 1], .trained: ["loss": mean]], models: [:])
        let report = EvaluationReport(
            conditions: "", sets: [set], alias: "production", champion: 3,
            cost: .init(trainedParameters: 1, parameters: 1, trainedShare: 1, productBytes: 1))
        var gate = JobManifest.Gate()
        (gate.minImprovement, gate.minExamples, gate.maxRegression) = (limit, 1, [:])
        let verdict = try GateJudgement(gate, report, in: folder.url).verdict()
        return try #require(verdict.checks.first { $0.rule == "improvement" })
    }

    @Test(arguments: [
        (
            1.05, JobManifest.Change.share(-0.01), false,
            "loss 1.05 against 1 of version 3, worse by 5.00% (5.00% to 5.00% at 95%); at most 1.00% is allowed"
        ),
        (1.05, .share(-0.1), true, "loss 1.05 against 1 of version 3, worse by 5.00% (5.00% to 5.00% at 95%)"),
        (
            1.05, .absolute(0), false,
            "loss 1.05 against 1 of version 3, worse by 0.05 (0.05 to 0.05 at 95%); an improvement is wanted"
        ),
        (
            0.9, .share(0.25), false,
            "loss 0.9 against 1 of version 3, better by 10.00% (10.00% to 10.00% at 95%); more than 25.00% is wanted"
        ),
        (0.9, .share(0), true, "loss 0.9 against 1 of version 3, better by 10.00% (10.00% to 10.00% at 95%)"),
    ])
    func aCertainChangeIsSaidPlainly(
        _ loss: Double, _ limit: JobManifest.Change, _ passes: Bool, _ message: String
    ) throws {
        let check = try check([Double](repeating: loss, count: 50), limit)
        #expect(check.passed == passes && check.message == message)
    }

    @Test func whatIsUncertainIsCalledSo() throws {
        let wide = (0..<50).map { $0 % 2 == 0 ? 0.2 : 1.7 }
        let better = try check(wide, .share(0))
        #expect(!better.passed && better.message.contains("better by 5.00% (-"), "\(better.message)")
        #expect(better.message.hasSuffix("; it is not certain that it is better"))
        #expect(try check(wide, .share(0.01)).message.hasSuffix("better by more than the 1.00% wanted"))
        #expect(try check(wide, .share(-0.01)).message.hasSuffix("worse by no more than the 1.00% allowed"))
    }
}
