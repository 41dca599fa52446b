import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct Logs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print what the stages of a job wrote: the newest attempt of each, or the one of --stage.",
        discussion: "With -f it goes on with the stage that runs, as the log grows and stages change.")

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "The job's id, or its unique beginning.") var job: String
    @Option(name: .long, help: "The stage.") var stage: String?
    @Option(name: .long, help: "Which try at it, from 1; else the last.") var attempt: Int?
    @Flag(name: .shortAndLong, help: "Go on as the log grows and stages change, until the job has ended.")
    var follow = false
    @Option(name: [.customShort("n"), .long], help: "Only the last so many lines.") var lines: Int?

    mutating func validate() throws {
        if let lines, lines < 0 { throw ValidationError("-n: expected a number of lines, got \(lines)") }
        if attempt != nil, stage == nil { throw ValidationError("--attempt goes with --stage") }
    }

    mutating func run() async throws {
        let workspace = try options.locate()
        let detail = try QueueAccess.detail(job, in: workspace)
        guard let first = try chosen(detail) else {
            let state = detail.stages.first { $0.name == stage }?.state.rawValue ?? detail.status.state.rawValue
            Talk.say("\(stage ?? detail.status.name) has no log: it is \(state)")
            if !follow || detail.status.state.isFinal { return }
            return try await grow(nil, detail.status.id, workspace)
        }
        if stage == nil, !follow || detail.status.state.isFinal { return try printAll(detail) }
        if stage == nil { try heading(first) }
        var file = LogFile(first)
        try file.start(atLastLines: lines)
        while try file.printMore() {}
        if follow { try await grow(file, detail.status.id, workspace) }
    }

    /// Prints every stage's newest attempt, in the order of the pipeline.
    private func printAll(_ detail: JobDetail) throws {
        for stage in detail.stages {
            guard let last = stage.attempts.last else { continue }
            var file = LogFile(
                LogFile.Attempt(stage: stage.name, number: last.number, directory: last.directory))
            try heading(file.attempt)
            try file.start(atLastLines: lines)
            while try file.printMore() {}
        }
    }

    private func heading(_ attempt: LogFile.Attempt) throws {
        try StandardOutput.line("== \(attempt.stage) (attempt \(attempt.number))")
    }

    /// Prints what comes, until the job has ended.
    private func grow(_ start: LogFile?, _ id: String, _ workspace: Workspace) async throws {
        var file = start
        while !StandardOutput.isClosed {
            // The state is read before the log, so that nothing is written in between and missed.
            let detail = try QueueAccess.detail(id, in: workspace)
            if let now = try chosen(detail), now.directory.url != file?.attempt.directory.url {
                while try file?.printMore() ?? false {}
                try heading(now)
                file = LogFile(now)
            }
            while try file?.printMore() ?? false {}
            if detail.status.state.isFinal { return }
            try await Task.sleep(for: .milliseconds(300))
        }
    }

    /// The attempt that is asked for; `nil` when there is none so far.
    private func chosen(_ detail: JobDetail) throws -> LogFile.Attempt? {
        var stages = detail.stages
        if let stage {
            stages = stages.filter { $0.name == stage }
            guard !stages.isEmpty else {
                let names = detail.stages.map(\.name).joined(separator: ", ")
                throw CommandFailure(.notFound, "the job has no stage \(PrintableText.quoted(stage)); it has \(names)")
            }
        }
        let all = stages.flatMap { stage in
            stage.attempts.map {
                ($0.startedAt, LogFile.Attempt(stage: stage.name, number: $0.number, directory: $0.directory))
            }
        }
        guard let attempt else { return all.max { $0.0 < $1.0 }?.1 }
        guard let match = all.first(where: { $0.1.number == attempt })?.1 else {
            throw CommandFailure(.notFound, "there was no attempt \(attempt) at this stage; there were \(all.count)")
        }
        return match
    }
}

/// A log that may still grow, printed piece by piece and never held as a whole.
private struct LogFile {
    struct Attempt {
        var stage: String
        var number: Int
        var directory: RunDirectory
    }

    let attempt: Attempt
    private var offset: UInt64 = 0

    init(_ attempt: Attempt) { self.attempt = attempt }

    /// Passes over all but the last lines.
    mutating func start(atLastLines count: Int?) throws {
        guard let count, let handle = try opened() else { return }
        defer { try? handle.close() }
        let end = try handle.seekToEnd()
        var start = end
        var newlines = 0
        let block: UInt64 = 65_536
        while start > 0 {
            let size = min(block, start)
            try handle.seek(toOffset: start - size)
            let data = try handle.read(upToCount: Int(size)) ?? Data()
            for (index, byte) in data.enumerated().reversed() where byte == UInt8(ascii: "\n") {
                let position = start - size + UInt64(index)
                // The end of the last line opens no line of its own.
                if position + 1 == end, count > 0 { continue }
                newlines += 1
                if newlines == max(1, count) {
                    offset = count == 0 ? end : position + 1
                    return
                }
            }
            start -= size
        }
        if count == 0 { offset = end }
    }

    /// Prints the next piece; whether there was one.
    mutating func printMore() throws -> Bool {
        guard !StandardOutput.isClosed, let handle = try opened() else { return false }
        defer { try? handle.close() }
        try handle.seek(toOffset: offset)
        guard let data = try handle.read(upToCount: 1 << 16), !data.isEmpty else { return false }
        offset += UInt64(data.count)
        try StandardOutput.write(data)
        return true
    }

    private func opened() throws -> FileHandle? {
        guard access(attempt.directory.log.path(percentEncoded: false), F_OK) == 0 else { return nil }
        return try FileHandle(forReadingFrom: attempt.directory.log)
    }
}
