import Artifacts
import Foundation
import PipelineSpec
import TestSupport
import Testing

@testable import Stages

@Suite struct ContainerTests {
    private func texts(_ found: RecordSupport.Found) throws -> [String] {
        try found.contents(RunningText.self).map(\.text)
    }

    @Test func csvHoldsWhatRFC4180Allows() throws {
        let text = "\u{FEFF}id,text\r\n1,\"a, \"\"b\"\"\r\nnext\"\r\n\r\n2,plain \"quote\"\n3,\"\"\n4,ü"
        let found = try RecordSupport.read(text, named: "a.csv")
        #expect(try texts(found) == ["a, \"b\"\r\nnext", "plain \"quote\"", "", "ü"])
        #expect(found.records.map(\.place.line) == [2, 5, 6, 7])
        #expect(found.records.last?.end == Int64(text.utf8.count))
        #expect(found.reading.formats.values.first == "text in CSV, because the first record has \"text\"")
    }

    @Test func brokenRowsNameTheirLineAndSpareTheRest() throws {
        let found = try RecordSupport.read(
            "id,text\n1\n2,\"a\"b,\"x\n3,good\n4,x,y\n5,\"never closed\n", named: "a.csv")
        #expect(try texts(found) == ["good"])
        let bad = found.reading.badRecords.map { String($0.split(separator: "a.csv:").last ?? "") }
        #expect(bad[0] == "2: 1 fields where the header has 2")
        #expect(bad.contains { $0.hasPrefix("3: text behind the closing quotation mark") })
        #expect(bad.contains { $0 == "5: 3 fields where the header has 2" })
        #expect(bad.last == "6: the quotation mark that a field begins with is never closed")
    }

    @Test func csvBytesThatAreNotUTF8AreOneBadRecord() throws {
        let found = try RecordSupport.read(Data("text\n".utf8) + [0xFF, 0x0A] + Data("b\n".utf8), named: "a.csv")
        #expect(try texts(found) == ["b"] && found.reading.badRecords.count == 1)
        #expect(throws: StageError.self) { try RecordSupport.read("text,text\na,b\n", named: "a.csv") }
    }

    @Test func tsvKeepsQuotationMarksThatMeanThemselves() throws {
        let found = try RecordSupport.read(
            "id\ttext\n1\t\" he said\n2\t\"a \"\"b\"\"\"\n3\t\"a\" and \"b\"\n", named: "a.tsv")
        #expect(try texts(found) == ["\" he said", "a \"b\"", "\"a\" and \"b\""])
    }

