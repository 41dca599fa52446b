import PipelineSpec

/// The two folders of the store that hold versions.
package enum ArtifactCollection: String, Codable, Sendable, CaseIterable {
    /// Adapters, each version a PEFT folder.
    case adapters
    /// Whole checkpoints.
    case models

    /// One of them, in a sentence.
    var noun: String { self == .adapters ? "adapter" : "model" }

    /// The file whose digest is the version's; a model's digest is that of all its files.
    var identifyingFile: String? { self == .adapters ? "adapter_model.safetensors" : nil }
}

/// What may name an artifact or an alias: both become entries of folders, and both appear in references.
enum ArtifactNaming {
    /// - Throws: `invalidName`.
    static func checkArtifact(_ name: String) throws {
        guard isArtifact(name) else {
            throw ArtifactError(
                .invalidName,
                "\"\(name)\" cannot be a name in the store: use up to 128 letters, digits, '.', '_' and "
                    + "'-', and begin with a letter or digit")
        }
    }

    /// - Throws: `invalidName`, also for `latest`, which is not set but follows the newest version.
    static func checkAlias(_ alias: String) throws {
        if alias == ArtifactReference.latest {
            throw ArtifactError(
                .invalidName, "the alias latest cannot be set: it is always the newest version; choose another name")
        }
        guard isAlias(alias) else {
            throw ArtifactError(
                .invalidName,
                "\"\(alias)\" cannot be an alias: use up to 64 letters, digits, '_' and '-', and begin "
                    + "with a letter")
        }
    }

    /// The rule of a manifest's `name`.
    static func isArtifact(_ name: String) -> Bool { ValueConstraint.isName(name) }

    /// No dots, so that an alias is never mistaken for a file such as `log.jsonl`.
    static func isAlias(_ alias: String) -> Bool {
        guard let first = alias.utf8.first, isLetter(first), alias.utf8.count <= 64 else { return false }
        return alias.utf8.allSatisfy {
            isLetter($0) || isDigit($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-")
        }
    }

    /// The number of a version folder: digits without leading zeros, from 1.
    static func version(_ text: some StringProtocol) -> Int? {
        guard let first = text.utf8.first, first != UInt8(ascii: "0"), text.utf8.allSatisfy(isDigit) else { return nil }
        return Int(text)
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
    private static func isLetter(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }
}
