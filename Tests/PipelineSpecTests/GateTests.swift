import Foundation
import Testing

@testable import PipelineSpec

/// What a manifest may say about suites and gates, beyond what one line can show.
@Suite struct GateTests {
    private let fixture: WorkspaceFixture

    init() throws { fixture = try WorkspaceFixture() }

    private func resolve(_ text: String, settings: String = "") throws -> ResolvedManifest {
        try fixture.resolver(settings: settings).resolve(
            Data("name: x\nbase: models/tiny\ndata: data/a.jsonl\n\(text)\n".utf8))
    }

    @Test func aWordIsTheAliasAndTheRestHasDefaults() throws {
        let gate = try #require(try resolve("gate: {alias: staging, min_examples: 1}").manifest.gate)
        var expected = JobManifest.Gate()
        (expected.alias, expected.minExamples) = ("staging", 1)
        #expect(gate == expected)
        #expect(try resolve("gate: null").manifest.gate == nil)
        // The data of the fixture is too small for the default.
        let error = #expect(throws: InvalidFile.self) { try resolve("gate: production") }
        #expect(error?.findings.first?.message.contains("200") == true)
    }

    @Test(arguments: [
        ("gate: {min_examples: 1, metric: accuracy}", 33, "add it to evaluate.metrics"),
        ("gate: {min_examples: 1, metric: acc}", 33, ""),
        ("task: sequence-regression\ngate: {min_examples: 1, metric: perplexity}", 33, ""),
        ("gate: {min_examples: 1, max_regression: {retention: 1%}}", 42, "name files of general text"),
        ("gate: {min_examples: 1, max_regression: {suite.faq: 1%}}", 42, "evaluate.suites has none"),
        ("gate: {min_examples: 1, max_regression: {suite.*: 1%}}", 42, ""),
        ("gate: {min_examples: 500}", 22, "give data.test more"),
        (
            "evaluate: {suites: {faqs: {data: data/b.jsonl}}}\ngate: {min_examples: 1, max_regression: {suite.faq: 1%}}",
            42,
            "did you mean suite.faqs?"
        ),
    ])
    func aGateThatCannotWorkIsRefusedAtItsPlace(_ text: String, _ column: Int, _ hint: String) throws {
        let error = #expect(throws: InvalidFile.self) { try resolve(text) }
        let finding = try #require(error?.findings.first { $0.code == .badGate })
        let line = 3 + text.split(separator: "\n").count
        #expect(finding.line == line && finding.column == column, "\(finding)")
        #expect(hint.isEmpty || finding.hint?.contains(hint) == true, "\(finding)")
    }

    @Test func allOfItIsReadAndWritten() throws {
        let resolved = try resolve(
            """
            evaluate:
              metrics: [accuracy, mcc]
              retention: [data/b.jsonl]
              suites:
                faq: {data: data/b.jsonl, format: choices, metrics: [acc_norm, acc], limit: 50, max_length: 64}
                tone: {data: [data/b.jsonl, "data/deep/**/*.jsonl"], columns: {prompt: q}, max_new_tokens: 7}
            gate:
              alias: production
              metric: mcc
              min_improvement: -1.5%
              max_regression: {retention: 0.5%, suite.*: 2%, suite.faq: 0%}
              confidence: 90%
              min_examples: 1
              require: finite
              on_fail: hold
            """)
        let manifest = resolved.manifest
        #expect(manifest.evaluate.metrics == [.accuracy, .mcc])
        #expect(manifest.evaluate.suites["faq"]?.metrics == [.accNorm, .acc])
        #expect(manifest.evaluate.suites["faq"]?.limit == 50 && manifest.evaluate.suites["faq"]?.maxLength == 64)
        #expect(
            manifest.evaluate.suites["tone"]?.data
                == ["b.jsonl", "deep/**/*.jsonl"].map { fixture.root + "data/" + $0 })
        let gate = try #require(manifest.gate)
        #expect(gate.minImprovement == .share(-0.015) && gate.metric == .mcc && gate.onFail == .hold)
        #expect(gate.tolerance(forSuite: "faq") == 0 && gate.tolerance(forSuite: "tone") == 0.02)
        #expect(try JSONDecoder().decode(JobManifest.self, from: JSONEncoder().encode(manifest)) == manifest)
        #expect(try fixture.resolver().resolve(ManifestSchema.canonicalJSON(of: manifest)).manifest == manifest)
    }

    @Test func aWorkspaceMayNameTheGeneralTextForAll() throws {
        let alone = try resolve("gate: {min_examples: 1}")
        #expect(alone.warnings.map(\.code) == [.noRetention])
        #expect(alone.warnings.first?.line == 4)
        let settings = "defaults: {evaluate: {retention: data/b.jsonl}}\n"
        let together = try resolve("gate: {min_examples: 1, max_regression: {retention: 3%}}", settings: settings)
        #expect(together.warnings.isEmpty)
        #expect(together.manifest.evaluate.retention == [fixture.root + "data/b.jsonl"])
    }

    @Test func linesAreCountedWhereTheySayEnough() throws {
        try fixture.write(
            "ws/data/answers.jsonl", String(repeating: #"{"prompt":"a","completion":"b"}"# + "\n", count: 300))
        try fixture.write("ws/data/texts.jsonl", String(repeating: #"{"text":"a"}"# + "\n", count: 3))
        func bound(_ file: String, enough: Int, format: JobManifest.DataFormat = .auto) -> Int? {
            var data = JobManifest.Data()
            data.format = format
            return RecordBound(data, [fixture.root + file], enough: enough).count
        }
        #expect(bound("data/answers.jsonl", enough: 400) == 300)
        #expect(bound("data/answers.jsonl", enough: 300) == nil, "there are enough")
        #expect(bound("data/texts.jsonl", enough: 400) == nil, "a text becomes any number of examples")
        #expect(bound("data/answers.jsonl", enough: 400, format: .text) == nil)
        // 5 % of 300 are 15, by chance perhaps 31.
        func findings(_ test: String, _ examples: Int) throws -> [Finding] {
            let text =
                "name: x\nbase: models/tiny\ndata: {train: data/answers.jsonl, test: \(test)}\n"
                + "gate: {min_examples: \(examples)}\n"
            do { return try fixture.resolver().resolve(Data(text.utf8)).warnings } catch let error as InvalidFile {
                return error.findings
            }
        }
        #expect(try findings("5%", 20).map(\.code) == [.noRetention])
        #expect(try findings("5%", 40).contains { $0.code == .badGate && $0.line == 4 && $0.column == 22 })
        #expect(try findings("data/answers.jsonl", 301).contains { $0.code == .badGate })
        #expect(try !findings("data/answers.jsonl", 300).contains { $0.code == .badGate })
        #expect(try findings("0%", 1).contains { $0.code == .badGate && $0.message.contains("0%") })
    }
}
