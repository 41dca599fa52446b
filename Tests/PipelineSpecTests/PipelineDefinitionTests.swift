import Foundation
import TestSupport
import Testing

@testable import PipelineSpec

@Suite struct PipelineDefinitionTests {
    private func parse(_ stages: String, head: String = "version: 1\nname: p\nstages:\n") throws -> PipelineDefinition {
        try PipelineDefinition(Data((head + stages).utf8), name: "p", kinds: WorkspaceFixture.kinds)
    }

    @Test func readsTheExamples() throws {
        for (name, text) in ExamplePipelines.all {
            let pipeline = try PipelineDefinition(Data(text.utf8), name: name, kinds: WorkspaceFixture.kinds)
            #expect(pipeline.topologicalOrder.map(\.name) == pipeline.stages.map(\.name))
            let own = TestData.packageRoot.appending(path: "Pipelines/\(name).yaml")
            #expect(try String(contentsOf: own, encoding: .utf8) == text)
        }
    }

    @Test func readsEveryKey() throws {
        let pipeline = try parse(
            """
              package: {uses: package, needs: [t, m]}
              m: {uses: merge, needs: [t], when: job.merge}
              t: {uses: train, needs: tok, retries: 3, timeout: 90m}
              tok: {uses: tokenize}
            """)
        #expect(pipeline.stage("t")?.retries == 3)
        #expect(pipeline.stage("t")?.timeoutSeconds == 5400)
        #expect(pipeline.stage("m")?.when == "merge")
        #expect(pipeline.topologicalOrder.map(\.name) == ["tok", "t", "m", "package"])
        #expect(pipeline.transitiveNeeds(of: "package").map(\.name) == ["tok", "t", "m"])
        #expect(pipeline.transitiveNeeds(of: "tok").isEmpty)
        #expect(pipeline.dependants(of: "t").map(\.name) == ["m", "package"])
        #expect(try JSONDecoder().decode(PipelineDefinition.self, from: JSONEncoder().encode(pipeline)) == pipeline)
    }

    @Test func conditionsReadTheManifest() throws {
        var manifest = JobManifest(name: "x", base: .folder("/b"))
        var stage = PipelineDefinition.Stage(name: "m", uses: "merge")
        #expect(stage.runs(for: manifest))
        let cases: [(String, Bool)] = [
            ("merge", false), ("train.early_stopping", true), ("run.hold", false), ("data.packing", true),
            ("adapter.dropout", false), ("run.after", false), ("adapter", true), ("run.idempotency_key", false),
            ("gate", false),
        ]
        for (key, expected) in cases {
            stage.when = key
            #expect(stage.runs(for: manifest) == expected, "\(key)")
        }
        manifest.merge = JobManifest.Merge()
        stage.when = "merge"
        #expect(stage.runs(for: manifest))
    }

    @Test(
        arguments: [
            ("  a: {uses: trian}", "unknown_stage", 4, 13, "did you mean train?"),
            ("  a: {uses: tokenize, needs: [b]}", "unknown_stage", 4, 31, "one of a"),
            ("  a: {uses: tokenize, when: merge}", "invalid_value", 4, 29, "write when: job.merge"),
            ("  a: {uses: tokenize, when: job.mereg}", "unknown_key", 4, 29, "did you mean merge?"),
            ("  a: {uses: tokenize, when: job.lora_r}", "unknown_key", 4, 29, "did you mean adapter.rank?"),
            ("  a: {uses: tokenize, nedes: []}", "unknown_key", 4, 23, "did you mean needs?"),
            ("  a: {uses: tokenize, retries: -1}", "out_of_range", 4, 32, nil),
            ("  a: {uses: tokenize, timeout: 6}", "wrong_type", 4, 32, "write the unit: 6s for seconds"),
            ("  a: {}", "missing_key", 4, 3, "one of evaluate, merge, package, tokenize, train"),
            ("  a: tokenize", "wrong_type", 4, 6, "write {uses: KIND}"),
            ("  \"a b\": {uses: tokenize}", "invalid_value", 4, 3, nil),
            ("  []", "wrong_type", 4, 3, nil),
            ("  a: {uses: train}", "missing_requirement", 4, 3, "add a stage with uses: tokenize to its needs"),
            ("  a: {uses: tokenize, needs: [a]}", "cycle", 4, 3, "break the circle of needs"),
            (
                "  t: {uses: tokenize}\n  a: {uses: tokenize, needs: [c]}\n  b: {uses: tokenize, needs: [a]}\n"
                    + "  c: {uses: tokenize, needs: [b]}", "cycle", 5, 3, "break the circle of needs"
            ),
        ] as [(String, String, Int, Int, String?)])
    func refuses(_ stages: String, _ code: String, _ line: Int, _ column: Int, _ hint: String?) throws {
        let error = try #require(throws: InvalidFile.self) { try parse(stages) }
        #expect(error.findings.map(Place.init) == [Place(code, line, column)], "\(error)")
        #expect(error.findings[0].hint == hint)
    }

    @Test func refusesWhatSurroundsTheStages() throws {
        let cases: [(String, [Place])] = [
            ("name: q\nstages: {a: {uses: tokenize}}", [Place("invalid_value", 1, 7)]),
            ("version: 2\nname: p\nstages: {a: {uses: tokenize}}", [Place("out_of_range", 1, 10)]),
            ("stages: {a: {uses: tokenize}}", [Place("missing_key", 1, 1)]),
            ("name: p", [Place("missing_key", 1, 1)]),
            ("name: p\nsteps: {}\nstages: {a: {uses: tokenize}}", [Place("unknown_key", 2, 1)]),
            ("[]", [Place("wrong_type", 1, 1)]),
            ("name: &a p", [Place("anchor", 1, 7)]),
        ]
        for (text, places) in cases {
            let error = try #require(throws: InvalidFile.self) { try parse("", head: text) }
            #expect(error.findings.map(Place.init) == places)
        }
        let many = (0...100).map { "  s\($0): {uses: tokenize}" }.joined(separator: "\n")
        let error = try #require(throws: InvalidFile.self) { try parse(many) }
        #expect(error.findings.map(\.code) == [.tooManyNodes])
    }

    @Test func aCycleIsNamedWhole() throws {
        let error = try #require(throws: InvalidFile.self) {
            try parse("  a: {uses: tokenize, needs: [b]}\n  b: {uses: tokenize, needs: [a]}")
        }
        #expect(error.findings.map(\.message) == ["stages.a needs itself: a -> b -> a"])
    }
}
