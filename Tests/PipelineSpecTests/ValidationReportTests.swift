import Foundation
import Testing

@testable import PipelineSpec

@Suite struct ValidationReportTests {
    private static let source = """
        name: support-tone
        base: models/tiny
        data: data/*.jsonl
        adapter:
          rank: "eight"
          targets: [q_proj, v_proj]
        train:
          steps: 500
          learning_rte: 2e-4
        lora_alpha: 16
        """

    @Test func peopleReadThis() throws {
        let findings = try WorkspaceFixture.shared.get().findings(Self.source)
        let text = ValidationReport(findings).text(file: "nightly.yaml", source: Data(Self.source.utf8))
        #expect(
            text == """
                nightly.yaml was not accepted (3 problems). Nothing was queued. Fix and drop it again.
                  line 5, col 9    adapter.rank: expected a whole number 1…1024, got "eight"
                  line 9, col 3    train.learning_rte: unknown key; did you mean learning_rate?
                  line 10, col 1   lora_alpha: unknown key; did you mean adapter.alpha?

                   5 |   rank: "eight"
                     |         ^^^^^^^
                   9 |   learning_rte: 2e-4
                     |   ^^^^^^^^^^^^
                  10 | lora_alpha: 16
                     | ^^^^^^^^^^

                """)
    }

    /// The place of a mistake inside a quoted value that goes on in the next line is counted on from its first.
    @Test func columnsBeyondTheLine() {
        let line = "cron: \"6" + String(repeating: "O", count: 73)
        for column in [1, 71, 72, 73, 81, 82, 105, 106, 107, 300] {
            let finding = Finding(.invalidValue, at: SourceMark(line: 1, column: column), "x")
            let text = ValidationReport([finding]).text(file: "f", source: Data("\(line)\nOOO\"\n".utf8))
            let lines = text.split(separator: "\n")
            #expect(lines.last?.last == "^" && lines.last!.count <= lines[lines.count - 2].count + 1, "\(text)")
        }
    }

    @Test func programsReadThis() throws {
        let findings = try WorkspaceFixture.shared.get().findings(WorkspaceFixture.manifest("adapter: {rank: 0}"))
        let report = ValidationReport(findings)
        #expect(
            report.json.text() == """
                {"findings":[{"code":"out_of_range","column":17,"hint":null,"line":4,\
                "message":"adapter.rank: expected a whole number 1…1024, got 0","pointer":"/adapter/rank",\
                "severity":"error"}],"schema":1,"valid":false}
                """)
        #expect(ValidationReport([]).json.text() == #"{"findings":[],"schema":1,"valid":true}"#)
        #expect(ValidationReport([Finding(.overlappingSplits, severity: .warning, "x")]).isValid)
    }

    @Test func atMostTwentyAreShown() throws {
        let keys = (0..<41).map { "unknown_\($0)_key: 1\n" }.joined()
        let source = WorkspaceFixture.manifest(keys)
        let findings = try WorkspaceFixture.shared.get().findings(source)
        #expect(findings.count == 41)
        let report = ValidationReport(findings.shuffled())
        #expect(report.findings.count == 20)
        #expect(report.findings.map(\.line) == (4..<24).map { $0 })
        #expect(report.json["omitted"] == 21)
        let text = report.text(file: "x.yaml", source: Data(source.utf8))
        #expect(text.hasPrefix("x.yaml was not accepted (41 problems)."))
        #expect(text.contains("\n  and 21 more\n"))
    }

    @Test func hostileFilesMakeHarmlessReports() throws {
        let long = String(repeating: "é", count: 300)
        let source = Data("name: \(long) \u{1B}[31m\u{202E}x\n".utf8)
        let findings = refusal(source)
        let text = ValidationReport(findings).text(file: "a\u{1B}b\n.yaml", source: source)
        #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || !PrintableText.isUnsafe($0) })
        #expect(text.split(separator: "\n").allSatisfy { $0.count < 210 })
        let marks = text.split(separator: "\n").suffix(2).map { Array($0) }
        let caret = try #require(marks.last?.firstIndex(of: "^"))
        #expect(marks.first?[caret] == "\u{FFFD}")
    }

    @Test func unreadableSourcesAreNotQuoted() {
        let binary = Data([0x00, 0xFF, 0xFE])
        let text = ValidationReport(refusal(binary)).text(file: "x.yaml", source: binary)
        #expect(
            text == """
                x.yaml was not accepted (1 problem). Nothing was queued. Fix and drop it again.
                  line 1, col 1   the file is binary, not text

                """)
        let empty = ValidationReport(refusal(Data())).text(file: "x.yaml", source: Data())
        #expect(empty.hasSuffix("\n  file   the file is empty\n"))
    }

    @Test func findingsAreCutAndCleaned() {
        let finding = Finding(.syntax, String(repeating: "x", count: 500), hint: "a\u{7}b\n")
        #expect(finding.message.count == 200)
        #expect(finding.message.hasSuffix("…"))
        #expect(finding.hint == "a\\u{7}b\\n")
        #expect(PrintableText.line("abc", limit: 3) == "abc")
        #expect(PrintableText.line("abcd", limit: 3) == "ab…")
    }

    @Test func aWarningIsNoProblem() {
        let report = ValidationReport([
            Finding(.unknownKey, severity: .warning, "data.exclude: no file matches"),
            Finding(.unknownKey, "train.los: unknown key", hint: "did you mean loss?"),
        ])
        #expect(
            report.text(file: "x.yaml", source: Data()).hasPrefix("x.yaml was not accepted (1 problem and 1 warning)."))
        #expect(report.summary == "train.los: unknown key; did you mean loss?")
        #expect(ValidationReport([]).summary.isEmpty)
    }
}
