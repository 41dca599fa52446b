package import Foundation

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
