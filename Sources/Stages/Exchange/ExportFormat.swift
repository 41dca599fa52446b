import Adapters
package import Foundation
import Layers
import Models

/// A form of an adapter that another program reads.
///
/// To add one: a file in `Exchange/Formats` with a type that conforms, and a line in ``ExportRegistry``.
protocol ExportFormat: SendableMetatype {
    /// The word after `--for`.
    static var name: String { get }

    /// Writes the files of the format.
    ///
    /// - Parameter folder: made already, and empty; it becomes visible when this returns.
    /// - Returns: what whoever gives the files to the program must know, a sentence each.
    /// - Throws: ``StageError`` with code `unsupported_export` for an adapter that the program cannot have in this form.
    static func write(_ source: ExportSource, to folder: URL) throws -> [String]
}

/// Every form, by the word after `--for`.
package enum ExportRegistry {
    /// One line a format.
    static let formats: [any ExportFormat.Type] = [
        PEFTExport.self,
        VLLMExport.self,
        LlamaCppExport.self,
        OllamaExport.self,
        MLXExport.self,
        OCIExport.self,
    ]

    /// The words, in the order in which they are offered.
    package static var names: [String] { formats.map { $0.name } }

    /// Writes an adapter for a program; see ``ExportFormat``.
    ///
    /// - Parameter name: one of ``names``.
    /// - Throws: ``StageError``; `unsupported_export` for an adapter that the program cannot have.
    package static func write(_ source: ExportSource, for name: String, to folder: URL) throws -> [String] {
        guard let format = formats.first(where: { $0.name == name }) else {
            throw StageError(
                "unknown_format", "there is no export for \(name); there are \(names.joined(separator: ", "))")
        }
        return try Engine.run { try format.write(source, to: folder) }
    }
}

/// A version that is to be written in another form, and what is needed for it.
package struct ExportSource {
    /// The version's files, whose digests have been compared.
    package let folder: URL
    /// The name in the store.
    package let name: String
    package let version: Int
    /// `sha256:…` of the adapter's tensors.
    package let digest: String
    /// The base's folder, where it is known and there.
    package let base: URL?
    /// How the base is named in the adapter's record, for messages.
    package let baseName: String?
    /// The folder that the files will be in, as the person names it.
    package let place: String
    /// What `--merge` says: the base with the adapter in it, in these elements; `nil` for the adapter alone.
    package let merge: String?

    package init(
        folder: URL, name: String, version: Int, digest: String, base: URL?, baseName: String?, place: String? = nil,
        merge: String? = nil
    ) {
        self.folder = folder
        self.name = name
        self.version = version
        self.digest = digest
        self.base = base
        self.baseName = baseName
        self.place = place ?? "\(name)-\(version)"
        self.merge = merge
    }

    /// What `--merge` takes.
    package static let mergeFormats = ["f32", "f16", "q8_0"]

    /// `support-tone-42`.
    var title: String { "\(name)-\(version)" }

    /// The base's folder.
    ///
    /// - Throws: ``StageError`` when it is not known.
    func requireBase() throws -> URL {
        guard let base else {
            throw StageError(
                "no_base",
                "the base\(baseName.map { " \($0)" } ?? "") is needed for this export and is not there; name its folder "
                    + "with --base")
        }
        return base
    }

    /// The adapter on a model of the base's shape without weights: what every form but a merged one needs.
    func outline() throws -> (model: any SequenceModel, adapter: AttachedAdapter) {
        let configuration = try ModelConfiguration(folder: requireBase())
        let task = try AdapterTask.of(folder, on: configuration) ?? ModelRegistry.task(configuration)
        let model = try ModelRegistry.outline(configuration, for: task)
        return (model, try PEFTFolder.read(folder, attachingTo: model))
    }

    /// The adapter as low-rank pairs.
    ///
    /// - Throws: ``StageError`` for an adapter that is more than that, saying what to do.
    func pairs(for program: String, otherwise advice: String) throws -> [LowRankPair] {
        let (_, adapter) = try outline()
        do {
            return try adapter.lowRankPairs()
        } catch let error as AdapterError where error.code == .unsupported {
            throw StageError(
                "unsupported_export", "\(program) takes low-rank pairs only: \(error.description); \(advice)")
        }
    }
}
