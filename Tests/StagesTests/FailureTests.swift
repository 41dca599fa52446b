import Adapters
import Artifacts
import Foundation
import Glibc
import PipelineSpec
import TensorCore
import TestSupport
import Testing
import Training

@testable import Stages

@Suite struct FailureTests {
    @Test func aFullDiskIsTriedAgainWhicheverFloorSaysIt() {
        let errors: [any Error] = [
            WeightFileError(.noSpace, file: "model.safetensors", "cannot be written"),
            TrainingError(.noSpace, "train.tokens: cannot be written"),
            ArtifactError(.noSpace, "cannot be published"),
            CocoaError(.fileWriteOutOfSpace, userInfo: [NSFilePathErrorKey: "report.json"]),
        ]
        for error in errors {
            let failure = StageError(classifying: error)
            #expect(failure.code == "no_space" && failure.exit == .tryAgain, "\(error)")
            #expect(failure.description.contains("disk is full") && failure.description.contains("ree some space"))
        }
        #expect(StageError(classifying: errors[0]).description.contains("model.safetensors"))
        #expect(StageError(classifying: errors[3]).description.contains("report.json"))
    }

    @Test func whatMayPassIsTriedAgainAndWhatStaysWrongIsNot() throws {
        let infinite = try #require(throws: EncodingError.self) { try JSONEncoder().encode([Double.infinity]) }
        let cases: [(any Error, WorkerExit)] = [
            (WeightFileError(.system, file: "a", "cannot be read"), .tryAgain),
            (WeightFileError(.truncated, file: "a", "ends early"), .invalidInput),
            (TrainingError(.system, "cannot be renamed"), .tryAgain),
            (TrainingError(.nonFiniteLoss, "step 3"), .invalidInput),
            (ArtifactError(.io, "cannot be read"), .tryAgain),
            (ArtifactError(.inputsChanged, "a file changed"), .tryAgain),
            (AdapterError(.shape, "a tensor"), .invalidInput),
            (AdapterError(.verification, "does not read back"), .tryAgain),
            (BadRecord(place: RecordPlace(file: "a.jsonl", line: 2), reason: "not valid JSON"), .invalidInput),
            (infinite, .invalidInput),
            (CocoaError(.fileReadUnknown), .tryAgain),
        ]
        for (error, exit) in cases { #expect(StageError(classifying: error).exit == exit, "\(error)") }
    }

    @Test func aLossWithoutAPerplexityIsAnErrorThatStays() throws {
        guard let tokenizer = try TestData.folder("models/gpt2-shakespeare-trained-here"),
            let text = try TestData.folder("datasets/tinyshakespeare")
        else { return }
        let folder = try TemporaryFolder()
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            try FileManager.default.copyItem(at: tokenizer.appending(path: name), to: folder.url.appending(path: name))
        }
        // Logits of thousands: a loss that is a number, and a perplexity that is none.
        try Data(
            #"{"model_type":"gpt2","n_embd":32,"n_layer":1,"n_head":2,"n_positions":64,"vocab_size":512,"initializer_range":500}"#
                .utf8
        ).write(to: folder.url.appending(path: "config.json"))
        var manifest = JobManifest(name: "loud", base: .random(config: folder.url.path))
        manifest.adapter.method = .full
        manifest.data.train = [text.appending(path: "valid.txt").path]
        manifest.train.duration = .steps(1)
        let line = try StageLine(manifest)
        try line.run("tokenize")
        #expect(try line.run("train").result.failure == nil)
        let evaluated = try line.run("evaluate").result
        #expect(evaluated.failure?.code == "non_finite_loss")
        #expect(evaluated.exitCode == WorkerExit.invalidInput.rawValue)
    }

