import ArgumentParser
import Orchestration

struct Prioritize: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Change the place of a job in its queue.",
        discussion: "Write a priority below zero after --, as in: lorajobs prioritize JOB -- -5")

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "The job's id, or its unique beginning.") var job: String
    @Argument(help: "-100 to 100; higher goes first, 0 is usual.") var priority: Int

    mutating func validate() throws {
        guard (-100...100).contains(priority) else {
            throw ValidationError("a priority is between -100 and 100, not \(priority)")
        }
    }

    mutating func run() throws {
        try JobControl(options.locate()).each([job]) { queue, id in
            try queue.prioritize(id, to: priority)
            return "priority of \(id) is \(priority)"
        }
    }
}
