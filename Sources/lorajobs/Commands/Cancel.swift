import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct Cancel: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "End jobs. One that runs stops at its next checkpoint, and lorajobs retry goes on from there.")

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "Ids of jobs, or their unique beginnings.") var jobs: [String]
    @Flag(name: .long, help: "Kill what runs, without waiting for a checkpoint.") var now = false

    mutating func run() throws {
        let workspace = try options.locate()
        let atOnce = now
        try JobControl(workspace).each(jobs, pending: Self.takeBack) { queue, id in
            if try queue.cancel(id, atOnce: atOnce) { return "cancelled \(id)" }
            let isDaemonUp = try DaemonLock.holder(of: workspace) != nil
            if isDaemonUp && atOnce { return "\(id) is being killed" }
            return isDaemonUp ? "\(id) stops at its next checkpoint" : "\(id) will be stopped by the next daemon"
        }
    }

    /// Removes a manifest that no daemon has taken; whether it was still there.
    private static func takeBack(_ pending: (id: String, url: URL)) -> Bool {
        guard unlink(pending.url.path(percentEncoded: false)) == 0 else { return false }
        Talk.say("took \(pending.id) back before it became a job")
        return true
    }
}

/// What the verbs that change jobs have in common.
struct JobControl {
    let workspace: Workspace

    init(_ workspace: Workspace) { self.workspace = workspace }

    /// Does something to each job and says how it went; one that fails does not keep the others from it.
    ///
    /// - Parameter pending: What to do with a manifest that has not been taken; whether that settles it.
    /// - Throws: the first failure, after all were tried.
    func each(
        _ jobs: [String], pending: ((id: String, url: URL)) -> Bool = { _ in false },
        _ change: (JobQueue, String) throws -> String
    ) throws {
        var first: CommandFailure?
        for job in jobs {
            do {
                if let drop = PendingDrop.find(job, in: workspace), drop.url.path.hasPrefix(workspace.inbox.path),
                    pending(drop)
                {
                    continue
                }
                let queue = try QueueAccess.writing(workspace, for: job)
                Talk.say(try change(queue, try JobLookup.id(job, in: queue)))
                try queue.close()
            } catch {
                var failure = CommandFailure(error)
                if failure.status == .notFound, let better = try QueueAccess.pendingFailure(job, in: workspace) {
                    failure = better
                }
                if jobs.count > 1 { Talk.say("lorajobs: \(failure.description)") }
                first = first ?? CommandFailure(failure.status, jobs.count > 1 ? "" : failure.description)
            }
        }
        DaemonLock.poke(workspace)
        if let first { throw first }
    }
}
