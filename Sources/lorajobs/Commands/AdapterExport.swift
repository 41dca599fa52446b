import ArgumentParser
import Artifacts
import Foundation
import PipelineSpec
import Stages

extension Adapters {
    struct Export: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write a version in the form that another program reads, comparing digests on the way.",
            discussion: """
                peft is the version's own folder; vllm the same with one rank and one scale; llama.cpp an adapter in GGUF, or \
                with --merge the base with the adapter in it; ollama a merged GGUF file with its Modelfile; mlx the folder of \
                mlx-lm; oci an image layout for registries, in a tar archive. What the program must be told is printed.
                """)

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The version.") var reference: String
        @Option(
            name: .customLong("for"),
            help: ArgumentHelp(
                "The program: \(ExportRegistry.names.joined(separator: ", ")).", valueName: "program"))
        var program = "peft"
        @Option(
            name: .shortAndLong,
            help: ArgumentHelp(
                "A folder that does not exist, or is empty; else NAME-VERSION here.", valueName: "dir"))
        var output: String?
        @Option(name: .long, help: ArgumentHelp("The base, where it is not where it was.", valueName: "dir"))
        var base: String?
        @Option(
            name: .long,
            help: ArgumentHelp(
                "For llama.cpp and ollama: write the base with the adapter in it, as f32, f16 or q8_0.",
                valueName: "elements"))
        var merge: String?
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        func validate() throws {
            guard ExportRegistry.names.contains(program) else {
                throw ValidationError("--for must be one of \(ExportRegistry.names.joined(separator: ", "))")
            }
            guard let merge else { return }
            guard ExportSource.mergeFormats.contains(merge) else {
                throw ValidationError("--merge must be one of \(ExportSource.mergeFormats.joined(separator: ", "))")
            }
            guard ["llama.cpp", "ollama"].contains(program) else {
                throw ValidationError("--merge goes with --for llama.cpp and --for ollama")
            }
        }

        mutating func run() throws {
            let workspace = try options.locate()
            let store = ArtifactStore(workspace.artifacts)
            // Resolved once: what an alias means may change meanwhile.
            let version = try store.resolve(ArtifactReference(reference))
            let pinned = ArtifactReference(name: version.name, selector: .version(version.number))
            let folder = output ?? "\(version.name)-\(version.number)"
            let known = RecordedBase(of: version, workspace: workspace)
            let base = try base.map(Self.folder) ?? known.folder
            var notes: [String] = []
            let (program, merge) = (program, merge)
            try store.export(pinned, to: URL(filePath: folder, directoryHint: .isDirectory)) { version, files, target in
                notes = try ExportRegistry.write(
                    ExportSource(
                        folder: files, name: version.name, version: version.number, digest: version.digest, base: base,
                        baseName: known.name, place: folder, merge: merge),
                    for: program, to: target)
            }
            if json {
                let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
                return try StandardOutput.json([
                    "adapter": .string(version.reference), "for": .string(program), "path": .string(folder),
                    "files": .array(names.map { .string($0) }), "notes": .array(notes.map { .string($0) }),
                ])
            }
            try StandardOutput.line(folder)
            Talk.say("\(version.reference) for \(program):")
            for note in notes { Talk.say("  \(note)") }
        }

        private static func folder(_ path: String) throws -> URL {
            let url = CommandLineFile.url(path)
            guard FileManager.default.fileExists(atPath: url.appending(path: "config.json").path) else {
                throw CommandFailure(.notFound, "\(path) is not a checkpoint folder: it has no config.json")
            }
            return url
        }
    }
}

/// The base that a version says it belongs to.
struct RecordedBase {
    /// As the record names it; `nil` for one that names none.
    let name: String?
    /// Where it is, if it is there.
    let folder: URL?

    init(of version: Version, workspace: Workspace) {
        let lineage = version.record["lineage"]
        let manifest = lineage?["manifest"]?["base"]
        name = manifest?.path ?? lineage?["imported"]?["base"]?.word
        folder = name.flatMap { name in
            let url = URL(filePath: name, relativeTo: workspace.root).absoluteURL
            return FileManager.default.fileExists(atPath: url.appending(path: "config.json").path) ? url : nil
        }
    }
}

extension JSON {
    /// The content of a string.
    fileprivate var word: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    /// The path in a manifest's base, whichever form it has there.
    fileprivate var path: String? {
        word ?? self["config"]?.word
    }
}
