import Foundation
import PipelineSpec
import TestSupport
import Testing
import Training

@testable import Stages

@Suite(.serialized) struct TokenizeStageTests {
    /// `count` different records with prompts of different lengths.
    private func lines(_ range: Range<Int>) -> String {
        range.map { number in
            let story = String(repeating: "Once upon a time there was a dog. ", count: number % 9 + 1)
            return #"{"prompt": "Story \#(number): ", "completion": "\#(story)It had \#(number) bones."}"# + "\n"
        }.joined()
    }

    private func manifest(_ files: [URL], base: URL) -> JobManifest {
        var manifest = JobManifest(name: "grown", base: .folder(base.path))
        manifest.data.train = files.map(\.path)
        manifest.data.maxLength = 96
        return manifest
    }

    private func report(_ directory: RunDirectory) throws -> TokenizeStage.Report {
        try JSONDecoder().decode(
            TokenizeStage.Report.self, from: Data(contentsOf: directory.out.appending(path: "report.json")))
    }

    private func expectEqual(_ one: RunDirectory, _ other: RunDirectory, _ comment: String) throws {
        for name in SplitName.allCases.map(\.tokensFile) + [RecordIndex.fileName, "report.json"] {
            let (a, b) = (
                try Data(contentsOf: one.out.appending(path: name)), try Data(contentsOf: other.out.appending(path: name))
            )
            #expect(a == b, "\(comment): \(name)")
        }
    }

    @Test func theNumberOfThreadsDoesNotMatter() throws {
        guard let base = try TestData.folder("models/stories260K") else { return }
        let folder = try TemporaryFolder()
        let records = folder.url.appending(path: "a.jsonl"), text = folder.url.appending(path: "b.txt")
        try Data(lines(0..<700).utf8).write(to: records)
        try Data((0..<300).map { "Paragraph \($0) of a long text.\nIt has two lines.\n\n" }.joined().utf8).write(to: text)
        let line = try StageLine(manifest([records, text], base: base))
        let alone = try line.run("tokenize", threads: 1)
        #expect(alone.result.failure == nil)
        for threads in [2, 3, 8] {
            let together = try line.run("tokenize", threads: threads)
            #expect(together.result.failure == nil)
            try expectEqual(alone.directory, together.directory, "\(threads) threads")
        }
        let report = try report(alone.directory)
        #expect(report.reading.records > 700 && report.kept + report.dropped == report.reading.records)
        #expect(report.dropped == report.reasons["overlength"] && report.dropped > 0)
        #expect(report.splits.values.reduce(0) { $0 + $1.sequences } > 500)
        #expect(report.trainedShare > 0.3 && report.trainedShare < 1)
    }

    @Test func onlyWhatIsNewIsEncodedAndTheResultIsTheSame() throws {
        guard let base = try TestData.folder("models/stories260K") else { return }
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "b.jsonl"), earlier = folder.url.appending(path: "a.jsonl")
        // Without a line's end: what follows makes another record of the last line.
        try Data((lines(0..<400) + #"{"prompt": "last", "completion": " of all"}"#).utf8).write(to: file)
        var first = try StageLine(manifest([file], base: base))
        let old = try first.run("tokenize")
        #expect(old.result.metrics["reused_records"] == 0)

        let handle = try FileHandle(forWritingTo: file)
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(("\n" + lines(400..<450)).utf8))
        try handle.close()
        try Data(lines(1000..<1040).utf8).write(to: earlier)
        first = try StageLine(manifest([earlier, file], base: base))
        let scratch = try first.run("tokenize")
        let grown = try first.run("tokenize", previous: old.directory.out)
        #expect(scratch.result.metrics["reused_records"] == 0)
        #expect(grown.result.metrics["reused_records"] == 400)
        try expectEqual(scratch.directory, grown.directory, "grown")
        // What was made with the help of an earlier one helps as well.
        let again = try first.run("tokenize", previous: grown.directory.out)
        #expect(again.result.metrics["reused_records"] == 491)
        try expectEqual(scratch.directory, again.directory, "again")
        // Other shares of the splits use the same sequences.
        first.manifest.data.validation = .fraction(0.3)
        let shares = try first.run("tokenize"), reused = try first.run("tokenize", previous: grown.directory.out)
        #expect(reused.result.metrics["reused_records"] == 491)
        try expectEqual(shares.directory, reused.directory, "shares")
    }

    @Test func whatIsNotTheSameIsEncodedAgain() throws {
        guard let base = try TestData.folder("models/stories260K") else { return }
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "a.jsonl")
        try Data(lines(0..<100).utf8).write(to: file)
        let line = try StageLine(manifest([file], base: base))
        let old = try line.run("tokenize").directory

