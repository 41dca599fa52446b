import Foundation
import TensorCore

extension AdapterLint {
    /// Keys that PEFT 0.21 writes for LoRA; any other one is of a newer release, or a slip.
    private static let knownKeys: Set<String> = [
        "alora_invocation_tokens", "alpha_pattern", "arrow_config", "auto_mapping", "base_model_name_or_path", "bias",
        "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode",
        "init_lora_weights", "kasa_config", "layer_replication", "layers_pattern", "layers_to_transform",
        "loftq_config",
        "lora_alpha", "lora_bias", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core",
        "modules_to_save", "monteclora_config", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern",
        "revision", "runtime_config", "target_modules", "target_parameters", "task_type", "trainable_token_indices",
        "use_bdlora", "use_dora", "use_qalora", "use_rslora", "velora_config",
    ]

    /// Other programs' words for some of them.
    private static let otherNames = [
        "rank": "r", "lora_r": "r", "lora_rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout",
        "lora_target_modules": "target_modules", "targets": "target_modules", "keys": "target_modules",
        "rslora": "use_rslora", "dora": "use_dora", "base_model": "base_model_name_or_path",
    ]

    /// Keys that are judged together, since what one may say depends on the others.
    private static let targetKeys: Set<String> = [
        "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "target_parameters",
    ]

    /// Looks through `adapter_config.json`.
    ///
    /// - Returns: what it says, where all of it could be read.
    mutating func lintConfiguration() -> PEFTConfiguration? {
        let name = PEFTFolder.configurationName
        let path = folder.appending(path: name).path(percentEncoded: false)
        guard let data = FileManager.default.contents(atPath: path) else {
            fail(
                .missingFile, in: name, "\(name) is missing",
                "name the folder that holds it; a file alone is no adapter")
            return nil
        }
        let members: [JSONValue.Member]
        do {
            guard case .object(let read) = try JSONValue(data, file: name) else {
                fail(.syntax, in: name, "\(name) is not a JSON object")
                return nil
            }
            members = read
        } catch {
            fail(.syntax, in: name, "\(error)")
            return nil
        }
        let object = JSONValue.object(members)
        guard case .string(let type)? = object["peft_type"] else {
            let isMLX = object["fine_tune_type"] != nil || object["lora_parameters"] != nil
            fail(
                isMLX ? .otherFormat : .missingKey, in: name, at: "peft_type",
                isMLX
                    ? "this is a configuration of mlx-lm, not of PEFT" : "peft_type is missing, so PEFT cannot load it",
                isMLX ? nil : "add \"peft_type\": \"LORA\" if that is what it is")
            return nil
        }
        guard (try? AdapterRegistry.method(peftType: type, file: name)) != nil else {
            fail(.unsupported, in: name, at: "peft_type", "adapters of the method \(type) are not supported")
            return nil
        }
        if case .bool(let flag)? = object["fan_in_fan_out"] { fansInAndOut = flag }
        lintKeys(members)
        lintValues(members, type: type)
        lintScale(object)
        guard isSound else { return nil }
        do {
            return try PEFTConfiguration(data, file: name)
        } catch {
            fail(.invalidValue, in: name, "\(error)")
            return nil
        }
    }

    private mutating func lintKeys(_ members: [JSONValue.Member]) {
        let name = PEFTFolder.configurationName
        for member in members where !Self.knownKeys.contains(member.key) {
            if let meant = Self.otherNames[member.key] {
                fail(
                    .unknownKey, in: name, at: member.key, "PEFT has no key \(member.key)",
                    "it is called \(meant) there")
            } else if !member.value.saysNothing {
                fail(
                    .unknownKey, in: name, at: member.key,
                    "PEFT has no key \(member.key), which may change what it computes",
                    "take the key out if the adapter was trained without it")
            }
        }
        let keys = Set(members.map(\.key))
        for (key, fallback) in [("r", "8"), ("lora_alpha", "8")] where !keys.contains(key) {
            warn(.missingKey, in: name, at: key, "\(key) is missing; PEFT takes \(fallback)")
        }
        if !keys.contains("target_modules"), !keys.contains("target_parameters") {
            warn(
                .missingKey, in: name, at: "target_modules",
                "target_modules is missing; PEFT takes those of the architecture")
        }
        if members.first(where: { $0.key == "base_model_name_or_path" })?.value.saysNothing ?? true {
            warn(
                .missingKey, in: name, at: "base_model_name_or_path",
                "the adapter does not say which base it belongs to",
                "name the base with --base")
        }
    }

    /// Reads each value by itself, so that one fault does not hide the next.
    private mutating func lintValues(_ members: [JSONValue.Member], type: String) {
        let name = PEFTFolder.configurationName
        let known = members.filter { Self.knownKeys.contains($0.key) && $0.key != "peft_type" }
        let targets = known.filter { Self.targetKeys.contains($0.key) }
        let kind = JSONValue.Member("peft_type", .string(type))
        // Some list of targets, since there is no configuration without.
        let some = JSONValue.Member("target_modules", .array([.string("q_proj")]))
        for group in known.filter({ !Self.targetKeys.contains($0.key) }).map({ [$0, some] }) + [targets] {
            let text = JSONValue.object([kind] + group).text
            do {
                _ = try PEFTConfiguration(Data(text.utf8), file: name)
            } catch let error as AdapterError {
                let key = group.count == 2 && group[1] == some ? group[0].key : nil
                fail(
                    error.code == .unsupported ? .unsupported : .invalidValue, in: name, at: key,
                    error.description.replacing("\(name): ", with: ""))
            } catch {
                fail(.invalidValue, in: name, "\(error)")
            }
        }
    }

    /// Scales that load, and that nobody means.
    private mutating func lintScale(_ object: JSONValue) {
        let name = PEFTFolder.configurationName
        guard let alpha = object["lora_alpha"]?.double ?? (object["lora_alpha"] == nil ? 8 : nil),
            let rank = object["r"]?.double ?? (object["r"] == nil ? 8 : nil), rank > 0
        else { return }
        let isStabilised = object["use_rslora"] == .bool(true)
        let scale = alpha / (isStabilised ? rank.squareRoot() : rank)
        if scale == 0 {
            fail(
                .scaling, in: name, at: "lora_alpha", "lora_alpha is 0: the adapter changes nothing",
                "write the alpha it was trained with")
        } else if scale < 0 {
            warn(
                .scaling, in: name, at: "lora_alpha", "lora_alpha is negative: the adapter is subtracted from the base")
        } else if scale > 32 || scale < 1 / 64 {
            warn(
                .scaling, in: name, at: "lora_alpha",
                "the scale is \(String(format: "%.4g", scale)), unlike any that people train with",
                "compare r, lora_alpha and use_rslora with the training")
        }
        guard isStabilised else { return }
        warn(
            .scaling, in: name, at: "use_rslora",
            "the scale is alpha / √r; readers that do not know use_rslora compute with alpha / r",
            "export writes the scale into the tensors for such readers")
    }
}

extension JSONValue {
    /// Whether it asks for nothing, whatever its key.
    var saysNothing: Bool {
        switch self {
        case .null, .bool(false), .array([]), .object([]), .string(""), .number("0"), .number("0.0"): true
        default: false
        }
    }

    var double: Double? {
        guard case .number(let digits) = self else { return nil }
        return Double(digits)
    }
}
