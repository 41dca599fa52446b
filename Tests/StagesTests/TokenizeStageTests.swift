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
                try Data(contentsOf: one.out.appending(path: name)),
                try Data(contentsOf: other.out.appending(path: name))
            )
            #expect(a == b, "\(comment): \(name)")
        }
    }

    @Test func theNumberOfThreadsDoesNotMatter() throws {
        guard let base = try TestData.folder("models/stories260K") else { return }
        let folder = try TemporaryFolder()
        let records = folder.url.appending(path: "a.jsonl"), text = folder.url.appending(path: "b.txt")
        try Data(lines(0..<700).utf8).write(to: records)
        try Data((0..<300).map { "Paragraph \($0) of a long text.\nIt has two lines.\n\n" }.joined().utf8).write(
            to: text)
        let line = try StageLine(manifest([records, text], base: base))
        defer { withExtendedLifetime(line) {} }
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
        #expect(report.examples.count == 3 && report.tokensPerEpoch == report.splits["train"]?.tokens)
        #expect(alone.result.metrics["planned_steps"] == 3 * (alone.result.metrics["steps_per_epoch"] ?? 0))
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
        // Its folder goes with it.
        let before = first
        defer { withExtendedLifetime((before, first)) {} }

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
        defer { withExtendedLifetime(line) {} }
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
        let line = try StageLine(manifest)
        defer { withExtendedLifetime(line) {} }
        let result = try line.run("tokenize")
        #expect(result.result.failure == nil)
        let report = try report(result.directory)
        #expect(report.duplicates["train"] == 4 && report.duplicates["test"] == 0)
        #expect(report.overlap == ["test": 2] && report.comparedOneIn == 1)
        #expect(report.reading.badRecords.count == 1)
        #expect(report.reading.badRecords.first?.contains("train.jsonl:24") == true)
        #expect(report.lengths.bars.reduce(0) { $0 + $1.count } == report.reading.records)
    }

    /// Broken records count in the order in which they stand, whether reading or encoding finds them and on any thread.
    @Test(arguments: [1, 3]) func brokenRecordsAreCountedInTheirOrder(threads: Int) throws {
        guard let base = try TestData.folder("models/stories260K") else { return }
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "a.jsonl")
        let good = (0..<300).map {
            #"{"text": "A story about dog \#($0).", "label": "\#($0 % 2 == 0 ? "even" : "odd")"}"#
        }
        // Line 151 has a class that nobody named, which the encoder finds; lines 51 and 251 are no records.
        var lines = good
        lines[50] = "{"
        lines[150] = #"{"text": "A cat.", "label": "cat"}"#
        lines[250] = #"{"text": 3, "label": "odd"}"#
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: file)
        var manifest = manifest([file], base: base)
        manifest.data.labels = ["even", "odd"]
        for (tolerated, line) in [(0, 51), (1, 151), (2, 251), (3, nil)] as [(Int, Int?)] {
            manifest.data.maxBadRecords = tolerated
            let stages = try StageLine(manifest)
            defer { withExtendedLifetime(stages) {} }
            let run = try stages.run("tokenize", threads: threads)
            guard let line else {
                #expect(run.result.failure == nil)
                let report = try report(run.directory)
                #expect(report.reading.badCount == 3 && report.reading.badRecords.count == 3)
                #expect(report.reading.badRecords[1].contains("a.jsonl:151: the label \"cat\" is none of"))
                #expect(report.reading.records == 298 && report.kept == 297 && report.reasons["bad"] == 1)
                continue
            }
            #expect(run.result.failure?.code == "bad_record" && run.result.exitCode == 65)
            let message = run.result.failure?.message ?? ""
            #expect(message.contains("a.jsonl:\(line): ") && message.contains("allows \(tolerated)"), "\(message)")
        }
    }

    @Test func classesAreKeptWithTheSequencesAndFoundAgain() throws {
        guard let base = try TestData.folder("models/stories260K") else { return }
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "a.csv")
        func table(_ range: Range<Int>) -> String {
            range.map { "A story about number \($0).,\(["red", "green", "blue"][$0 % 3])\n" }.joined()
        }
        try Data(("text,label\n" + table(0..<200)).utf8).write(to: file)
        let line = try StageLine(manifest([file], base: base))
        defer { withExtendedLifetime(line) {} }
        let old = try line.run("tokenize")
        #expect(old.result.failure == nil)
        let dataset = try TokenDataset(old.directory.out.appending(path: SplitName.train.tokensFile))
        let classes = (0..<dataset.count).map { dataset.label($0) }
        #expect(dataset.hasLabels && Set(classes) == [.class(0), .class(1), .class(2)], "blue, green, red")
        // More of the same classes: what was there is taken over with its classes.
        try Data(("text,label\n" + table(0..<230)).utf8).write(to: file)
        let grown = try line.run("tokenize", previous: old.directory.out), scratch = try line.run("tokenize")
        #expect(grown.result.metrics["reused_records"] == 200)
        try expectEqual(grown.directory, scratch.directory, "grown")
        // A new class changes the indices of the others.
        try Data(("text,label\n" + table(0..<230) + "Another one.,amber\n").utf8).write(to: file)
        let wider = try line.run("tokenize", previous: old.directory.out)
        #expect(wider.result.failure == nil && wider.result.metrics["reused_records"] == 0)
    }

    @Test func anotherTemplateOrTokenizerIsAnotherArtifact() throws {
        guard let source = try TestData.folder("models/stories260K") else { return }
        let folder = try TemporaryFolder()
        let base = folder.url.appending(path: "base")
        try FileManager.default.createDirectory(at: base, withIntermediateDirectories: true)
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            try FileManager.default.copyItem(at: source.appending(path: name), to: base.appending(path: name))
        }
        func template(_ user: String) throws {
            let text =
                "{% for m in messages %}{% if m.role == 'user' %}\(user): {{ m.content }}\n{% else %}"
                + "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
            try Data(text.utf8).write(to: base.appending(path: "chat_template.jinja"))
        }
        try template("Child")
        let file = folder.url.appending(path: "a.jsonl")
        let chats = (0..<50).map {
            #"{"messages": [{"role": "user", "content": "Tell \#($0)."}, {"role": "assistant", "content": "Once."}]}"#
        }
        try Data(chats.joined(separator: "\n").utf8).write(to: file)
        let line = try StageLine(manifest([file], base: base))
        defer { withExtendedLifetime(line) {} }
        let old = try line.run("tokenize")
        #expect(old.result.failure == nil, "\(old.result)")
        let shown = try #require(try report(old.directory).examples.first)
        #expect(shown.pieces.map(\.trained) == [false, true], "\(shown)")
        #expect(
            shown.pieces.last?.text.hasPrefix("Once.") == true && shown.pieces.first?.text.contains("Child") == true)
        func reused() throws -> Double? {
            let run = try line.run("tokenize", previous: old.directory.out)
            #expect(run.result.failure == nil)
            return run.result.metrics["reused_records"]
        }
        #expect(try reused() == 50)
        try template("Kid")
        #expect(try reused() == 0)
        try template("Child")
        let tokenizer = base.appending(path: "tokenizer.json")
        let whole = try Data(contentsOf: tokenizer)
        try (whole + Data("\n".utf8)).write(to: tokenizer)
        #expect(try reused() == 0)
        try whole.write(to: tokenizer)
        line.manifest.data.trainOn = ["user", "assistant"]
        #expect(try reused() == 0)
        line.manifest.data.trainOn = ["assistant"]
        line.manifest.data.chatTemplate = .chatml
        #expect(try reused() == 0)
        line.manifest.data.chatTemplate = .model
        #expect(try reused() == 50)
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
