package import Foundation
package import Layers
import TensorCore

/// An `adapter_config.json`: the method with its settings, its targets, and where it belongs.
package struct PEFTConfiguration: Sendable {
    package let method: any AdapterMethod
    package let targets: TargetModules
    /// The base the adapter was trained on, as a path or a hub name.
    package var baseModelNameOrPath: String?
    /// What the model is for; PEFT picks its wrapper class by it.
    package var taskType: String?
    /// Names of modules that are stored whole, those that PEFT adds for the task among them.
    package var modulesToSave: [String]
    package var revision: String?

    /// The version of PEFT whose format is written.
    ///
    /// Only keys that PEFT knows since 0.8 are used, so that older readers
    /// have nothing to warn about; `exclude_modules` (since 0.14) is there only when it is needed.
    package static let formatVersion = "0.21.2"

    package init(
        method: any AdapterMethod, targets: TargetModules, baseModelNameOrPath: String? = nil,
        taskType: String? = "CAUSAL_LM", modulesToSave: [String] = [], revision: String? = nil
    ) {
        self.method = method
        self.targets = targets
        self.baseModelNameOrPath = baseModelNameOrPath
        self.taskType = taskType
        self.modulesToSave = modulesToSave
        self.revision = revision
    }

    /// Keys that change nothing in what a loaded adapter computes, with any value.
    private static let harmless = [
        "auto_mapping", "inference_mode", "peft_version", "runtime_config", "megatron_config", "megatron_core",
        "loftq_config", "qalora_group_size", "ensure_weight_tying",
        // Tells PEFT how the base lies in memory, which the model knows by itself.
        "fan_in_fan_out",
    ]

    /// Reads a configuration.
    ///
    /// - Parameter file: the path that errors name.
    /// - Throws: ``AdapterError`` for an unknown `peft_type`, a value that cannot be, and every option that would
    ///   change the result in a way that is not built; ``WeightFileError`` for what is not JSON.
    package init(_ data: Data, file: String) throws {
        var fields = try PEFTFields(JSONValue(data, file: file), file: file)
        guard let type = try fields.takeString("peft_type") else {
            throw AdapterError(.configuration, "\(file): peft_type is missing; this is not a PEFT configuration")
        }
        for key in Self.harmless { _ = fields.take(key) }
        baseModelNameOrPath = try fields.takeString("base_model_name_or_path")
        revision = try fields.takeString("revision")
        taskType = try fields.takeString("task_type")
        var names: [String] = []
        switch try fields.takeNames("modules_to_save") {
        case nil: break
        case .list(let list): names = list
        case .pattern(let text): throw fields.refusal("modules_to_save", .string(text), "it must be a list of names")
        }
        names += (taskType.map(ModelTask.modulesToSave) ?? []).filter { !names.contains($0) }
        modulesToSave = names
        if let bias = try fields.takeString("bias"), bias != "none" {
            throw fields.refusal("bias", .string(bias), "trained biases of the base are not part of an adapter here")
        }
        method = try AdapterRegistry.method(peftType: type, file: file).init(peft: &fields)
        targets = try TargetModules(peft: &fields)
        try fields.refuseRest()
    }

    /// The text of the file for an adapter of these modules; sorted keys, an indentation of 2, no final newline, as
    /// PEFT writes it.
    package func text(
        for match: TargetModules.Match, in model: any AdaptableModel, dialect: NameDialect = .transformers5
    )
        -> String
    {
        let isTransposed =
            !match.projections.isEmpty && match.projections.allSatisfy { $0.layout == .inputByOutput }
        var fields: [String: JSONValue] = [
            "auto_mapping": .null,
            "base_model_name_or_path": baseModelNameOrPath.map { .string($0) } ?? .null,
            "bias": .string("none"),
            "fan_in_fan_out": .bool(isTransposed),
            "inference_mode": .bool(true),
            "modules_to_save": modulesToSave.isEmpty ? .null : .array(modulesToSave.map { .string($0) }),
            "peft_type": .string(type(of: method).peftType),
            "peft_version": .string(Self.formatVersion),
            "revision": revision.map { .string($0) } ?? .null,
            "task_type": taskType.map { .string($0) } ?? .null,
        ]
        fields.merge(targets.peftFields(for: match, in: model, dialect: dialect)) { _, new in new }
        fields.merge(method.peftFields) { _, new in new }
        return JSONValue.sortedObject(fields).text
    }
}