        line.manifest.data.maxLength = 64
        let shorter = try line.run("tokenize", previous: old.out)
        #expect(shorter.result.failure == nil && shorter.result.metrics["reused_records"] == 0)
        line.manifest.data.maxLength = 96

        // A damaged output is found out, and is not used.
        let damaged = folder.url.appending(path: "damaged")
        try FileManager.default.copyItem(at: old.out, to: damaged)
        for name in ["train.tokens", RecordIndex.fileName] {
            let target = damaged.appending(path: name)
            var bytes = try Data(contentsOf: target)
            bytes[100] ^= 1
            try bytes.write(to: target)
            let result = try line.run("tokenize", previous: damaged)
            #expect(result.result.failure == nil && result.result.metrics["reused_records"] == 0, "\(name)")
            bytes[100] ^= 1
            try bytes.write(to: target)
        }
        #expect(try line.run("tokenize", previous: damaged).result.metrics["reused_records"] == 100)

        // The beginning of the file was changed and it grew.
        var text = lines(0..<120)
        text.replace("Story 50:", with: "Story 51:", maxReplacements: 1)
        try Data(text.utf8).write(to: file)
        let changed = try line.run("tokenize", previous: old.out), scratch = try line.run("tokenize")
        #expect(changed.result.metrics["reused_records"] == 0)
        try expectEqual(changed.directory, scratch.directory, "changed")
    }

    @Test func theReportCountsRepeatsAndOverlap() throws {
        guard let base = try TestData.folder("models/stories260K") else { return }
        let folder = try TemporaryFolder()
        let train = folder.url.appending(path: "train.jsonl"), test = folder.url.appending(path: "test.jsonl")
        try Data((lines(0..<20) + lines(3..<6) + "broken\n" + lines(3..<4)).utf8).write(to: train)
        try Data((lines(18..<25)).utf8).write(to: test)
        var manifest = manifest([train], base: base)
        manifest.data.validation = .fraction(0)
        manifest.data.test = .files([test.path])
        manifest.data.maxBadRecords = 1
        let result = try StageLine(manifest).run("tokenize")
        #expect(result.result.failure == nil)
        let report = try report(result.directory)
        #expect(report.duplicates["train"] == 4 && report.duplicates["test"] == 0)
        #expect(report.overlap == ["test": 2] && report.comparedOneIn == 1)
        #expect(report.reading.badRecords.count == 1)
        #expect(report.reading.badRecords.first?.contains("train.jsonl:24") == true)
        #expect(report.lengths.bars.reduce(0) { $0 + $1.count } == report.reading.records)
    }

    @Test func aSplitThatWouldBeEmptyGetsTheRecordWithTheLowestHash() throws {
        var data = JobManifest.Data()
        data.validation = .fraction(0.01)
        data.test = .fraction(0.01)
        let plain = SplitAssignment(data, hashes: [])
        for count in [0, 1, 2, 3, 4, 30, 400] {
            let hashes = (0..<count).map { SplitAssignment.hash("record \($0 % 350) of \(count)") }
            var extremes = SplitExtremes(plain)
            for hash in hashes { extremes.insert(hash) }
            #expect(extremes.hashes.count <= 5)
            #expect(SplitAssignment(data, hashes: extremes.hashes) == SplitAssignment(data, hashes: hashes), "\(count)")
        }
    }

    @Test func manyHashesAreSampled() {
        var exact = RecordHashes(), bounded = RecordHashes(capacity: 1000)
        for number in 0..<20_000 {
            let hash = SplitAssignment.hash("\(number % 15_000)")
            exact.insert(hash, in: .train)
            bounded.insert(hash, in: .train)
            if number % 10 == 0 {
                exact.insert(hash, in: .test)
                bounded.insert(hash, in: .test)
            }
        }
        let all = exact.summary(), some = bounded.summary()
        #expect(all.duplicates["train"] == 5000 && all.overlap["test"] == 2000 && exact.sampledOneIn == 1)
        #expect(bounded.sampledOneIn == 32)
        #expect(abs((some.duplicates["train"] ?? 0) - 5000) < 1500, "\(some)")
        #expect(abs((some.overlap["test"] ?? 0) - 2000) < 900, "\(some)")
    }

    @Test func lengthsAreCountedInClasses() {
        var histogram = LengthHistogram()
        for length in [13, 100, 5, 16, 17, 96, 97] { histogram.add(length) }
        #expect(histogram.bars.map(\.upTo) == [6, 8, 12, 16, 24, 32, 48, 64, 96, 128])
        #expect(histogram.bars.map(\.count) == [1, 0, 0, 2, 1, 0, 0, 0, 1, 2])
    }
}
