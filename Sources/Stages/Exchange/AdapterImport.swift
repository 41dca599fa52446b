import Adapters
package import Foundation
import Layers
import Models
package import PipelineSpec

/// An adapter folder that another program wrote, looked through before it becomes a version of ours.
package struct AdapterImport {
    /// The folder, as it was named.
    package let folder: URL
    /// Everything that is wrong or doubtful; a pointer begins with the file's name.
    package let findings: [Finding]
    /// The base as the adapter's configuration names it.
    package let base: String?
    /// What PEFT wrote it with, where the configuration says.
    private let configuration: PEFTConfiguration?
    private let dialect: String?

    /// Whether it can become a version.
    package var isSound: Bool { !findings.hasErrors }

    /// Looks through a folder.
    ///
    /// - Parameter base: the checkpoint that the adapter belongs to; without it, what only the base can tell stays unseen.
    /// - Throws: ``StageError`` when the base cannot be read.
    package init(of folder: URL, base: URL? = nil) throws {
        self.folder = folder
        let lint = AdapterLint(of: folder, on: try base.map { try Self.outline($0, for: folder) })
        findings = lint.remarks.map(Finding.init)
        dialect = lint.dialect.map { "\($0)" }
        configuration = lint.isSound ? try? PEFTFolder.configuration(in: folder) : nil
        self.base = configuration?.baseModelNameOrPath
    }

    /// A model with the base's modules and no weights.
    private static func outline(_ base: URL, for adapter: URL) throws -> any SequenceModel {
        try Engine.run {
            let configuration = try ModelConfiguration(folder: base)
            // A folder that cannot be read is the lint's to tell; the base's own task will do then.
            let task = (try? AdapterTask.of(adapter, on: configuration)) ?? nil
            return try ModelRegistry.outline(configuration, for: task ?? ModelRegistry.task(configuration))
        }
    }

    /// Files of an adapter folder that are taken over; others, such as optimizer states and pickles, are not.
    private static let files = ["adapter_config.json", "adapter_model.safetensors", "README.md"]

    /// Copies what belongs to the adapter, with a record of where it came from, for publication.
    ///
    /// The bytes stay as they are, so the version has the digest that the adapter had elsewhere.
    package func copy(to target: URL) throws {
        let manager = FileManager.default
        try manager.createDirectory(at: target, withIntermediateDirectories: true)
        for name in Self.files {
            // A cache of hub files holds links to blobs.
            let source = folder.appending(path: name).resolvingSymlinksInPath()
            guard manager.fileExists(atPath: source.path(percentEncoded: false)) else { continue }
            try manager.copyItem(at: source, to: target.appending(path: name))
        }
        let path = folder.standardizedFileURL.path(percentEncoded: false)
        let origin: [String: PipelineSpec.JSONValue] = [
            "path": .string(path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path),
            "base": base.map { .string($0) } ?? .null,
            "method": configuration.map { .string("\(type(of: $0.method).name)") } ?? .null,
            "dialect": dialect.map { .string($0) } ?? .null,
            "findings": .array(findings.map { .string("\($0.code.rawValue): \($0.message)") }),
        ]
        let record = PipelineSpec.JSONValue.object([
            "schema": 1, "metrics": .object([:]), "lineage": .object(["imported": .object(origin)]),
        ])
        try record.data(pretty: true).write(to: target.appending(path: "lorajobs.json"))
    }
}

/// What an adapter folder is for.
enum AdapterTask {
    /// The task of the adapter's configuration, with the classes of its head; `nil` for what the base says.
    static func of(_ adapter: URL, on base: ModelConfiguration) throws -> ModelTask? {
        let labels = try PEFTFolder.labelCount(in: adapter)
        switch try PEFTFolder.configuration(in: adapter).taskType {
        case "CAUSAL_LM": return .causalLM
        case "SEQ_CLS": return labels.map { .judgingSequences(outputs: $0) }
        case "TOKEN_CLS": return labels.map { .tokenClassification(labels: $0) }
        case "FEATURE_EXTRACTION": return .featureExtraction
        default:
            guard let labels, case .imageClassification = try ModelRegistry.task(base) else { return nil }
            return .imageClassification(labels: labels)
        }
    }
}

extension Finding {
    fileprivate init(_ remark: AdapterRemark) {
        let parts = [remark.file, remark.member].compactMap { $0 }.map {
            $0.replacing("~", with: "~0").replacing("/", with: "~1")
        }
        self.init(
            Code(rawValue: remark.code.description), severity: remark.isError ? .error : .warning,
            pointer: parts.map { "/" + $0 }.joined(), remark.message, hint: remark.hint)
    }
}
