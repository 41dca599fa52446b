import Foundation
import TestSupport
import Testing

@testable import PipelineSpec

@Suite struct RunDirectoryTests {
    let folder: TemporaryFolder
    let run: RunDirectory

    init() throws {
        folder = try TemporaryFolder()
        run = RunDirectory(folder.url)
    }

    private var request: StageRequest {
        var manifest = JobManifest(name: "x", base: .random(config: "/c"))
        manifest.train.learningRate = 1e-5
        manifest.train.warmup = .fraction(0.07)
        return StageRequest(
            job: "J", name: "x", stage: "train", uses: "train", attempt: 1, attemptID: "A", workspace: "/w/é",
            manifest: manifest, inputs: ["tokenize": "/o"],
            data: ["train": [PinnedFile(path: "/d", length: 9, digest: "sha256:00")]], base: [], inputDigests: [:],
            cacheKey: "k", manifestDigest: "m", resumeFrom: nil, threads: 2)
    }

    @Test func requestsAndResultsRoundTrip() throws {
        #expect(try run.readResult() == nil)
        try run.write(request)
        #expect(try run.readRequest() == request)
        let bytes = try Data(contentsOf: run.request)
        try run.write(request)
        #expect(try Data(contentsOf: run.request) == bytes)
        let json = try JSONDecoder().decode(JSONValue.self, from: bytes)
        #expect(json["manifest"]?["train"]?["warmup"] == "7%")
        let result = StageResult(
            attemptID: "A", exitCode: 65, failure: StageFailure(code: "inputs_changed", message: "m"),
            metrics: ["loss": .infinity, "perplexity": 1.5],
            publications: [Publication(collection: "adapters", name: "x", folder: "a")])
        try run.write(result)
        #expect(try run.readResult() == result)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: folder.url.path).sorted() == [
                "request.json", "result.json",
            ])
    }

    @Test func brokenFilesAreErrors() throws {
        #expect(throws: SpecError.self) { try run.readRequest() }
        try Data("{\"schema\":1".utf8).write(to: run.result)
        #expect(throws: SpecError.self) { try run.readResult() }
        var later = StageResult(attemptID: "A", exitCode: 0)
        later.schema = 2
        try run.write(later)
        let error = #expect(throws: SpecError.self) { try run.readResult() }
        #expect(error?.description.contains("schema 2") == true)
    }

    @Test func progressIsReadWhileItGrows() throws {
        var reader = ProgressReader(run)
        #expect(try reader.next() == [])
        let first = ProgressEvent(time: 1, fraction: 0.25, step: 1, steps: 4, loss: .nan)
        let second = ProgressEvent(time: 2, fraction: 0.5, message: "halfway\n")
        try run.append(first)
        let read = try reader.next()
        #expect(read.count == 1 && read[0].loss?.isNaN == true)
        var line = try ProtocolJSON.encode(second)
        try AtomicFile.append(line.prefix(9), to: run.progress)
        #expect(try reader.next() == [])
        line.removeFirst(9)
        try AtomicFile.append(line + Data("\n{half a li".utf8), to: run.progress)
        #expect(try reader.next() == [second])
        try AtomicFile.append(Data("\n\n".utf8), to: run.progress)
        try run.append(second)
        #expect(try reader.next() == [second])
        #expect(reader.malformedLines == 1)
        #expect(try run.readProgress().count == 3)
    }

    @Test func failedWritesLeaveNothing() throws {
        // A folder in the way of the rename.
        try FileManager.default.createDirectory(at: run.result, withIntermediateDirectories: true)
        try Data().write(to: run.result.appending(path: "x"))
        let error = #expect(throws: SpecError.self) { try run.write(StageResult(attemptID: "A", exitCode: 0)) }
        #expect(error?.systemError == EISDIR)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["result.json"])
        let missing = RunDirectory(folder.url.appending(path: "none"))
        #expect(throws: SpecError.self) { try missing.append(ProgressEvent(time: 0, fraction: 0)) }
    }
}
