import ArgumentParser
import Orchestration

struct Release: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Let held jobs go.")

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "Ids of jobs, or their unique beginnings.") var jobs: [String]

    mutating func run() throws {
        try JobControl(options.locate()).each(jobs) { queue, id in
            try queue.release(id)
            return "released \(id)"
        }
    }
}
