package import Foundation

extension RunDirectory {
    /// Writes `request.json`, whole or not at all.
    ///
    /// Not synced: it is for one process, and a power cut that takes the file takes the process.
    package func write(_ request: StageRequest) throws {
        try AtomicFile.write(try ProtocolJSON.encode(request), to: self.request, isDurable: false)
    }

    /// Writes `result.json`, whole or not at all: the last act of a stage process.
    ///
    /// Whoever finds a good result after a power cut publishes what is under `out/`, so that is on the disk first.
    package func write(_ result: StageResult) throws {
        if result.exitCode == WorkerExit.done.rawValue, FileManager.default.fileExists(atPath: path(out)) {
            try AtomicFile.syncTree(path(out))
        }
        try AtomicFile.write(try ProtocolJSON.encode(result), to: self.result)
    }

    /// Makes the folder and its `out/` for a new attempt; what is in it later can be found again after a power cut.
    package func make() throws {
        do {
            try FileManager.default.createDirectory(at: out, withIntermediateDirectories: true)
        } catch {
            throw SpecError(.io, "cannot make the folder \(path(out)): \(error.localizedDescription)")
        }
        // `out` itself is synced with the result.
        let job = url.deletingLastPathComponent()
        try AtomicFile.syncFolder(path(job))
        try AtomicFile.syncFolder(path(job.deletingLastPathComponent()))
    }

    /// Makes the folder of checkpoints, which stays after a power cut, as each checkpoint in it will.
    package func makeCheckpointFolder() throws {
        do {
            try FileManager.default.createDirectory(at: checkpoint, withIntermediateDirectories: true)
        } catch {
            throw SpecError(.io, "cannot make the folder \(path(checkpoint)): \(error.localizedDescription)")
        }
        try AtomicFile.syncFolder(path(url))
    }

    private func path(_ url: URL) -> String {
        let path = url.path(percentEncoded: false)
        return path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    }

    /// What the process is to do.
    ///
    /// - Throws: ``SpecError`` when the file is missing, malformed, or of a later schema.
    package func readRequest() throws -> StageRequest {
        let value: StageRequest = try ProtocolJSON.read(request)
        guard value.schema == 1 else { throw ProtocolJSON.laterSchema(request, value.schema) }
        return value
    }

    /// How the process ended, or `nil` as long as it has not said so.
    ///
    /// - Throws: ``SpecError`` when the file is malformed or of a later schema.
    package func readResult() throws -> StageResult? {
        guard FileManager.default.fileExists(atPath: result.path(percentEncoded: false)) else { return nil }
        let value: StageResult = try ProtocolJSON.read(result)
        guard value.schema == 1 else { throw ProtocolJSON.laterSchema(result, value.schema) }
        return value
    }

    /// Appends one line to `progress.jsonl`. Not synced: progress may be lost, a checkpoint may not.
    package func append(_ event: ProgressEvent) throws {
        var line = try ProtocolJSON.encode(event)
        line.append(UInt8(ascii: "\n"))
        try AtomicFile.append(line, to: progress)
    }

    /// Every event so far. See ``ProgressReader`` for reading on as the file grows.
    package func readProgress() throws -> [ProgressEvent] {
        var reader = ProgressReader(self)
        return try reader.next()
    }
}

/// Follows a `progress.jsonl` as it grows.
package struct ProgressReader: Sendable {
    private let url: URL
    private var offset: UInt64 = 0
    /// Complete lines that were no event; a crash in the middle of a write leaves one at most.
    package private(set) var malformedLines = 0

    package init(_ directory: RunDirectory) { url = directory.progress }

    /// The events appended since the last call. A last line without its end is left for the next call; a line
    /// that is no event is counted and passed over. A file that is not there yet has no events.
    package mutating func next() throws -> [ProgressEvent] {
        guard FileManager.default.fileExists(atPath: url.path(percentEncoded: false)) else { return [] }
        let handle: FileHandle
        let data: Data
        do {
            handle = try FileHandle(forReadingFrom: url)
            defer { try? handle.close() }
            if try handle.seekToEnd() < offset { offset = 0 }
            try handle.seek(toOffset: offset)
            data = try handle.readToEnd() ?? Data()
        } catch {
            throw SpecError(.io, "cannot read \(url.path(percentEncoded: false)): \(error.localizedDescription)")
        }
        guard let end = data.lastIndex(of: UInt8(ascii: "\n")) else { return [] }
        offset += UInt64(end - data.startIndex + 1)
        var events: [ProgressEvent] = []
        for line in data[...end].split(separator: UInt8(ascii: "\n")) {
            if let event = try? ProtocolJSON.decode(ProgressEvent.self, from: Data(line)) {
                events.append(event)
            } else {
                malformedLines += 1
            }
        }
        return events
    }
}

/// JSON as the run directory holds it: sorted keys, so that equal values are equal bytes, and losses that are
/// not finite as words.
package enum ProtocolJSON {
    /// `value` on one line.
    package static func encode(_ value: some Encodable) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return try encoder.encode(value)
    }

    /// The value that ``encode(_:)`` wrote.
    package static func decode<Value: Decodable>(_ type: Value.Type, from data: Data) throws -> Value {
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return try decoder.decode(type, from: data)
    }

    static func read<Value: Decodable>(_ url: URL) throws -> Value {
        let path = url.path(percentEncoded: false)
        let data: Data
        do { data = try Data(contentsOf: url) } catch {
            throw SpecError(.io, "cannot read \(path): \(error.localizedDescription)")
        }
        do { return try decode(Value.self, from: data) } catch {
            throw SpecError(.format, "\(path) is not a \(Value.self): \(error)")
        }
    }

    static func laterSchema(_ url: URL, _ schema: Int) -> SpecError {
        SpecError(.format, "\(url.path(percentEncoded: false)) has schema \(schema); this program reads schema 1")
    }
}
