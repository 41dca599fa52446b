import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct ScheduleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "schedule", abstract: "Show what recurs and when; pause, resume or run it now.",
        discussion: "A schedule is a manifest with a schedule: in Jobs/schedules; its name is the file's.",
        subcommands: [List.self, Next.self, Pause.self, Resume.self, RunNow.self], defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List the schedules, their next three times, and what came of the last.")

        @OptionGroup var options: WorkspaceOptions
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let setup = try WorkspaceSetup(options.locate())
            let reports = try ScheduleReport.all(setup)
            let now = Date()
            if json {
                return try StandardOutput.json([
                    "schedules": .array(reports.map { $0.json(setup.workspace, now: now) })
                ])
            }
            if reports.isEmpty {
                return Talk.say("there are no schedules; put a manifest with a schedule: in Jobs/schedules")
            }
            try StandardOutput.write(ScheduleReport.table(reports, .output, now: now))
            if try DaemonLock.holder(of: setup.workspace) == nil {
                Talk.say("no daemon runs, so nothing fires; start it with: lorajobs daemon")
            }
        }
    }

    struct Next: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print when schedules are due, the first one first.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The schedule; all of them when left out.") var name: String?
        @Option(name: .shortAndLong, help: "So many times.") var n = 5
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let setup = try WorkspaceSetup(options.locate())
            let reports = try name.map { [try ScheduleReport.named($0, setup)] } ?? ScheduleReport.all(setup)
            let now = Date()
            let count = min(max(0, n), 10_000)
            let times = reports.flatMap { report in report.next(count, after: now).map { (report.entry.id, $0) } }
                .sorted { ($0.1.date, $0.0) < ($1.1.date, $1.0) }.prefix(count)
            if json {
                return try StandardOutput.json([
                    "next": .array(
                        times.map { schedule, occurrence in
                            guard case .object(var members) = ScheduleReport.json(occurrence) else { return .null }
                            members["schedule"] = .string(schedule)
                            return .object(members)
                        })
                ])
            }
            if times.isEmpty { Talk.say("nothing is due: lorajobs schedule ls says why") }
            var table = Table("TIME ZONE IN NAME")
            for (schedule, occurrence) in times {
                let zone = occurrence.description.dropFirst(17).dropLast()
                table.add([
                    Table.Cell(occurrence.localTime), Table.Cell(String(zone)),
                    Table.Cell(Durations.text(occurrence.date.timeIntervalSince(now))), Table.Cell(schedule),
                ])
            }
            if !times.isEmpty { try StandardOutput.write(table.text(.output)) }
        }
    }

    struct Pause: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Let a schedule make no jobs. What falls into the pause never fires.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The schedule.") var name: String
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let id = try ScheduleCommand.set(name, isPaused: true, options)
            if json { return try StandardOutput.json(["name": .string(id), "state": "paused"]) }
            Talk.say("paused \(id); go on with: lorajobs schedule resume \(id)")
        }
    }

    struct Resume: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Let a schedule make jobs again, from now on.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The schedule.") var name: String
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let id = try ScheduleCommand.set(name, isPaused: false, options)
            let setup = try WorkspaceSetup(options.locate())
            let report = try ScheduleReport.named(id, setup)
            if json { return try StandardOutput.json(["name": .string(id), "state": .string(report.state.rawValue)]) }
            let next = report.next(1, after: Date()).first
            Talk.say("resumed \(id)" + (next.map { "; next at \($0.localTime)" } ?? ""))
        }
    }

    struct RunNow: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "run-now", abstract: "Make a job of a schedule now. Its times stay as they are.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The schedule.") var name: String
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let setup = try WorkspaceSetup(options.locate())
            let entry = try ScheduleReport.named(name, setup).entry
            guard entry.findings.isEmpty else {
                let report = ValidationReport(entry.findings)
                if json {
                    guard case .object(let members) = report.json else { return }
                    try StandardOutput.json(members)
                } else {
                    Talk.write(
                        report.text(
                            file: setup.workspace.relativePath(entry.url), source: entry.bytes,
                            consequence: "Nothing was queued."))
                }
                return try ExitStatus.invalidInput.end()
            }
            let zone = entry.file.definition?.timeZone ?? .current
            let queue = try JobQueue.open(setup.workspace)
            let fire = try queue.runSchedule(entry, entry.submission(at: Occurrence(at: Date(), in: zone)))
            try queue.close()
            DaemonLock.poke(setup.workspace)
            let id = fire.job ?? ""
            if json {
                return try StandardOutput.json([
                    "jobs": .array([.object(["id": .string(id)])]), "occurrence": .string(fire.occurrence),
                    "outcome": .string(fire.outcome.rawValue),
                ])
            }
            switch fire.outcome {
            case .coalesced: Talk.say("\(id) asks for the same and has not started; it stands for this one")
            case .duplicate: Talk.say("\(id) has the same idempotency key; there is no second job")
            default: break
            }
            try StandardOutput.line(id)
            if try DaemonLock.holder(of: setup.workspace) == nil {
                Talk.say("no daemon runs; the job starts once there is one: lorajobs daemon")
            }
        }
    }

    /// The schedule's name, after it was paused or resumed.
    private static func set(_ name: String, isPaused: Bool, _ options: WorkspaceOptions) throws -> String {
        let setup = try WorkspaceSetup(options.locate())
        let entry = try ScheduleReport.named(name, setup).entry
        let queue = try JobQueue.open(setup.workspace)
        try queue.setPaused(isPaused, schedule: entry)
        try queue.close()
        DaemonLock.poke(setup.workspace)
        return entry.id
    }
}
