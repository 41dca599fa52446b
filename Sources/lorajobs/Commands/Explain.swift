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
        let detail = try QueueAccess.detail(job, in: options.locate())
        let status = detail.status
        let meaning = status.state.isFinal ? nil : status.reason.flatMap(Self.meaning)
        if json {
            return try StandardOutput.json([
                "id": .string(status.id), "state": .string(status.state.rawValue), "reason": .optional(status.reason),
                "meaning": .optional(meaning),
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
        try StandardOutput.line("\(status.name) is \(status.state.rawValue)\(reason)")
        if let meaning { try StandardOutput.line(meaning) }
        var table = Table("STAGE STATE ~WHY")
        for stage in detail.stages {
            let failure = stage.attempts.last?.failure.map { "\($0.code): \($0.message)" }
            table.add([
                Table.Cell(stage.name), Table.Cell(stage.state.rawValue), Table.Cell(stage.why ?? failure ?? ""),
            ])
        }
        try StandardOutput.write("\n" + table.text(.output))
    }

    /// What a word of the REASON column means, and what to do about it.
    static func meaning(_ reason: String) -> String? {
        switch reason.prefix(while: { $0 != "(" }) {
        case "Priority": "Another job of its queue goes first; lorajobs prioritize JOB 50 moves it up."
        case "Resources":
            "Too few cores are free, or its queue runs as many jobs as it may (queues in lorajobs.yaml)."
        case "Dependency": "A job that it comes after has not ended."
        case "Held": "A person keeps it back; lorajobs release JOB lets it go."
        case "BeginTime": "Its time has not come."
        case "Concurrency": "A job with the same concurrency key runs; they take turns."
        case "RetryAt": "A stage failed and is tried again then; lorajobs logs JOB says why."
        case "DiskLow": "There is too little free space to start anything; free some and it goes on by itself."
        case "QueuePaused": "Its queue is paused; lorajobs queue resume NAME lets it go on."
        default: nil
        }
    }
}
