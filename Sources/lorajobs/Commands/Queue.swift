import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct QueueCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "queue", abstract: "List queues; pause or resume one. What runs goes on.",
        subcommands: [List.self, Pause.self, Resume.self], defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "ls", abstract: "List the queues.")

        @OptionGroup var options: WorkspaceOptions
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let setup = try WorkspaceSetup(options.locate())
            let queue = try QueueAccess.reading(setup.workspace)
            let paused = try WorkspaceStatus(of: setup.workspace, queue: queue).pausedQueues
            var filter = JobFilter()
            filter.states = Set(JobState.allCases.filter { !$0.isFinal })
            let jobs = try queue?.list(filter) ?? []
            let names = setup.settings.queues.keys.sorted()
            func count(_ name: String, running: Bool) -> Int {
                jobs.count { $0.queue == name && ($0.state == .running) == running }
            }
            if json {
                return try StandardOutput.json([
                    "queues": .array(
                        names.map { name in
                            .object([
                                "name": .string(name), "paused": .bool(paused.contains(name)),
                                "max_jobs": .optional(setup.settings.queues[name]?.maxJobs),
                                "running": .integer(count(name, running: true)),
                                "waiting": .integer(count(name, running: false)),
                            ])
                        })
                ])
            }
            var table = Table("QUEUE STATE >RUNNING >WAITING >MAX_JOBS")
            for name in names {
                let isPaused = paused.contains(name)
                table.add([
                    Table.Cell(name), Table.Cell(isPaused ? "paused" : "open", isPaused ? .yellow : nil),
                    Table.Cell("\(count(name, running: true))"), Table.Cell("\(count(name, running: false))"),
                    Table.Cell(setup.settings.queues[name].map { "\($0.maxJobs)" } ?? ""),
                ])
            }
            try StandardOutput.write(table.text(.output))
        }
    }

    struct Pause: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Start no more jobs of a queue.")
        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The queue.") var name: String

        mutating func run() throws {
            try QueueCommand.set(name, isPaused: true, options)
            Talk.say("paused \(name); go on with: lorajobs queue resume \(name)")
        }
    }

    struct Resume: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Start jobs of a queue again.")
        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The queue.") var name: String

        mutating func run() throws {
            try QueueCommand.set(name, isPaused: false, options)
            Talk.say("resumed \(name)")
        }
    }

    private static func set(_ name: String, isPaused: Bool, _ options: WorkspaceOptions) throws {
        let setup = try WorkspaceSetup(options.locate())
        guard setup.settings.queues[name] != nil else {
            let names = setup.settings.queues.keys.sorted().joined(separator: ", ")
            throw CommandFailure(
                .notFound, "there is no queue \(PrintableText.quoted(name)); lorajobs.yaml gives \(names)")
        }
        let queue = try JobQueue.open(setup.workspace.database)
        try queue.setPaused(isPaused, queue: name)
        try queue.close()
        DaemonLock.poke(setup.workspace)
    }
}
