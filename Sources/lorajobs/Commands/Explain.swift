import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct Explain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say why a job waits, and why each of its stages ran, was cached, skipped or failed.")

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "The job's id, or its unique beginning.") var job: String
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func run() throws {
        let workspace = try options.locate()
        let detail = try QueueAccess.detail(job, in: workspace)
        let status = detail.status
        let standing = try QueueAccess.reading(workspace)?.standing(of: status.id)
        let meaning = status.state.isFinal ? nil : status.reason.flatMap(Self.meaning)
        if json {
            return try StandardOutput.json([
                "id": .string(status.id), "state": .string(status.state.rawValue), "reason": .optional(status.reason),
                "meaning": .optional(meaning), "standing": standing.map(Self.json) ?? .null,
                "stages": .array(
                    detail.stages.map {
                        .object([
                            "name": .string($0.name), "state": .string($0.state.rawValue), "why": .optional($0.why),
                            "cache_key": .optional($0.cacheKey),
                        ])
                    }),
            ])
        }
        let reason = status.reason.map { ": \(PrintableText.line($0, limit: 400))" } ?? ""
        try StandardOutput.line(Self.sentence(status) + reason)
        if let meaning { try StandardOutput.line(meaning) }
        for line in standing.map({ Self.lines($0, status) }) ?? [] { try StandardOutput.line(line) }
        var table = Table("STAGE STATE ~WHY")
        for stage in detail.stages {
            let failure = stage.attempts.last?.failure.map { "\($0.code): \($0.message)" }
            table.add([
                Table.Cell(stage.name), Table.Cell(stage.state.rawValue), Table.Cell(stage.why ?? failure ?? ""),
            ])
        }
        try StandardOutput.write("\n" + table.text(.output))
    }

    /// `tone succeeded`, or `tone is queued`.
    static func sentence(_ status: JobStatus) -> String {
        let hasVerb = [.succeeded, .failed].contains(status.state)
        return "\(status.name) \(hasVerb ? "" : "is ")\(status.state.rawValue)"
    }

    /// The place of a queued job in numbers.
    private static func lines(_ standing: JobStanding, _ status: JobStatus) -> [String] {
        let priority = standing.priority
        func points(_ value: Double) -> String { String(format: "%.1f", value) }
        func percent(_ part: Double) -> String { String(format: "%.0f %%", part * 100) }
        var needs =
            "needs      \(standing.threads) threads of \(standing.capacity.threads), \(standing.usedThreads) in use"
        if let bytes = standing.memoryBytes {
            let limit = standing.capacity.memoryBytes.map { " of \(Capacity.text($0))" } ?? ""
            needs += "; memory \(Capacity.text(bytes))\(limit), \(Capacity.text(standing.usedMemoryBytes)) in use"
        }
        let before =
            switch standing.before {
            case nil where status.reason?.hasPrefix("Resources(queue)") == true:
                "its queue \(status.queue) is full: lorajobs queue ls"
            case nil: "many; it is not among the first \(JobQueue.window) of its tenant and queue"
            case let jobs? where jobs.isEmpty: "nobody"
            case let jobs?:
                jobs.suffix(5).joined(separator: ", ") + (jobs.count > 5 ? " and \(jobs.count - 5) more" : "")
            }
        return [
            "priority   \(points(priority.total)) points: job \(points(priority.job)), "
                + "queue \(points(priority.queue)), waiting \(points(priority.age)), fair share \(points(priority.share))",
            "usage      \(Durations.text(standing.usedCoreSeconds)) of one core lately, "
                + "\(percent(standing.usedPart)) of all; entitled to \(percent(standing.entitledPart))",
            needs, "before it  \(before)",
        ]
    }

    private static func json(_ standing: JobStanding) -> JSON {
        .object([
            "priority": .object([
                "total": .number(standing.priority.total), "job": .number(standing.priority.job),
                "queue": .number(standing.priority.queue), "age": .number(standing.priority.age),
                "fair_share": .number(standing.priority.share),
            ]),
            "used_core_seconds": .number(standing.usedCoreSeconds), "used_part": .number(standing.usedPart),
            "entitled_part": .number(standing.entitledPart), "threads": .integer(standing.threads),
            "memory_bytes": .optional(standing.memoryBytes.map { Int($0) }),
            "capacity": .object([
                "threads": .integer(standing.capacity.threads),
                "memory_bytes": .optional(standing.capacity.memoryBytes.map { Int($0) }),
            ]),
            "in_use": .object([
                "threads": .integer(standing.usedThreads), "memory_bytes": .integer(Int(standing.usedMemoryBytes)),
            ]),
            "before": standing.before.map { .array($0.map { .string($0) }) } ?? .null,
        ])
    }

    /// What a word of the REASON column means, and what to do about it.
    static func meaning(_ reason: String) -> String? {
        switch reason.prefix(while: { $0 != "(" }) {
        case "Priority": "Others go first; lorajobs prioritize JOB 50 moves it up."
        case "Resources":
            switch reason.dropFirst(10) {
            case "mem)": "Too little memory is free; what is there is kept for it as others end."
            case "queue)": "Its queue runs as many jobs as it may: queues in lorajobs.yaml, or lorajobs queue set."
            default: "Too few cores are free; those that get free are kept for it."
            }
        case "Fit":
            "It wants more memory than jobs may ever use here: memory in lorajobs.yaml, or cancel it and ask for less."
        case "Dependency": "Jobs that it comes after have not ended."
        case "Held" where reason.contains("("): "It is kept back for that reason; lorajobs release JOB lets it go."
        case "Held": "A person keeps it back; lorajobs release JOB lets it go."
        case "Paused": "A person has stopped it at a checkpoint; lorajobs resume JOB lets it go on."
        case "BeginTime": "Its time has not come."
        case "Concurrency": "A job with the same concurrency key goes first; they take turns."
        case "RetryAt": "A stage failed and is tried again then; lorajobs logs JOB says why."
        case "DiskLow": "There is too little free space to start anything; free some and it goes on by itself."
        case "QueuePaused": "Its queue is paused; lorajobs queue resume NAME lets it go on."
        case "Quiet": "These are quiet hours, in which nothing runs: quiet in lorajobs.yaml. It goes on by itself."
        case "DaemonDown": "Nobody is there to start it; lorajobs daemon does."
        default: nil
        }
    }
}