    @Test(arguments: [
        "[{\"text\": \"a]}\\\"\"},\n {\"text\": \"b\", \"more\": [{\"x\": [1]}]}\n]\n",
        "{\"version\": {\"a\": [1, 2]}, \"tags\": [\"x\"],\n\"data\": [{\"text\": \"a]}\\\"\"},{\"text\": \"b\"}], \"n\": 2}",
        "\u{FEFF}{\"text\": \"a]}\\\"\"}\n{\"text\": \"b\"}\n",
    ])
    func jsonFilesAreListsOrLinesOrHoldAList(text: String) throws {
        #expect(try texts(try RecordSupport.read(text, named: "a.json")) == ["a]}\"", "b"])
        #expect(
            try texts(try RecordSupport.read(RecordSupport.gzip(Data(text.utf8)), named: "a.json.gz")) == [
                "a]}\"", "b",
            ])
    }

    @Test func oneObjectOverManyLinesIsOneRecord() throws {
        let found = try RecordSupport.read(
            "{\n \"messages\": [\n  {\"role\": \"user\", \"content\": \"q\"},\n  {\"role\": \"assistant\", \"content\": \"a\"}\n ]\n}\n",
            named: "a.json")
        #expect(try found.contents(ChatRecord.self).map(\.messages.count) == [2])
    }

    @Test func brokenElementsOfAListAreBadRecords() throws {
        let found = try RecordSupport.read(
            "[{\"text\": \"a\"},\n{\"text\": nope},\n\"x\",\n{\"text\": \"b\"}]", named: "a.json")
        #expect(try texts(found) == ["a", "b"])
        #expect(found.reading.badRecords.count == 2)
        #expect(found.reading.badRecords[0].contains("a.json:2: not valid JSON"))
        #expect(found.reading.badRecords[1].contains("a.json:3: not a JSON object but a string"))
    }

    @Test(arguments: ["[{\"text\": \"a\"}", "[{\"text\": \"a\"}] x", "[{\"text\": \"a\"}}", "nonsense"])
    func jsonThatIsNoneAtAllIsAnError(text: String) {
        #expect(throws: StageError.self) { try RecordSupport.read(text, named: "a.json") }
    }

    @Test func gzipIsKnownByItsBytes() throws {
        let lines = (0..<20000).map { "{\"text\": \"line \($0)\"}\n" }.joined()
        let packed = RecordSupport.gzip(Data(lines.utf8))
        for name in ["a.jsonl.gz", "a.jsonl", "a"] {
            let found = try RecordSupport.read(packed, named: name)
            #expect(found.records.count == 20000 && found.records.last?.end == Int64(lines.utf8.count))
        }
        // Several streams in a row are one text, and zeros behind them are nothing.
        let half = RecordSupport.gzip(Data("{\"text\": \"a\"}\n".utf8))
        let twice = try RecordSupport.read(half + half + Data(count: 512), named: "a.jsonl.gz")
        #expect(twice.records.count == 2)
    }

    @Test func brokenGzipIsAnError() throws {
        let packed = RecordSupport.gzip(Data((0..<9000).map { "{\"text\": \"line \($0)\"}\n" }.joined().utf8))
        var changed = packed
        changed[packed.count - 6] ^= 1
        for (bytes, what) in [(packed.dropLast(20), "not complete"), (changed, "broken gzip")] {
            let error = #expect(throws: StageError.self) { try RecordSupport.read(Data(bytes), named: "a.jsonl.gz") }
            #expect(error?.code == "bad_record" && error?.description.contains(what) == true)
        }
    }

    @Test(arguments: ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt"])
    func nothingBeyondThePinnedLengthIsRead(name: String) throws {
        let whole = [
            "a.jsonl": "{\"text\": \"a\"}\n", "a.json": "[{\"text\": \"a\"}]\n", "a.csv": "text\na\n",
            "a.tsv": "text\na\n",
            "a.txt": "a\n",
        ][name]!
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: name)
        try Data(whole.utf8).write(to: file)
        let pinned = try Digest.pin(paths: [file.path])
        try Data((whole + "\"later { nonsense").utf8).write(to: file)
        var reading = RecordReading()
        let source = RecordSource(data: JobManifest.Data(), passageBytes: 40)
        var count = 0
        try source.forEachRecord(in: pinned, &reading) { _ in count += 1 }
        #expect(count == 1)
        try Data(("x" + whole).utf8.prefix(whole.utf8.count)).write(to: file)
        let error = #expect(throws: StageError.self) { try source.forEachRecord(in: pinned, &reading) { _ in } }
        #expect(["inputs_changed", "bad_record", "unknown_format"].contains(error?.code ?? ""))
    }

    @Test func recordsMayEndAnywhereInABlock() throws {
        // Around the size that is read at a time.
        let long = String(repeating: "word , \"\" ", count: 1 << 17)
        let values = ["a", long, "b", String(long.dropLast(3)), "c"]
        let csv = "text\n" + values.map { "\"\($0.replacing("\"", with: "\"\""))\"\r\n" }.joined()
        #expect(try texts(try RecordSupport.read(csv, named: "a.csv")) == values)
        let json = try JSONEncoder().encode(values.map { ["text": $0] })
        #expect(try texts(try RecordSupport.read(json, named: "a.json")) == values)
        #expect(try texts(try RecordSupport.read(RecordSupport.gzip(json), named: "a.json.gz")) == values)
    }

    @Test func imagesHaveTheLabelOfTheirFolderOrOfTheIDXFile() throws {
        let folder = try TemporaryFolder()
        let cats = folder.url.appending(path: "cat")
        try FileManager.default.createDirectory(at: cats, withIntermediateDirectories: true)
        try Data([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 1]).write(to: cats.appending(path: "1.png"))
        let image = try #require(
            try RecordSupport.read(cats.appending(path: "1.png")).contents(LabelledImage.self).first)
        guard case .file(let file) = image.source else {
            Issue.record("\(image.source)")
            return
        }
        #expect(image.label == .name("cat") && file.path.hasSuffix("cat/1.png"))

        let images = folder.url.appending(path: "t-images-idx3-ubyte")
        let labels = folder.url.appending(path: "t-labels-idx1-ubyte")
        try Data([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4]).write(to: images)
        try Data([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]).write(to: labels)
        let found = try RecordSupport.read(images).contents(LabelledImage.self)
        #expect(found.map(\.label) == [.index(7), .index(9)])
        #expect(found.map(\.source) == [Data([1, 2]), Data([3, 4])].map { .grey($0, width: 2) })
        #expect(try RecordSupport.read(labels).records.isEmpty)
        try Data([0, 0, 8, 1, 0, 0, 0, 1, 7]).write(to: labels)
        #expect(throws: StageError.self) { try RecordSupport.read(images) }
    }
}
