import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct Backup: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Copy the queue as it is at this moment into one file, while a daemon works or not.",
        discussion: """
            The file's path is printed. Without a name it lies beside the queue, where lorajobs doctor --rebuild \
            --from-backup finds it. Manifests, versions and run folders are files and need no copy of ours.
            """)

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "The file to make; it must not be there yet.") var file: String?
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func run() throws {
        let workspace = try options.locate()
        try LostQueue.check(workspace)
        let queue = try JobQueue.openReadOnly(workspace.database)
        let here = URL(filePath: FileManager.default.currentDirectoryPath, directoryHint: .isDirectory)
        let named = file.map { URL(filePath: FilePaths.absolute($0, in: here)) }
        let target = named ?? JobQueue.backupFile(of: workspace)
        guard access(target.path(percentEncoded: false), F_OK) != 0 else {
            throw CommandFailure(.cannotWrite, "\(target.path(percentEncoded: false)) is there already")
        }
        try queue.backUp(to: target)
        let path = target.path(percentEncoded: false)
        if json { return try StandardOutput.json(["path": .string(path)]) }
        try StandardOutput.line(path)
    }
}
