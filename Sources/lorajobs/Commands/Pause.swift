import ArgumentParser
import Orchestration

struct Pause: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Stop jobs at their next checkpoint and give their cores back, until resume.",
        discussion: """
            A job that waits is kept from starting. One that runs is stopped by the daemon; with none running, by the \
            next one, and its stage goes on until then. A paused job keeps its concurrency key.
            """)

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "Ids of jobs, or their unique beginnings.") var jobs: [String]

    mutating func run() throws {
        let workspace = try options.locate()
        try JobControl(workspace).each(jobs) { queue, id in
            if try queue.pause(id) { return "paused \(id); let it go on with: lorajobs resume \(id)" }
            let isDaemonUp = try DaemonLock.holder(of: workspace) != nil
            return isDaemonUp
                ? "\(id) stops at its next checkpoint; let it go on with: lorajobs resume \(id)"
                : "\(id) goes on until a daemon runs, which will stop it at a checkpoint: lorajobs daemon"
        }
    }
}
