package import Foundation
package import Layers
package import TensorCore

/// Writes Hugging Face checkpoint folders: results of full training, and bases with an adapter merged into them.
package enum CheckpointWriter {
    /// What belongs to a model besides its weights and `config.json`, copied when the base has it.
    private static let companions = [
        "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "preprocessor_config.json",
        "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
        "chat_template.jinja", "chat_template.json", "additional_chat_templates",
    ]

    /// Writes a folder that loads as the base folder does, with other weights.
    ///
    /// The weights have the names that transformers gives those of the architecture's main class in files; a tied head is
    /// left out as there.
    /// They are made and written one at a time. `config.json` comes last, as the base has it but for the element type:
    /// a folder without it is not a checkpoint.
    ///
    /// - Parameters:
    ///   - folder: made when it is not there.
    ///   - base: the folder whose `config.json` and tokenizer belong to the model.
    ///   - dtype: F32, F16 or BF16; rounded to nearest.
    ///   - maximumShardByteCount: the most tensor bytes in a file; beyond it the weights are split into shards with an
    ///     index.
    ///   - untiedHead: the name and values of an output matrix that the model shares with its embedding and the checkpoint
    ///     does not; `tie_word_embeddings` is then written as false.
    ///   - classes: the names of the classes of a head that the base did not come with.
    ///   - values: what to write for a parameter, in its shape; by default its own values.
    /// - Throws: ``ModelError`` for a base without a readable `config.json` or another type; ``WeightFileError`` for
    ///   what the disk refuses.
    package static func write(
        _ model: any AdaptableModel, to folder: URL, base: URL, dtype: DType = .float32,
        maximumShardByteCount: Int = 5_000_000_000, untiedHead: (name: String, values: () -> Tensor)? = nil,
        classes: [String]? = nil, values: @escaping (Parameter) -> Tensor = { $0.tensor.detached() }
    ) throws {
        let configuration = try configuration(of: base, dtype: dtype, model, isUntied: untiedHead != nil, classes)
        let files = FileManager.default
        try files.createDirectory(at: folder, withIntermediateDirectories: true)
        var weights = model.parameters.map { parameter in
            WeightSource(name: model.formerNames(parameter.name), shape: parameter.tensor.shape, as: dtype) {
                values(parameter)
            }
        }
        if let untiedHead, let shape = model.tie?.head.weight.tensor.shape {
            weights.append(WeightSource(name: untiedHead.name, shape: shape, as: dtype, values: untiedHead.values))
        }
        try SafetensorsWriter.writeCheckpoint(
            weights,
            metadata: ["format": "pt"], to: folder, maximumShardByteCount: maximumShardByteCount)
        for name in companions {
            let source = base.appending(path: name).resolvingSymlinksInPath(), target = folder.appending(path: name)
            guard files.fileExists(atPath: source.path(percentEncoded: false)) else { continue }
            if files.fileExists(atPath: target.path(percentEncoded: false)) { try files.removeItem(at: target) }
            try files.copyItem(at: source, to: target)
        }
        try Data(configuration.utf8).write(to: folder.appending(path: "config.json"), options: .atomic)
    }

    /// Finds out before a training whether its result could be written: the configuration must be one that another head can
    /// be entered into.
    ///
    /// - Throws: ``ModelError``, as ``write(_:to:base:dtype:maximumShardByteCount:untiedHead:classes:values:)`` would.
    package static func check(_ model: any AdaptableModel, base: URL, classes: [String]?) throws {
        _ = try configuration(of: base, dtype: .float32, model, isUntied: false, classes)
    }

    /// The text of the base's `config.json` with the element type of the new weights.
    ///
    /// transformers 4 reads `torch_dtype`, transformers 5 also `dtype`: the key that is there is set, else the older
    /// one added. A head that the base did not come with is entered under `architectures`, with its number of classes.
    private static func configuration(
        of base: URL, dtype: DType, _ model: any AdaptableModel, isUntied: Bool, _ classes: [String]?
    ) throws -> String {
        guard let type = [DType.float32: "float32", .float16: "float16", .bfloat16: "bfloat16"][dtype] else {
            throw ModelError(.unsupported, "a checkpoint is written as F32, F16 or BF16, not as \(dtype)")
        }
        let file = base.appending(path: "config.json").path(percentEncoded: false)
        guard let data = FileManager.default.contents(atPath: file) else {
            throw ModelError(.incomplete, "\(file) is missing or unreadable; a base folder needs a config.json")
        }
        guard case .object(var members) = try JSONValue(data, file: file) else {
            throw ModelError(.configuration, "\(file) is not a JSON object")
        }
        let keys = ["torch_dtype", "dtype"]
        if !members.contains(where: { keys.contains($0.key) }) { members.append(JSONValue.Member(keys[0], .null)) }
        for index in members.indices where keys.contains(members[index].key) { members[index].value = .string(type) }
        func set(_ key: String, _ value: JSONValue) {
            if let index = members.firstIndex(where: { $0.key == key }) {
                members[index].value = value
            } else {
                members.append(JSONValue.Member(key, value))
            }
        }
        if isUntied { set("tie_word_embeddings", .bool(false)) }
        let original = try ModelConfiguration(folder: base)
        guard try ModelRegistry.task(original) != model.task else { return JSONValue.object(members).text + "\n" }
        set("architectures", .array([.string(try original.className(for: model.task))]))
        if let labels = model.task.labelCount {
            let names = classes ?? (0..<labels).map { "LABEL_\($0)" }
            set("id2label", .object(names.enumerated().map { JSONValue.Member("\($0.offset)", .string($0.element)) }))
            set("label2id", .object(names.enumerated().map { JSONValue.Member($0.element, .number($0.offset)) }))
        }
        if model.task == .sequenceRegression {
            set("id2label", .object([JSONValue.Member("0", .string("LABEL_0"))]))
            set("label2id", .object([JSONValue.Member("LABEL_0", .number(0))]))
        }
        // It would say which loss another head had.
        members.removeAll { $0.key == "problem_type" }
        return JSONValue.object(members).text + "\n"
    }
}
