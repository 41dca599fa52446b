package import Foundation
package import Layers
import TensorCore

/// Reading and writing adapter folders as PEFT has them, strictly: PEFT itself loads an adapter with missing tensors or
/// a wrong prefix, warns, and computes with zeros.
package enum PEFTFolder {
    /// What every tensor's key begins with; the module's path in the model follows.
    package static let keyPrefix = "base_model.model."

    package static let configurationName = "adapter_config.json"
    private static let weightsName = "adapter_model.safetensors"

    /// Writes `adapter_config.json` and `adapter_model.safetensors` (F32), then reads both back and compares.
    ///
    /// The tensors are written first, the configuration last: a folder without one is not an adapter.
    ///
    /// - Parameters:
    ///   - folder: made when it is not there.
    ///   - base: where the base is, as a path or a hub name.
    /// - Throws: ``WeightFileError`` for what the disk refuses; ``AdapterError`` with code `verification` when what is
    ///   on the disk is not what was to be written.
    package static func write(
        _ adapter: AttachedAdapter, to folder: URL, baseModelNameOrPath base: String?
    ) throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try SafetensorsWriter.write(
            adapter.storedTensors.map { stored in
                WeightSource(name: stored.name, shape: stored.parameter.tensor.shape) {
                    stored.parameter.tensor.detached()
                }
            },
            metadata: ["format": "pt"], to: folder.appending(path: weightsName))
        let configuration = PEFTConfiguration(
            method: adapter.method, targets: adapter.targets, baseModelNameOrPath: base, taskType: adapter.taskType,
            modulesToSave: adapter.modulesToSave)
        let text = configuration.text(for: adapter.match, in: adapter.model, dialect: adapter.dialect)
        try Data(text.utf8).write(to: folder.appending(path: configurationName), options: .atomic)
        try verify(adapter, in: folder)
    }

    /// Reads an adapter and attaches it.
    ///
    /// The configuration decides which modules have which tensors; a tensor that is missing, left over or of another
    /// shape is an error that names it, and so is an option that is not built. F16 and BF16 tensors are converted.
    ///
    /// - Throws: ``AdapterError`` or ``WeightFileError``; the model is then as it was.
    package static func read(_ folder: URL, attachingTo model: any AdaptableModel) throws -> AttachedAdapter {
        let configuration = try configuration(in: folder)
        if let type = configuration.taskType, type != model.task.peftTaskType {
            throw AdapterError(
                .unsupported,
                "\(folder.appending(path: configurationName).path(percentEncoded: false)): task_type \(type) does not fit "
                    + "the model, which is for \(model.task)")
        }
        let files = try weights(in: folder)
        return try AttachedAdapter(
            configuration.method, targets: configuration.targets, to: model,
            modulesToSave: configuration.modulesToSave, taskType: .some(configuration.taskType), seed: 0,
            dialect: dialect(of: files, model)
        ) { stored, optional in
            for (parameter, values) in try tensors(for: stored, optional: optional, in: files, folder) {
                parameter.assign(values)
            }
        }
    }

    /// Gives a new adapter the values of a folder, which must be one of the same shape.
    ///
    /// - Throws: ``AdapterError`` or ``WeightFileError`` that names a tensor that is missing, left over or of another shape.
    package static func fill(
        _ stored: [StoredParameter], optional: [StoredParameter], from folder: URL
    ) throws {
        let files = try weights(in: folder)
        for (parameter, values) in try tensors(for: stored, optional: optional, in: files, folder) {
            parameter.assign(values)
        }
    }

    /// The release of transformers whose names the tensors have; the newest where it makes no difference.
    private static func dialect(of files: CheckpointFiles, _ model: any AdaptableModel) -> NameDialect {
        let former = Set(
            model.projections.filter { $0.path(in: .transformers5) != $0.formerPath }.map(\.formerPath))
        guard !former.isEmpty else { return .transformers5 }
        // A path of a parameter's module may be one in both: its keys tell nothing.
        let current = Set(model.projections.compactMap { $0.path(in: .transformers5) ?? $0.stack?.module })
        let hasFormer = files.names.contains { name in
            var path = name.dropFirst(keyPrefix.count)
            while let dot = path.lastIndex(of: ".") {
                path = path[..<dot]
                if current.contains(String(path)) { return false }
                if former.contains(String(path)) { return true }
            }
            return false
        }
        return hasFormer ? .transformers4 : .transformers5
    }

    /// How many classes the head in an adapter folder has; `nil` when it holds none.
    ///
    /// It is needed to make the model that the adapter goes on, whose base may come without a head.
    package static func labelCount(in folder: URL) throws -> Int? {
        let files = try weights(in: folder)
        let heads = ["classifier.out_proj.weight", "classifier.weight", "score.weight"].map { keyPrefix + $0 }
        return try heads.first { files.contains($0) }.map { try files.entry($0).shape.first ?? 0 }
    }

    /// Reads the configuration alone.
    package static func configuration(in folder: URL) throws -> PEFTConfiguration {
        let file = folder.appending(path: configurationName)
        let path = file.path(percentEncoded: false)
        guard let data = FileManager.default.contents(atPath: path) else {
            throw AdapterError(.incomplete, "\(path) is missing or unreadable; an adapter folder needs it")
        }
        return try PEFTConfiguration(data, file: path)
    }

    private static func weights(in folder: URL) throws -> CheckpointFiles {
        let path = folder.path(percentEncoded: false)
        func exists(_ name: String) -> Bool {
            FileManager.default.fileExists(atPath: folder.appending(path: name).path(percentEncoded: false))
        }
        guard exists(weightsName) || exists("\(weightsName).index.json") else {
            guard exists("adapter_model.bin") else {
                throw AdapterError(.incomplete, "\(path) has no \(weightsName)")
            }
            throw AdapterError(
                .pickle,
                "\(path) has adapter_model.bin alone. It is a Python pickle: reading it would run the program in it, "
                    + "so it is not read. If you trust it, load the adapter in PEFT and save it again with "
                    + "save_pretrained, which writes \(weightsName)")
        }
        return try CheckpointFiles(folder, stem: "adapter_model")
    }

    /// The tensor of each parameter, after the names and shapes of all were checked.
    private static func tensors(
        for parameters: [StoredParameter], optional: [StoredParameter], in files: CheckpointFiles, _ folder: URL
    ) throws -> [(Parameter, Tensor)] {
        let path = folder.path(percentEncoded: false)
        let expected = Set(parameters.map(\.name))
        let missing = expected.filter { !files.contains($0) }.sorted()
        let allowed = expected.union(optional.map(\.name))
        let unexpected = files.names.filter { !allowed.contains($0) }
        if let missing = missing.first {
            let ending = missing.dropFirst(keyPrefix.count)
            let renamed = unexpected.first { $0.hasSuffix(ending) || ending.hasSuffix($0) }
            let hint =
                renamed.map { "; it holds \($0): the prefix must be \(keyPrefix) and the path as in the model" } ?? ""
            throw AdapterError(.missingTensor, "\(path): tensor \(missing) is missing from the adapter\(hint)")
        }
        if let unexpected = unexpected.first {
            throw AdapterError(
                .unexpectedTensor,
                "\(path): tensor \(unexpected) is in the adapter, but \(configurationName) and the model ask "
                    + "for no such tensor")
        }
        return try (parameters + optional.filter { files.contains($0.name) }).map { stored in
            let shape = try files.entry(stored.name).shape
            guard shape == stored.parameter.tensor.shape else {
                throw AdapterError(
                    .shape,
                    "\(path): tensor \(stored.name) has shape \(shape); \(configurationName) and the model ask for "
                        + "\(stored.parameter.tensor.shape)")
            }
            return (stored.parameter, try files.tensor(stored.name))
        }
    }

    /// Reads a folder as a stranger would and compares everything with the adapter it was written from.
    private static func verify(_ adapter: AttachedAdapter, in folder: URL) throws {
        let path = folder.path(percentEncoded: false)
        func failure(_ what: String) -> AdapterError {
            AdapterError(.verification, "\(path) does not read back as it was written: \(what)")
        }
        let configuration = try configuration(in: folder)
        guard configuration.method.peftFields == adapter.method.peftFields else {
            throw failure("the method's settings differ")
        }
        guard configuration.taskType == adapter.taskType, configuration.modulesToSave == adapter.modulesToSave else {
            throw failure("its task or its saved modules differ")
        }
        let parts = try AdapterParts(
            configuration.method, configuration.targets, saving: configuration.modulesToSave, on: adapter.model,
            dialect: adapter.dialect, random: RandomStream(seed: 0))
        guard parts.modules.map(\.projection.path) == adapter.modules.map(\.projection.path),
            parts.embeddings.map(\.embedding.path) == adapter.embeddings.map(\.embedding.path)
        else {
            throw failure("its targets match other modules")
        }
        let names = StoredParameter.list(
            parts.stored + parts.bases.map(\.parameter), of: parts.modules, dialect: adapter.dialect)
        let stored = try tensors(for: names, optional: [], in: weights(in: folder), folder)
        guard stored.map(\.0.name) == adapter.storedParameters.map(\.name) else {
            throw failure("its tensors are others")
        }
        for ((_, values), original) in zip(stored, adapter.storedParameters) {
            guard values.values.map(\.bitPattern) == original.tensor.values.map(\.bitPattern) else {
                throw failure("tensor \(original.name) differs")
            }
        }
    }
}
