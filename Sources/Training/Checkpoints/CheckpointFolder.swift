import Foundation
import TensorCore

/// The checkpoints of a run: `step-N/` for the state after N optimizer steps.
///
/// Each holds `state.json`, `trained.safetensors`, `optimizer.safetensors` and, after a validation, `best.safetensors`.
/// It is written under a hidden name, flushed and renamed, so a name without content can only come from a damaged disk
/// or a broken copy; sizes and checksums in `state.json` find that too, and such a checkpoint is passed over.
struct CheckpointFolder {
    /// A checkpoint read back.
    struct Content {
        let url: URL
        let state: TrainingState
        let trained: SafetensorsFile
        let optimizer: SafetensorsFile
        let best: SafetensorsFile?
    }

    /// What `state.json` holds.
    private struct Manifest: Codable {
        struct File: Codable, Equatable {
            let byteCount: Int
            let checksum: String

            init(_ file: MappedFile) {
                byteCount = file.bytes.count
                checksum = Checksum.of(file).hexadecimal
            }
        }

        let state: TrainingState
        let files: [String: File]
    }

    static let firstMoment = "first_moment."
    static let secondMoment = "second_moment."
    private static let stateFile = "state.json"
    private static let trainedFile = "trained.safetensors"
    private static let optimizerFile = "optimizer.safetensors"
    private static let bestFile = "best.safetensors"

    let url: URL

    /// The complete checkpoint with the highest step; `nil` when there is none.
    ///
    /// - Parameter ignored: told why, for each that is passed over.
    func latest(ignored: (String) throws -> Void) throws -> Content? {
        for step in try steps().sorted(by: >) {
            let folder = checkpoint(step)
            do {
                let content = try read(folder)
                guard content.state.step == step else {
                    throw TrainingError(.malformed, "it holds step \(content.state.step)")
                }
                return content
            } catch let error where Self.isDamage(error) {
                try ignored("\(folder.path(percentEncoded: false)): the checkpoint is damaged and ignored: \(error)")
            }
        }
        return nil
    }

    /// Whether the checkpoint itself is at fault. What the system refuses for now must not send a run back to its
    /// start.
    private static func isDamage(_ error: any Error) -> Bool {
        if let error = error as? TrainingError { return error.code != .system }
        if let error = error as? WeightFileError { return error.code != .system }
        return error is DecodingError
    }

    /// Writes the state after `state.step` steps, and then removes every other checkpoint.
    ///
    /// - Parameter assembled: called when all is on the disk, before it gets its name.
    func write(
        _ state: TrainingState, trained: [WeightSource], optimizer: [WeightSource], best: [WeightSource]?,
        assembled: () throws -> Void = {}
    ) throws {
        let files = FileManager.default
        try files.createDirectory(at: url, withIntermediateDirectories: true)
        try removeLeftovers()
        let temporary = url.appending(path: ".step-\(state.step).\(UUID().uuidString).tmp")
        try files.createDirectory(at: temporary, withIntermediateDirectories: false)
        do {
            try fill(temporary, state, trained: trained, optimizer: optimizer, best: best)
            try assembled()
        } catch {
            // A disk that is full must not stay full for what is of no use.
            try? files.removeItem(at: temporary)
            throw error
        }

        let destination = checkpoint(state.step)
        if files.fileExists(atPath: destination.path(percentEncoded: false)) {
            // A damaged one of the same step; a folder is only replaced by rename when it is empty.
            try files.removeItem(at: destination)
        }
        try OutputFile.rename(temporary, to: destination)
        for other in try steps() where other != state.step { try files.removeItem(at: checkpoint(other)) }
    }

    /// Writes the files of a checkpoint, on the disk when it returns.
    private func fill(
        _ temporary: URL, _ state: TrainingState, trained: [WeightSource], optimizer: [WeightSource],
        best: [WeightSource]?
    ) throws {
        var manifest: [String: Manifest.File] = [:]
        func put(_ tensors: [WeightSource], _ name: String) throws {
            let file = temporary.appending(path: name)
            try SafetensorsWriter.write(tensors, to: file)
            manifest[name] = Manifest.File(try MappedFile(file))
        }
        try put(trained, Self.trainedFile)
        try put(optimizer, Self.optimizerFile)
        if let best { try put(best, Self.bestFile) }

        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let text = try encoder.encode(Manifest(state: state, files: manifest))
        let output = try OutputFile(temporary.appending(path: Self.stateFile))
        try text.withUnsafeBytes { try output.write($0) }
        try output.flush()
        try OutputFile.flushFolder(temporary)
    }

    private func checkpoint(_ step: Int) -> URL { url.appending(path: "step-\(step)") }

    private func names() throws -> [String] {
        let path = url.path(percentEncoded: false)
        guard FileManager.default.fileExists(atPath: path) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: path)
    }

    /// The steps whose checkpoints are there, complete or not.
    private func steps() throws -> [Int] {
        try names().compactMap { name in
            guard name.hasPrefix("step-"), let step = Int(name.dropFirst(5)), "step-\(step)" == name else { return nil }
            return step
        }
    }

    /// What a killed process left half written.
    private func removeLeftovers() throws {
        for name in try names() where name.hasPrefix(".step-") && name.hasSuffix(".tmp") {
            try FileManager.default.removeItem(at: url.appending(path: name))
        }
    }

    private func read(_ folder: URL) throws -> Content {
        let file = try MappedFile(folder.appending(path: Self.stateFile))
        let text = withExtendedLifetime(file) { Data(file.bytes) }
        let manifest = try JSONDecoder().decode(Manifest.self, from: text)
        guard manifest.state.version == TrainingState.currentVersion else {
            throw TrainingError(.unsupported, "checkpoint version \(manifest.state.version)")
        }
        for (name, expected) in manifest.files {
            guard Manifest.File(try MappedFile(folder.appending(path: name))) == expected else {
                throw TrainingError(.malformed, "\(name) is not what was written")
            }
        }
        func tensors(_ name: String) throws -> SafetensorsFile {
            guard manifest.files[name] != nil else { throw TrainingError(.malformed, "\(name) is not listed") }
            return try SafetensorsFile(folder.appending(path: name))
        }
        return Content(
            url: folder, state: manifest.state, trained: try tensors(Self.trainedFile),
            optimizer: try tensors(Self.optimizerFile),
            best: manifest.state.best == nil ? nil : try tensors(Self.bestFile))
    }
}
