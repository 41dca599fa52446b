package import Foundation
import Synchronization

/// The weights of a Hugging Face folder, in one file or in shards, as one set of tensors.
///
/// `<stem>.safetensors` if it is there, else the shards that `<stem>.safetensors.index.json` lists. A shard is opened
/// at the first touch of one of its tensors and stays open; ``verify()`` opens all.
package final class CheckpointFiles: Sendable {
    /// The names of the tensors, sorted.
    package let names: [String]
    /// The safetensors files, sorted by name.
    package let files: [URL]

    private let index: URL?
    /// The position in `files` of the file that holds a tensor.
    private let placement: [String: Int]
    private let opened: Mutex<[Int: SafetensorsFile]>

    /// Opens a checkpoint folder, or a single safetensors file.
    ///
    /// - Parameter stem: what the file names begin with: `model` for models, `adapter_model` for PEFT adapters.
    /// - Throws: ``WeightFileError``: `notFound` for a folder without weights and for a shard that is missing,
    ///   `unsupported` for one that only has a pickle, `malformed` for an index that cannot be read.
    package init(_ url: URL, stem: String = "model") throws {
        let whole = url.appending(path: "\(stem).safetensors")
        let index = url.appending(path: "\(stem).safetensors.index.json")
        if url.pathExtension == "safetensors" || Self.exists(whole) {
            let file = try SafetensorsFile(url.pathExtension == "safetensors" ? url : whole)
            names = file.names
            files = [url.pathExtension == "safetensors" ? url : whole]
            self.index = nil
            placement = Dictionary(uniqueKeysWithValues: file.names.map { ($0, 0) })
            opened = Mutex([0: file])
        } else if Self.exists(index) {
            let shards = try ShardIndex(index)
            files = shards.files.map { url.appending(path: $0) }
            for (file, name) in zip(files, shards.files) where !Self.exists(file) {
                throw WeightFileError(
                    .notFound, file: file.path(percentEncoded: false), tensor: shards.names(in: name).first,
                    "the shard that should hold it is missing; \(index.lastPathComponent) lists it")
            }
            let positions = Dictionary(uniqueKeysWithValues: zip(shards.files, shards.files.indices))
            placement = shards.weightMap.compactMapValues { positions[$0] }
            names = placement.keys.sorted()
            self.index = index
            opened = Mutex([:])
        } else {
            throw Self.nothingFound(in: url, stem: stem)
        }
    }

    /// Whether there is a tensor of that name.
    package func contains(_ name: String) -> Bool { placement[name] != nil }

    /// The type and shape of a tensor; opens its shard.
    package func entry(_ name: String) throws -> WeightEntry { try file(of: name).entry(name) }

    /// The elements of a tensor as stored, little-endian and of any alignment; valid while this object lives.
    package func bytes(of name: String) throws -> UnsafeRawBufferPointer { try file(of: name).bytes(of: name) }

    /// The elements of an F32 tensor that lie aligned, without a copy, else `nil`; valid while this object lives.
    package func directFloats(of name: String) throws -> UnsafeBufferPointer<Float>? {
        try file(of: name).directFloats(of: name)
    }

    /// Copies an F32, F16, BF16 or F64 tensor to `destination`; throws as ``SafetensorsFile/readFloats(_:into:)``.
    package func readFloats(_ name: String, into destination: UnsafeMutableBufferPointer<Float>) throws {
        try file(of: name).readFloats(name, into: destination)
    }

    /// The elements of an F32, F16, BF16 or F64 tensor, converted.
    package func floats(of name: String) throws -> [Float] { try file(of: name).floats(of: name) }

    /// Opens and checks every shard, and that index and shards list the same tensors.
    ///
    /// - Throws: ``WeightFileError``, `inconsistentShards` where they differ.
    package func verify() throws {
        for position in files.indices { _ = try open(position) }
    }

    /// The file that holds a tensor.
    ///
    /// - Throws: ``WeightFileError`` with code `noSuchTensor`, or what opening the shard throws.
    package func file(of name: String) throws -> SafetensorsFile {
        guard let position = placement[name] else {
            throw WeightFileError(
                .noSuchTensor, file: (index ?? files[0]).path(percentEncoded: false), tensor: name,
                "is not among the \(names.count) tensors of the checkpoint")
        }
        return try open(position)
    }

    private func open(_ position: Int) throws -> SafetensorsFile {
        try opened.withLock { opened in
            if let file = opened[position] { return file }
            let file = try SafetensorsFile(files[position])
            try checkAgainstIndex(file, position)
            opened[position] = file
            return file
        }
    }

    private func checkAgainstIndex(_ file: SafetensorsFile, _ position: Int) throws {
        guard let index else { return }
        if let absent = placement.filter({ $0.value == position && !file.contains($0.key) }).keys.min() {
            throw WeightFileError(
                .inconsistentShards, file: file.path, tensor: absent,
                "is not in the file, but \(index.lastPathComponent) says so; get the whole checkpoint again")
        }
        if let unlisted = file.names.first(where: { placement[$0] != position }) {
            let listed = placement[unlisted].map { "places it in \(files[$0].lastPathComponent)" } ?? "does not list it"
            throw WeightFileError(
                .inconsistentShards, file: file.path, tensor: unlisted,
                "is in the file, but \(index.lastPathComponent) \(listed); get the whole checkpoint again")
        }
    }

    private static func exists(_ url: URL) -> Bool {
        FileManager.default.fileExists(atPath: url.path(percentEncoded: false))
    }

    /// Says what a folder has instead of safetensors.
    private static func nothingFound(in folder: URL, stem: String) -> WeightFileError {
        let path = folder.path(percentEncoded: false)
        guard exists(folder) else { return WeightFileError(.notFound, file: path, "there is no such folder") }
        let pickles = ["\(stem).bin", "pytorch_model.bin", "pytorch_model.bin.index.json"]
        if let pickle = pickles.first(where: { exists(folder.appending(path: $0)) }) {
            return WeightFileError(
                .unsupported, file: folder.appending(path: pickle).path(percentEncoded: false),
                "is a Python pickle, which can run any code when read, and is not read here. Convert it where PyTorch "
                    + "is installed, for a model with AutoModelForCausalLM.from_pretrained(FOLDER)"
                    + ".save_pretrained(NEW_FOLDER), or take a copy that has \(stem).safetensors")
        }
        return WeightFileError(
            .notFound, file: path, "holds neither \(stem).safetensors nor \(stem).safetensors.index.json")
    }
}
