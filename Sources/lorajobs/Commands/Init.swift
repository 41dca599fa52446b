import ArgumentParser
import Foundation
import PipelineSpec

struct Init: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a folder a workspace, with the example pipelines in it. What exists is left as it is.")

    @OptionGroup var options: WorkspaceOptions

    @Argument(help: "The folder; it is made if need be.")
    var dir: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Let manifests name files in this folder outside the workspace too; may be given again.", valueName: "dir"))
    var allowRoot: [String] = []

    mutating func run() throws {
        let here = URL(filePath: FileManager.default.currentDirectoryPath, directoryHint: .isDirectory)
        let folder = URL(filePath: dir ?? options.root ?? ".", directoryHint: .isDirectory, relativeTo: here)
        let roots = try allowRoot.map { text in
            guard let path = FilePaths.realPath(FilePaths.absolute(text, in: here)) else {
                throw CommandFailure(
                    .notFound, "--allow-root: there is no folder \(PrintableText.line(text, limit: 200))")
            }
            return path
        }
        var workspace = Workspace(root: folder)
        // A file that is there already says who may reach what is made.
        if let settings = try? WorkspaceSettings(of: workspace) { umask(settings.permissions.mask) }
        let made = try workspace.create()
        // Only what exists can have its symlinks followed.
        workspace = Workspace(root: folder)
        for path in made { try StandardOutput.line("made \(path)") }
        for root in roots {
            let file = workspace.settings
            let before = FileManager.default.contents(atPath: file.path(percentEncoded: false))
            let after = try WorkspaceSettings.adding(root: root, to: before)
            if after == before { continue }
            try AtomicFile.write(after, to: file)
            try StandardOutput.line("allowed \(root)")
        }
        let path = workspace.root.path(percentEncoded: false)
        Talk.say(made.isEmpty ? "\(path) is a workspace already" : "\(path) is a workspace")
        Talk.say("next: write a manifest with: lorajobs new NAME --base DIR --data FILE")
    }
}
