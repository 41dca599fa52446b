import Artifacts
import Foundation
import PipelineSpec
import TestSupport
import Testing

@testable import Stages

@Suite struct RecordTests {
    private func records(
        _ text: String, named name: String, format: JobManifest.DataFormat = .auto, columns: [String: String] = [:]
    ) throws -> RecordSupport.Found {
        var data = JobManifest.Data()
        data.format = format
        data.columns = columns
        return try RecordSupport.read(text, named: name, data)
    }

    @Test func completionsAreLearnedAndPromptsAreNot() throws {
        let found = try records(
            "{\"question\": \"Wer bist du? ä\", \"completion\": \" Ich.\"}\r\n\n", named: "a.jsonl",
            columns: ["prompt": "question"])
        let content = try #require(try found.contents(PromptedText.self).first)
        #expect(content.prompt == "Wer bist du? ä" && content.completion == " Ich.")
        #expect(found.records.count == 1 && found.records[0].place.line == 1)
    }

    @Test(arguments: [
        ("{\"prompt\": \"a\", \"completion\": 3}", "completion\" is not a string"),
        ("{\"prompt\": \"a\", \"completion\": \"\"}", "completion is empty"),
        ("{\"prompt\": \"a\"}", "\"completion\" is missing"),
        ("[1]", "not a JSON object"),
        ("{\"prompt\": ", "not valid JSON"),
    ])
    func brokenRecordsNameTheirLine(line: String, reason: String) throws {
        let found = try records("{\"prompt\": \"a\", \"completion\": \"b\"}\n\(line)\n", named: "a.jsonl")
        let bad = try #require(found.reading.badRecords.first)
        #expect(found.records.count == 1 && bad.contains("a.jsonl:2: ") && bad.contains(reason))
    }

    @Test func passagesAreWholeParagraphsAndStayWhenTheFileGrows() throws {
        let paragraphs = (0..<12).map { "Paragraph \($0) of some length.\nSecond line.\n\n" }
        let short = try records(paragraphs.prefix(6).joined(), named: "a.txt").records.map(\.content.identity)
        let long = try records(paragraphs.joined(), named: "a.txt").records.map(\.content.identity)
        #expect(long.joined() == paragraphs.joined())
        #expect(short.count > 2 && Array(long.prefix(short.count - 1)) == Array(short.dropLast()))
    }

    @Test func linesMayEndAnywhereInABlock() throws {
        // Around the size that is read at a time, twice, and an end without a line break.
        let lengths = [0, (1 << 20) - 2, 0, 1 << 20, 3, (1 << 21) + 5, (1 << 20) - 11, 1, 7]
        let lines = lengths.enumerated().map { Data(repeating: UInt8(65 + $0), count: $1) }
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "a.txt")
        try Data(lines.joined(separator: Data("\n".utf8))).write(to: file)
        var found: [Data] = []
        try LineReader(file: Digest.pin(paths: [file.path])[0]).forEachLine { line, number, _ in
            found.append(Data(line))
            #expect(number == found.count)
        }
        #expect(found == lines)
    }

    @Test func anUnknownFirstRecordSaysWhatIsReadable() throws {
        #expect(throws: StageError.self) { try records("{\"frage\": []}\n", named: "a.jsonl") }
    }

    @Test func aNamedFormatDependsOnTheEndingOnlyWhereItMust() throws {
        let line = "{\"text\": \"a\"}\n"
        #expect(try records(line, named: "a.jsonl", format: .text).records.map(\.content.identity) == ["a"])
        #expect(try records(line, named: "a.txt", format: .text).records.map(\.content.identity) == [line])
        #expect(
            try records(line, named: "a.txt").records.map(\.content.identity) == ["a"],
            "auto looks at the first record")
        let pair = "{\"prompt\": \"a\", \"completion\": \"b\"}\n"
        #expect(try records(pair, named: "a.txt", format: .completion).records.map(\.content.identity) == ["ab"])
        for name in ["a.jsonl", "a.txt"] { #expect(try records("", named: name).records.isEmpty) }
    }

    @Test func aBrokenGenerationConfigIsAnError() throws {
        let folder = try TemporaryFolder()
        let base = folder.url.appending(path: "base")
        try FileManager.default.copyItem(at: Fixtures.folder("golden/gpt2"), to: base)
        #expect(throws: Never.self) { try LoadedModel(base: base) }
        try Data("{".utf8).write(to: base.appending(path: "generation_config.json"))
        #expect(throws: StageError.self) { try LoadedModel(base: base) }
    }

    @Test func splitsFollowTheContentAndNoneIsEmpty() {
        let data = JobManifest.Data()
        let hashes = (0..<2000).map { SplitAssignment.hash("record \($0)") }
        let assignment = SplitAssignment(data, hashes: hashes)
        let counts = Dictionary(grouping: hashes) { assignment.split(of: $0) }.mapValues(\.count)
        for split in [SplitName.test, .validation] { #expect((60...140).contains(counts[split] ?? 0)) }
        let fewer = SplitAssignment(data, hashes: Array(hashes.prefix(1500)))
        #expect(hashes.prefix(1500).allSatisfy { fewer.split(of: $0) == assignment.split(of: $0) })

        let three = Array(hashes.prefix(3))
        let tiny = SplitAssignment(data, hashes: three)
        #expect(Set(three.map { tiny.split(of: $0) }) == [.train, .validation, .test])
        let one = SplitAssignment(data, hashes: [hashes[0]])
        #expect(one.split(of: hashes[0]) == .train)
    }
}
