import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct Wait: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Wait until jobs have ended.",
        discussion:
            "Exit code: 0 when all succeeded, 1 when one failed, 2 when one was cancelled, 124 when the time was up.")

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "Ids of jobs, or their unique beginnings.") var jobs: [String]
    @Option(name: .long, help: ArgumentHelp("Wait no longer than this, such as 90s or 8h.", valueName: "time"))
    var timeout: String?
    @Flag(name: .long, help: "Show how they move.") var follow = false
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func validate() throws {
        if let timeout { _ = try seconds(timeout) }
    }

    mutating func run() async throws {
        let workspace = try options.locate()
        var watch = JobWatch(workspace: workspace)
        watch.showsProgress = follow
        watch.deadline = JobWatch.deadline(try timeout.map(seconds))
        // Every id is looked up before anything is waited for.
        let ids = try jobs.map { try Self.id($0, in: workspace) }
        var ended: [JobStatus] = []
        for entry in ids {
            let id = entry.isPending ? try await watch.job(of: entry.id) : entry.id
            let status = try await watch.end(of: id)
            if !json {
                try StandardOutput.line("\(status.id)  \(status.state.rawValue)  \(status.adapter ?? "")".trimmed)
            }
            if status.state != .succeeded { Talk.say(JobWatch.summary(status)) }
            ended.append(status)
        }
        if json { try StandardOutput.json(["jobs": .array(ended.map { .object(StatusReport.json($0)) })]) }
        try JobWatch.exitStatus(ended.map(\.state)).end()
    }

    private static func id(_ text: String, in workspace: Workspace) throws -> (id: String, isPending: Bool) {
        do {
            guard let queue = try QueueAccess.reading(workspace) else { throw JobLookup.failure(text, among: []) }
            return (try JobLookup.id(text, in: queue), false)
        } catch let failure as CommandFailure where failure.status == .notFound {
            guard let pending = PendingDrop.find(text, in: workspace) else { throw failure }
            return (pending.id, true)
        }
    }
}

extension String {
    /// Without spaces at the end.
    fileprivate var trimmed: String {
        var result = self
        while result.last == " " { result.removeLast() }
        return result
    }
}
