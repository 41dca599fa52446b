import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct QueueCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "queue", abstract: "List queues; pause, resume, drain or widen one.",
        subcommands: [List.self, Pause.self, Resume.self, Drain.self, Set.self], defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "ls", abstract: "List the queues.")

        @OptionGroup var options: WorkspaceOptions
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let setup = try WorkspaceSetup(options.locate())
            let known = try QueueAccess.reading(setup.workspace)?.queues() ?? []
            let queues = setup.settings.queues.sorted { $0.key < $1.key }.map { name, settings in
                known.first { $0.name == name }
                    ?? QueueStatus(name: name, maximumJobs: settings.maxJobs, priority: settings.priority)
            }
            if json {
                return try StandardOutput.json([
                    "queues": .array(
                        queues.map { queue in
                            .object([
                                "name": .string(queue.name), "paused": .bool(queue.isPaused),
                                "max_jobs": .optional(queue.maximumJobs), "max_jobs_set": .bool(queue.isMaximumSet),
                                "priority": .integer(queue.priority), "running": .integer(queue.running),
                                "waiting": .integer(queue.waiting),
                            ])
                        })
                ])
            }
            var table = Table("QUEUE STATE >RUNNING >WAITING >MAX_JOBS >PRIORITY")
            for queue in queues {
                table.add([
                    Table.Cell(queue.name),
                    Table.Cell(queue.isPaused ? "paused" : "open", queue.isPaused ? .yellow : nil),
                    Table.Cell("\(queue.running)"), Table.Cell("\(queue.waiting)"),
                    Table.Cell(queue.maximumJobs.map { "\($0)\(queue.isMaximumSet ? " (set)" : "")" } ?? ""),
                    Table.Cell("\(queue.priority)"),
                ])
            }
            try StandardOutput.write(table.text(.output))
        }
    }

    struct Pause: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Start no more jobs of a queue. What runs goes on.")
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

    struct Set: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say how many jobs of a queue run at once at most.",
            discussion: "It stands in place of what lorajobs.yaml says until --max-jobs default takes it back.")
        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The queue.") var name: String
        @Option(name: .long, help: ArgumentHelp("A number from 1, or default.", valueName: "n")) var maxJobs: String

        mutating func validate() throws { _ = try count() }

        mutating func run() throws {
            let count = try count()
            try QueueCommand.changing([name], options) { try $0.setMaximumJobs(count, queue: $1[0]) }
            Talk.say(count.map { "\(name) runs at most \($0) at once" } ?? "\(name) runs as many as lorajobs.yaml says")
        }

        private func count() throws -> Int? {
            if maxJobs == "default" { return nil }
            guard let count = Int(maxJobs), (1...1000).contains(count) else {
                throw ValidationError("--max-jobs: expected 1 to 1000, or default, not \(maxJobs)")
            }
            return count
        }
    }

    struct Drain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Pause a queue, or all of them, and wait until nothing of it runs.",
            discussion: """
                With --now, what runs stops at its next checkpoint and waits in its queue again. The queues stay \
                paused until lorajobs queue resume. Exits with 124 when the time runs out first.
                """)
        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The queue; without it, all of them.") var name: String?
        @Flag(name: .long, help: "Ask what runs to stop at its next checkpoint.") var now = false
        @Option(name: .long, help: ArgumentHelp("Wait no longer than this, such as 90s or 8h.", valueName: "time"))
        var timeout: String?

        mutating func validate() throws { if let timeout { _ = try seconds(timeout) } }

        mutating func run() async throws {
            let workspace = try options.locate()
            let names = try name.map { [$0] } ?? WorkspaceSetup(workspace).settings.queues.keys.sorted()
            let isAtOnce = now
            let running = try QueueCommand.changing(names, options) { try $0.drain($1, now: isAtOnce) }
            let what = name ?? "all queues"
            if !running.isEmpty { Talk.say("draining \(what); still running: \(running.joined(separator: ", "))") }
            let deadline = JobWatch.deadline(try timeout.map(seconds))
            guard let queue = try QueueAccess.reading(workspace) else { return }
            while true {
                let left = try queue.draining(names)
                if left.isEmpty { break }
                if let deadline, ContinuousClock.now >= deadline {
                    throw CommandFailure(.timedOut, "still running: \(left.joined(separator: ", "))")
                }
                try await Task.sleep(for: .milliseconds(200))
            }
            Talk.say("drained \(what); go on with: lorajobs queue resume NAME")
        }
    }

    private static func set(_ name: String, isPaused: Bool, _ options: WorkspaceOptions) throws {
        try changing([name], options) { try $0.setPaused(isPaused, queue: $1[0]) }
    }

    /// Changes queues that `lorajobs.yaml` knows, and tells the daemon.
    private static func changing<T>(
        _ names: [String], _ options: WorkspaceOptions, _ change: (JobQueue, [String]) throws -> T
    ) throws -> T {
        let setup = try WorkspaceSetup(options.locate())
        for name in names where setup.settings.queues[name] == nil {
            let known = setup.settings.queues.keys.sorted().joined(separator: ", ")
            throw CommandFailure(
                .notFound, "there is no queue \(PrintableText.quoted(name)); lorajobs.yaml gives \(known)")
        }
        let queue = try JobQueue.open(setup.workspace)
        let value = try change(queue, names)
        try queue.close()
        DaemonLock.poke(setup.workspace)
        return value
    }
}
