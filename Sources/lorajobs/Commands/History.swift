import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct History: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List jobs that have ended, the newest last, or everything that happened to one.")

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "A job's id, or its unique beginning: what happened to it, step by step.") var job: String?
    @Option(name: .long, help: "Only jobs of this name.") var name: String?
    @Option(
        name: .long, help: ArgumentHelp("Only since then: yesterday, 12h, 7d or 2027-01-31.", valueName: "time"))
    var since: String?
    @Option(name: .shortAndLong, help: "The newest so many.") var n = 50
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func validate() throws {
        if let since, Moments.since(since, now: Date()) == nil {
            throw ValidationError(
                "--since: expected a time such as yesterday, 12h or 2027-01-31, got \(PrintableText.quoted(since))")
        }
        if n < 0 { throw ValidationError("-n: expected a number of jobs, got \(n)") }
    }

    mutating func run() throws {
        let workspace = try options.locate()
        if let job { return try showEvents(QueueAccess.detail(job, in: workspace)) }
        var filter = JobFilter()
        filter.name = name
        filter.limit = n
        filter.endedSince = since.flatMap { Moments.since($0, now: Date()) } ?? .distantPast
        let jobs = try QueueAccess.reading(workspace)?.list(filter) ?? []
        if json { return try StandardOutput.json(["jobs": .array(jobs.map { .object(StatusReport.json($0)) })]) }
        if jobs.isEmpty { return Talk.say("no job has ended" + (since == nil ? " yet" : " since then")) }
        var table = Table("ENDED ID NAME STATE TOOK ADAPTER ~REASON")
        for job in jobs {
            let color: Terminal.Color? = job.state == .failed ? .red : job.state == .succeeded ? .green : nil
            table.add([
                Table.Cell(job.finishedAt.map(Moments.local) ?? ""), Table.Cell(job.id), Table.Cell(job.name),
                Table.Cell(job.state.rawValue, color), Table.Cell(job.elapsed.map(Durations.text) ?? ""),
                Table.Cell(job.adapter ?? ""), Table.Cell(job.reason ?? ""),
            ])
        }
        try StandardOutput.write(table.text(.output))
    }

    private func showEvents(_ detail: JobDetail) throws {
        let events = detail.events.suffix(n)
        if json {
            return try StandardOutput.json([
                "id": .string(detail.status.id),
                "events": .array(
                    events.map { event in
                        .object([
                            "at": .optional(event.at), "kind": .string(event.kind), "stage": .optional(event.stage),
                            "attempt": .optional(event.attempt),
                            "data": .object(event.data.mapValues { .string($0) }),
                        ])
                    }),
            ])
        }
        var table = Table("TIME EVENT STAGE ~MORE")
        for event in events {
            let more = event.data.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
            table.add([
                Table.Cell(Moments.local(event.at)), Table.Cell(event.kind.replacing("_", with: " ")),
                Table.Cell(event.stage ?? ""), Table.Cell(PrintableText.line(more, limit: 400)),
            ])
        }
        try StandardOutput.write(table.text(.output))
    }
}
