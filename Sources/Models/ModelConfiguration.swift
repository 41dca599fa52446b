package import Foundation
import Layers

/// A parsed `config.json`, with errors that name the key.
package struct ModelConfiguration {
    /// The whole object, for what an architecture reads on its own.
    package let values: [String: Any]
    /// Where it was read.
    package let file: URL

    /// Reads `config.json` in `folder`.
    package init(folder: URL) throws {
        let file = folder.appending(path: "config.json")
        guard let data = FileManager.default.contents(atPath: file.path) else {
            throw ModelError(.incomplete, "\(file.path) is missing or unreadable; a base folder needs a config.json")
        }
        try self.init(data, file: file)
    }

    /// Reads a configuration that was read from `file`.
    package init(_ data: Data, file: URL) throws {
        guard let object = try? JSONSerialization.jsonObject(with: data), let values = object as? [String: Any] else {
            throw ModelError(.configuration, "\(file.path) is not a JSON object")
        }
        self.values = values
        self.file = file
    }

    private func present(_ key: String) -> Any? {
        guard let value = values[key], !(value is NSNull) else { return nil }
        return value
    }

    /// Whether the key has a value other than `null`.
    func has(_ key: String) -> Bool { present(key) != nil }

    /// Whether the key is there and says `null`.
    func isNull(_ key: String) -> Bool { values[key] is NSNull }

    /// A list of words; `nil` when there is none.
    func words(_ key: String) throws -> [String]? {
        guard let value = present(key) else { return nil }
        guard let words = value as? [String] else {
            throw ModelError(.configuration, "\(file.path): \(key) must be a list of strings, not \(value)")
        }
        return words
    }

    /// A list of whole numbers that are not negative; `nil` when there is none.
    func indices(_ key: String) throws -> [Int]? {
        guard let value = present(key) else { return nil }
        let numbers = (value as? [Any])?.map { ($0 as? NSNumber).flatMap { Int(exactly: $0.doubleValue) } }
        guard let numbers, numbers.allSatisfy({ $0.map { $0 >= 0 } ?? false }) else {
            throw ModelError(.configuration, "\(file.path): \(key) must be a list of whole numbers, not \(value)")
        }
        return numbers.compactMap { $0 }
    }

    /// A positive whole number.
    func size(_ key: String, default fallback: Int? = nil) throws -> Int {
        guard let value = present(key) else {
            guard let fallback else { throw ModelError(.configuration, "\(file.path): \(key) is missing") }
            return fallback
        }
        guard let number = value as? NSNumber, let size = Int(exactly: number.doubleValue), size > 0, size < 1 << 31
        else {
            throw ModelError(.configuration, "\(file.path): \(key) must be a positive whole number, not \(value)")
        }
        return size
    }

    /// A token id, or a number that is none: `nil` when it is absent or null.
    func tokenID(_ key: String) throws -> Int32? {
        guard let value = present(key) else { return nil }
        guard let number = value as? NSNumber, let id = Int32(exactly: number.doubleValue) else {
            throw ModelError(.configuration, "\(file.path): \(key) must be a token id, not \(value)")
        }
        return id
    }

    /// The names of the classes, by index: `id2label`. `nil` when there is none.
    package func labels() throws -> [String]? {
        guard let value = present("id2label") else { return nil }
        guard let names = value as? [String: String] else {
            throw ModelError(.configuration, "\(file.path): id2label must be an object of names, not \(value)")
        }
        return try (0..<names.count).map { index in
            guard let name = names["\(index)"] else {
                throw ModelError(
                    .configuration, "\(file.path): id2label has \(names.count) names but none for \(index)")
            }
            return name
        }
    }

    /// What transformers calls the class of this architecture for another task, such as `BertForSequenceClassification`.
    ///
    /// - Throws: ``ModelError`` when `architectures` names no class to go by.
    func className(for task: ModelTask) throws -> String {
        let heads = [
            "ForSequenceClassification", "ForTokenClassification", "ForImageClassification", "ForMaskedLM",
            "ForCausalLM", "ForPreTraining", "LMHeadModel",
            "Model",
        ]
        guard let name = try words("architectures")?.first, let head = heads.first(where: { name.hasSuffix($0) }) else {
            throw ModelError(
                .configuration, "\(file.path): architectures names no class, so the one for \(task) is not known")
        }
        let stem = name.dropLast(head.count)
        return switch task {
        case .causalLM: stem + "ForCausalLM"
        case .maskedLM: stem + "ForMaskedLM"
        case .sequenceClassification, .sequenceRegression: stem + "ForSequenceClassification"
        case .tokenClassification: stem + "ForTokenClassification"
        case .imageClassification: stem + "ForImageClassification"
        case .featureExtraction: stem + "Model"
        }
    }

    /// What the checkpoint's own class is for, as the first name under `architectures` says.
    ///
    /// - Parameter fallback: what a bare body, or no name at all, is for.
    func task(default fallback: ModelTask) throws -> ModelTask {
        func labelCount() throws -> Int { try labels()?.count ?? size("num_labels", default: 2) }
        switch try words("architectures")?.first {
        case let name? where name.hasSuffix("ForSequenceClassification"):
            return .judgingSequences(outputs: try labelCount())
        case let name? where name.hasSuffix("ForTokenClassification"):
            return .tokenClassification(labels: try labelCount())
        case let name? where name.hasSuffix("ForImageClassification"):
            return .imageClassification(labels: try labelCount())
        case let name? where name.hasSuffix("ForMaskedLM") || name.hasSuffix("ForPreTraining"): return .maskedLM
        case let name? where name.hasSuffix("ForCausalLM") || name.hasSuffix("LMHeadModel"): return .causalLM
        default: return fallback
        }
    }

    /// A number.
    func number(_ key: String, default fallback: Double) throws -> Double {
        guard let value = present(key) else { return fallback }
        guard let number = value as? NSNumber else {
            throw ModelError(.configuration, "\(file.path): \(key) must be a number, not \(value)")
        }
        return number.doubleValue
    }

    /// A Boolean.
    func flag(_ key: String, default fallback: Bool) throws -> Bool {
        guard let value = present(key) else { return fallback }
        guard let flag = value as? Bool else {
            throw ModelError(.configuration, "\(file.path): \(key) must be true or false, not \(value)")
        }
        return flag
    }

    /// A word.
    package func word(_ key: String, default fallback: String) throws -> String {
        guard let value = present(key) else { return fallback }
        guard let word = value as? String else {
            throw ModelError(.configuration, "\(file.path): \(key) must be a string, not \(value)")
        }
        return word
    }

    /// Refuses any value of `key` but the ones listed; absent counts as the first.
    func require(_ key: String, in supported: [String]) throws {
        let word = try word(key, default: supported[0])
        guard supported.contains(word) else {
            throw ModelError(
                .unsupported,
                "\(file.path): \(key) \(word) is not supported; supported: \(supported.joined(separator: ", "))")
        }
    }

    /// Refuses a Boolean option that is not what this engine computes.
    func require(_ key: String, _ supported: Bool) throws {
        guard try flag(key, default: supported) == supported else {
            throw ModelError(.unsupported, "\(file.path): \(key) \(!supported) is not supported")
        }
    }
}