    /// In a process of its own, with a limit that holds the model and not what a step computes.
    @Test func memoryThatIsRefusedIsAResultAndNotATrap() async throws {
        guard let tokenizer = try TestData.folder("models/gpt2-shakespeare-trained-here"),
            let text = try TestData.folder("datasets/tinyshakespeare")
        else { return }
        let folder = try TemporaryFolder()
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            try FileManager.default.copyItem(at: tokenizer.appending(path: name), to: folder.url.appending(path: name))
        }
        try Data(
            #"{"model_type":"gpt2","n_embd":256,"n_layer":8,"n_head":4,"n_positions":1024,"vocab_size":512}"#.utf8
        ).write(to: folder.url.appending(path: "config.json"))
        let (base, data) = (folder.url.path, text.appending(path: "valid.txt").path)
        await #expect(processExitsWith: .exitCode(75)) { [base = base as String, data = data as String] in
            var manifest = JobManifest(name: "large", base: .random(config: base))
            manifest.adapter.method = .full
            manifest.data.train = [data]
            manifest.data.maxLength = 1024
            manifest.train.duration = .steps(3)
            let line = try StageLine(manifest)
            try line.run("tokenize")
            try Data(line.folder.url.path.utf8).write(to: URL(filePath: "\(base)/place"))
            let pages =
                try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
                .split(separator: " ").first.flatMap { UInt($0) } ?? 0
            let bytes = pages * 4096 + (256 << 20)
            var limit = rlimit(rlim_cur: bytes, rlim_max: bytes)
            setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
            try line.run("train")
        }
        let place = try String(contentsOf: folder.url.appending(path: "place"), encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: place) }
        let result = try #require(try RunDirectory(URL(filePath: "\(place)/train.1")).readResult())
        #expect(result.failure?.code == "out_of_memory" && result.exitCode == 75, "\(result)")
        #expect(result.peakRSSBytes > 0 && result.failure?.message.contains("refused") == true)
    }

    @Test func refusedMemoryIsRecognisedInErrorsOfTheSystem() {
        let error = WeightFileError(.system, file: "a", "cannot be mapped: \(String(cString: strerror(ENOMEM)))")
        let failure = StageError(classifying: error)
        #expect(failure.code == "out_of_memory" && failure.exit == .tryAgain)
    }

    @Test func aMergeThatCannotBeProvedIsNotBegun() throws {
        guard let base = try TestData.folder("models/stories260K"),
            let text = try TestData.folder("datasets/tinyshakespeare")
        else { return }
        var manifest = JobManifest(name: "unproved", base: .folder(base.path))
        manifest.data.train = [text.appending(path: "valid.txt").path]
        (manifest.data.test, manifest.data.validation) = (.fraction(0), .fraction(0))
        manifest.data.maxLength = 64
        manifest.train.duration = .steps(1)
        manifest.merge = JobManifest.Merge()
        let line = try StageLine(manifest)
        try line.run("tokenize")
        try line.run("train")
        let merge = try line.run("merge")
        #expect(merge.result.failure?.code == "no_test_data")
        #expect(try FileManager.default.contentsOfDirectory(atPath: merge.directory.out.path).isEmpty)
    }

    @Test func anEmptyFileHasNoRecords() throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "tonight.jsonl")
        for content in ["", "\n \r\n"] {
            try Data(content.utf8).write(to: file)
            let pinned = try Digest.pin(paths: [file.path])[0]
            var count = 0
            var reading = RecordReading()
            try RecordSource(data: JobManifest.Data(), passageBytes: 9).forEachRecord(in: [pinned], &reading) {
                _ in count += 1
            }
            #expect(count == 0)
        }
    }

    @Test func aByteOrderMarkAndALineOfManyMegabytesAreRead() throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "large.jsonl")
        let long = String(repeating: "word \u{0} ä ", count: 1 << 20)
        let lines = try ["one", long].map { String(data: try JSONEncoder().encode(["text": $0]), encoding: .utf8)! }
        try Data(("\u{FEFF}" + lines.joined(separator: "\r\n")).utf8).write(to: file)
        let pinned = try Digest.pin(paths: [file.path])[0]
        var texts: [String] = []
        var reading = RecordReading()
        try RecordSource(data: JobManifest.Data(), passageBytes: 9).forEachRecord(in: [pinned], &reading) {
            texts.append($0.content.identity)
        }
        #expect(texts == ["one", long])
    }
}

@Suite struct EngineTests {
    private func evaluate(_ text: String) throws -> TextEvaluation? {
        guard let base = try TestData.folder("models/stories260K") else { return nil }
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "a.jsonl")
        try Data(text.utf8).write(to: file)
        return try Engine.run {
            try TextEvaluation(of: LoadedModel(base: base), on: file, format: .auto, columns: [:]) { _ in }
        }
    }

    @Test func aBrokenRecordIsWrongInputAndNamesItsLine() throws {
        let error = try #require(throws: StageError.self) {
            guard try evaluate("{\"text\": \"a\"}\n{\"text\": 3}\n") != nil else {
                throw StageError("bad_record", "skipped: a.jsonl:2")
            }
        }
        #expect(error.code == "bad_record" && error.exit == .invalidInput && error.description.contains("a.jsonl:2"))
    }

    @Test func everyRecordIsAnExample() throws {
        guard let evaluation = try evaluate("{\"text\": \"Once upon\"}\n{\"text\": \"\"}\n{\"text\": \" a time\"}\n")
        else {
            return
        }
        #expect(evaluation.examples.map { $0.tokens > 0 } == [true, false, true])
        #expect(evaluation.tokens == evaluation.examples.reduce(0) { $0 + $1.tokens })
    }

    @Test func anEndTokenBeyondAnyVocabularyIsNone() throws {
        let folder = try TemporaryFolder()
        let base = folder.url.appending(path: "base")
        try FileManager.default.copyItem(at: Fixtures.folder("golden/llama"), to: base)
        try Data(#"{"eos_token_id": [3000000000, 2]}"#.utf8).write(to: base.appending(path: "generation_config.json"))
        #expect(try LoadedModel(base: base).stopIDs == [2])
    }

    @Test func textGoesOnWithinACharacter() {
        #expect("e\u{301}!".continuing("e") == "\u{301}!")
        #expect("a\r\n".continuing("a\r") == "\n")
        #expect("abc".continuing("b") == nil && "abc".continuing("") == "abc" && "a".continuing("ab") == nil)
        #expect("\u{E9}".continuing("e\u{301}") == nil, "equal characters are not the same text")
    }
}
