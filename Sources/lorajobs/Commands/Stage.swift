import ArgumentParser
import Foundation
import PipelineSpec
import Stages

/// What the daemon starts for each attempt at a stage; people never type it.
struct StageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stage", abstract: "Run one attempt at a stage, as its run directory asks.", shouldDisplay: false)

    @Argument(help: "The run directory.") var directory: String

    mutating func run() throws {
        Engine.useFastestKernels()
        let url = URL(filePath: directory, directoryHint: .isDirectory).absoluteURL
        let code = StageProcess.run(RunDirectory(url))
        if code != 0 { throw ExitCode(code) }
    }
}
