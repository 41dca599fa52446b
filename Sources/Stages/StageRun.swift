package import Foundation
package import PipelineSpec

/// What a running stage sees of its attempt: the request, its folders, and ways to report.
package final class StageRun {
    package let request: StageRequest
    package let directory: RunDirectory
    /// Numbers for `result.json`.
    package var metrics: [String: Double] = [:]
    /// What the starter is to publish.
    package var publications: [Publication] = []
    /// Where the stage has ended before its work was done; `nil` when it did it.
    package var cut: StageCut?

    /// When this process took up the stage, in seconds on `CLOCK_BOOTTIME`.
    let began = TrainingLimit.bootSeconds

    private let progress: FileHandle
    private let encoder: JSONEncoder

    init(request: StageRequest, directory: RunDirectory) throws {
        self.request = request
        self.directory = directory
        let fileManager = FileManager.default
        try fileManager.createDirectory(at: directory.out, withIntermediateDirectories: true)
        try directory.makeCheckpointFolder()
        if !fileManager.fileExists(atPath: directory.progress.path) {
            _ = fileManager.createFile(atPath: directory.progress.path, contents: nil)
        }
        progress = try FileHandle(forWritingTo: directory.progress)
        try progress.seekToEnd()
        encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    }

    /// Every value of the job.
    package var manifest: JobManifest { request.manifest }

    /// Where the product goes.
    package var output: URL { directory.out }

    /// The folder of the base: weights, configuration and tokenizer.
    package var base: URL { URL(filePath: manifest.base.path, directoryHint: .isDirectory) }

    /// Whether someone asked this process to stop. A stage that can continue later checks it between steps, within
    /// ``keepingCheckpoints(_:)``.
    package var isStopRequested: Bool { StopSignals.shared.isRequested }

    /// Runs what ends by itself when ``isStopRequested``, with a checkpoint. Outside, a stage that is asked to stop is
    /// ended wherever it is: what it has done so far it does again.
    func keepingCheckpoints<T>(_ body: () throws -> T) throws -> T {
        if isStopRequested { throw StageError.stopped }
        return try StopSignals.shared.watched(body)
    }

    /// A number of tokens that are computed at once, as it is after memory ran out.
    func halved(_ tokens: Int) -> Int { max(1, tokens >> (request.memoryHalvings ?? 0)) }

    /// The output folder of the stage of kind `kind` that this one builds on.
    func input(_ kind: String) throws -> URL {
        guard let path = request.inputs[kind] else {
            throw StageError("missing_input", "stage \(request.stage) needs a \(kind) stage before it in the pipeline")
        }
        return URL(filePath: path, directoryHint: .isDirectory)
    }

    /// Appends a line to `progress.jsonl`.
    func report(_ event: ProgressEvent) {
        guard let line = try? encoder.encode(event) else { return }
        // Progress is for watching: a full disk must fail the product, not this line.
        try? progress.write(contentsOf: line + Data("\n".utf8))
    }

    /// Reports a share of the stage, with a sentence.
    func report(_ fraction: Double, _ message: String) {
        report(ProgressEvent(time: Date().timeIntervalSince1970, fraction: fraction, message: message))
        log(message)
    }

    /// Writes a line for people to the attempt's log.
    func log(_ message: String) {
        FileHandle.standardError.write(Data("\(message)\n".utf8))
    }

    /// Writes a JSON file under the output folder.
    func write(_ value: some Encodable, to name: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try encoder.encode(value).write(to: output.appending(path: name), options: .atomic)
    }

    /// Reads a JSON file that an earlier stage wrote.
    func read<Value: Decodable>(_ type: Value.Type, from file: URL) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(contentsOf: file))
        } catch {
            throw StageError(
                "damaged_input", "\(file.path) cannot be read (\(error)); run the stage that made it again")
        }
    }
}
