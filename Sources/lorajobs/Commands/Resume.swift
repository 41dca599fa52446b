import ArgumentParser
import Orchestration

struct Resume: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Let paused jobs go on from their checkpoints, as soon as there is room.")

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "Ids of jobs, or their unique beginnings.") var jobs: [String]

    mutating func run() throws {
        try JobControl(options.locate()).each(jobs) { queue, id in
            try queue.resume(id)
            return "resumed \(id)"
        }
    }
}
