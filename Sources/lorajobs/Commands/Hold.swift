import ArgumentParser
import Orchestration

struct Hold: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Keep jobs that wait from starting, until release.")

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "Ids of jobs, or their unique beginnings.") var jobs: [String]

    mutating func run() throws {
        try JobControl(options.locate()).each(jobs) { queue, id in
            try queue.hold(id)
            return "holding \(id); let it go with: lorajobs release \(id)"
        }
    }
}
