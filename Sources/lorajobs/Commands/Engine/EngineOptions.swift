import ArgumentParser
import Artifacts
import Foundation
import PipelineSpec
import Stages

/// What the verbs that compute have in common: a base, perhaps an adapter on it, and threads.
struct EngineOptions: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("A Hugging Face checkpoint folder.", valueName: "dir"))
    var base: String
    @Option(
        name: .long,
        help: ArgumentHelp(
            "An adapter folder in PEFT's format, or a version in the store such as support-tone:42.",
            valueName: "dir|ref"))
    var adapter: String?
    @OptionGroup var threads: ThreadOptions
    @OptionGroup var workspace: WorkspaceOptions

    /// Loads what the options name.
    func load(_ precision: JobManifest.Precision) throws -> LoadedModel {
        let (folder, adapter) = try folders()
        return try Engine.run { try LoadedModel(base: folder, adapter: adapter, precision: precision) }
    }

    /// The folders of the base and of the adapter; the engine is ready then.
    func folders() throws -> (base: URL, adapter: URL?) {
        threads.apply()
        let folder = CommandLineFile.url(base)
        guard FileManager.default.fileExists(atPath: folder.appending(path: "config.json").path) else {
            throw CommandFailure(.notFound, "\(base) is not a checkpoint folder: it has no config.json")
        }
        // A version that is not there is a matter of the store, not of the engine's input.
        return (folder, try adapterFolder())
    }

    /// The folder of the adapter: the one named, else the version in the store.
    private func adapterFolder() throws -> URL? {
        guard let adapter else { return nil }
        let folder = CommandLineFile.url(adapter)
        if FileManager.default.fileExists(atPath: folder.path) { return folder }
        let store = ArtifactStore(try workspace.locate().artifacts)
        return try store.resolve(ArtifactReference(adapter), in: .adapters).url
    }
}

/// `--precision`.
struct PrecisionOption: ParsableArguments {
    @Option(
        name: .customLong("precision"),
        help: "fp32, bf16 for the frozen matrices, or auto: bf16 where the processor multiplies it.")
    var name = JobManifest.Precision.fp32.rawValue

    func validate() throws {
        guard JobManifest.Precision(rawValue: name) != nil else {
            throw ValidationError("--precision must be fp32, bf16 or auto")
        }
    }

    var precision: JobManifest.Precision { JobManifest.Precision(rawValue: name) ?? .fp32 }
}

/// `--threads`.
struct ThreadOptions: ParsableArguments {
    @Option(name: .long, help: "Threads that compute; by default one a processor.")
    var threads: Int?

    func validate() throws {
        guard threads.map({ $0 > 0 && $0 <= 1024 }) ?? true else {
            throw ValidationError("--threads must be 1 to 1024")
        }
    }

    var count: Int { threads ?? ProcessInfo.processInfo.activeProcessorCount }

    /// Prepares the engine; starts the program over if that makes it faster.
    func apply() {
        Engine.useFastestKernels()
        Engine.setThreads(count)
    }
}

/// Files as a person names them from where they stand.
enum CommandLineFile {
    static func url(_ path: String) -> URL {
        URL(
            filePath: path,
            relativeTo: URL(filePath: FileManager.default.currentDirectoryPath, directoryHint: .isDirectory)
        )
        .absoluteURL
    }
}

/// A progress bar for work in this process; nothing where nobody watches.
struct EngineProgress {
    private var line = LiveLine()
    private let label: String

    init(_ label: String) { self.label = label }

    mutating func show(_ fraction: Double, _ facts: String = "") {
        line.draw("\(label)  \(Int(fraction * 100))%  \(facts)")
    }

    mutating func end() { line.clear() }
}
