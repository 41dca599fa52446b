import Foundation
import Testing

@testable import PipelineSpec

@Suite struct SweepTests {
    private func fixture() throws -> WorkspaceFixture {
        try WorkspaceFixture.shared.get()
    }

    @Test func aMatrixMakesATrialOfEachCombination() throws {
        let resolved = try fixture().resolve(
            WorkspaceFixture.manifest(
                """
                train: {epochs: 2}
                matrix:
                  adapter.rank: [4, 8, 16]
                  train.learning_rate: [1e-4, 3e-4]
                  then: train

                """))
        let sweep = try #require(resolved.sweep)
        #expect(sweep.keys == ["adapter.rank", "train.learning_rate"] && sweep.trainsWinner)
        #expect(sweep.trials.map(\.manifest.adapter.rank) == [4, 4, 8, 8, 16, 16])
        #expect(sweep.trials.map(\.manifest.train.learningRate) == [1e-4, 3e-4, 1e-4, 3e-4, 1e-4, 3e-4])
        #expect(sweep.trials.allSatisfy { $0.manifest.train.duration == .epochs(2) })
        #expect(
            sweep.trials.allSatisfy { $0.origins["adapter.rank"] == .manifest && $0.origins["train.seed"] == .default })
        #expect(resolved.manifest == sweep.trials[0].manifest)
        #expect(sweep.stages == ["tokenize", "train"], "\(sweep.stages)")
        #expect(try fixture().resolve(WorkspaceFixture.manifest()).sweep == nil)
        // A key that excludes another one takes its place; a value alone is a list of one.
        let steps = try fixture().resolve(
            WorkspaceFixture.manifest("train: {epochs: 2}\nmatrix: {train.steps: [10, 20], adapter.alpha: 32}\n")
        ).sweep
        #expect(steps?.trials.map(\.manifest.train.duration) == [.steps(10), .steps(20)])
        #expect(steps?.trainsWinner == false && steps?.trials.allSatisfy { $0.manifest.adapter.alpha == 32 } == true)
        // Values that are lists themselves.
        let targets = try fixture().resolve(
            WorkspaceFixture.manifest("matrix: {adapter.targets: [all-linear, [q_proj, v_proj]]}\n")
        ).sweep
        #expect(targets?.trials.map(\.manifest.adapter.targets) == [.allLinear, .suffixes(["q_proj", "v_proj"])])
    }

    @Test(arguments: [
        ("matrix: [1]\n", "wrong_type", 4), ("matrix: {}\n", "missing_key", 4),
        ("matrix: {then: train}\n", "missing_key", 4),
        ("matrix: {adapter.rank: []}\n", "invalid_value", 4), ("matrix: {adapter.rank: null}\n", "invalid_value", 4),
        ("matrix: {adapter.ranks: [1]}\n", "unknown_key", 4), ("matrix: {adapter: {rank: [1]}}\n", "unknown_key", 4),
        ("matrix: {data.max_length: [64]}\n", "invalid_value", 4), ("matrix: {run.threads: [1]}\n", "invalid_value", 4),
        ("matrix: {evaluate.metrics: [loss]}\n", "invalid_value", 4),
        ("matrix: {adapter.rank: [4], then: gate}\n", "invalid_value", 4),
        ("matrix:\n  adapter.rank:\n    - 4\n    - eight\n", "wrong_type", 7),
        ("adapter: {rank: 8}\nmatrix: {adapter.rank: [4, 8]}\n", "conflict", 5),
        ("matrix: {adapter.rank: [4, 4]}\n", "invalid_value", 4),
        ("matrix: {train.steps: [1], train.epochs: [1]}\n", "conflict", 4),
    ])
    func aWrongMatrixIsRefusedWithItsPlace(text: String, code: String, line: Int) throws {
        let findings = try fixture().findings(WorkspaceFixture.manifest(text))
        #expect(
            findings.contains { $0.code.rawValue == code && $0.line == line && $0.severity == .error }, "\(findings)")
        // What is wrong in every trial is told once.
        #expect(Set(findings.map(\.message)).count == findings.count, "\(findings)")
    }

    @Test func trialsAreRankedByAMetricOfTheEvaluation() throws {
        func sweep(_ more: String) throws -> ManifestSweep? {
            try fixture().resolve(WorkspaceFixture.manifest(more)).sweep
        }
        let plain = try #require(try sweep("matrix: {adapter.rank: [1, 2]}\n"))
        #expect(plain.metric == .loss && plain.scoring == nil)
        #expect(try sweep("matrix: {adapter.rank: [1, 2], metric: loss}\n")?.scoring == nil)
        let other = try #require(
            try sweep("evaluate: {metrics: [rougeL]}\nmatrix: {adapter.rank: [1, 2], metric: rougeL}\n"))
        #expect(other.metric == .rougeL && other.keys == ["adapter.rank"] && other.trials.count == 2)
        #expect(other.scoring == PipelineDefinition.Stage(name: "score", uses: "score", needs: ["train"]))
        #expect(other.stages == ["tokenize", "train"])
        // What is always measured need not be asked for.
        #expect(try sweep("matrix: {adapter.rank: [1, 2], metric: perplexity}\n")?.metric == .perplexity)
        // A pipeline's own stage keeps its name.
        var resolver = try fixture().resolver()
        resolver.pipeline = { name in
            PipelineDefinition(
                name: name,
                stages: [
                    .init(name: "score", uses: "tokenize"), .init(name: "train", uses: "train", needs: ["score"]),
                ])
        }
        let text = WorkspaceFixture.manifest("matrix: {adapter.rank: [1, 2], metric: perplexity}\n")
        let renamed = try #require(try resolver.resolve(Data(text.utf8)).sweep)
        #expect(renamed.scoring?.name == "score-trial" && renamed.stages == ["score", "train"])
    }

    @Test(arguments: [
        ("matrix: {adapter.rank: [1, 2], metric: rouge_l}\n", "invalid_value", "did you mean rougeL?"),
        ("matrix: {adapter.rank: [1, 2], metric: [loss]}\n", "invalid_value", "one of loss, "),
        ("matrix: {adapter.rank: [1, 2], metric: bleu}\n", "invalid_value", "add it there"),
        ("matrix: {adapter.rank: [1, 2], metric: acc}\n", "unsupported", "leave it out"),
        (
            "task: sequence-classification\nmatrix: {adapter.rank: [1, 2], metric: bleu}\n", "unsupported",
            "leave it out"
        ),
        (
            "task: sequence-regression\nmatrix: {adapter.rank: [1, 2], metric: perplexity}\n", "unsupported",
            "leave it out"
        ),
        ("matrix: {metric: loss}\n", "missing_key", "adapter.rank"),
    ])
    func aMetricThatCannotRankIsRefused(text: String, code: String, hint: String) throws {
        let findings = try fixture().findings(WorkspaceFixture.manifest(text))
        let found = findings.filter { $0.severity == .error }
        #expect(found.map(\.code.rawValue) == [code] && found[0].line != nil, "\(findings)")
        #expect(found[0].hint?.contains(hint) == true, "\(found)")
    }

    @Test func thereAreNotTooMany() throws {
        func matrix(_ a: Int, _ b: Int) -> String {
            let ranks = (1...a).map { "\($0)" }.joined(separator: ", ")
            let seeds = (1...b).map { "\($0)" }.joined(separator: ", ")
            return "matrix: {adapter.rank: [\(ranks)], train.seed: [\(seeds)]}\n"
        }
        #expect(try fixture().resolve(WorkspaceFixture.manifest(matrix(10, 10))).sweep?.trials.count == 100)
        let findings = try fixture().findings(WorkspaceFixture.manifest(matrix(101, 400)))
        #expect(findings.map(\.code) == [.outOfRange] && findings[0].message.contains("101 × 400"), "\(findings)")
    }

    @Test func whatCannotBeRankedIsRefused() throws {
        let text =
            "name: a\nbase: models/tiny\ndata: {train: data/*.jsonl, validation: 0%}\nmatrix: {adapter.rank: [1, 2]}\n"
        #expect(try fixture().findings(text).map(\.code) == [.conflict])
        let scheduled = WorkspaceFixture.manifest("schedule: \"30 2 * * *\"\nmatrix: {adapter.rank: [1, 2]}\n")
        guard case .failure(let refused) = try fixture().resolver().readSchedule(Data(scheduled.utf8)).manifest else {
            Issue.record("a schedule with a matrix was accepted")
            return
        }
        #expect(refused.findings.contains { $0.message.contains("a schedule makes one job at a time") })
    }

    @Test func aSampleIsAShare() throws {
        func sample(_ text: String) throws -> Double? {
            try fixture().resolve("name: a\nbase: models/tiny\ndata: {train: data/*.jsonl, sample: \(text)}\n").manifest
                .data.sample
        }
        #expect(try sample("10%") == 0.1 && sample("null") == nil)
        for wrong in ["0%", "100%", "0.1", "ten"] { #expect(throws: InvalidFile.self) { try sample(wrong) } }
    }
}
