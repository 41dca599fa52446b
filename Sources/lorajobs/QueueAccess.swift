import Foundation
import Orchestration
import PipelineSpec

/// How verbs reach the queue of a workspace, which a new workspace does not have yet.
enum QueueAccess {
    /// The queue to read; `nil` as long as there is none.
    ///
    /// - Throws: When it is lost, with what to do.
    static func reading(_ workspace: Workspace) throws -> JobQueue? {
        try LostQueue.check(workspace)
        guard access(workspace.database.path(percentEncoded: false), F_OK) == 0 else { return nil }
        do {
            return try JobQueue.openReadOnly(workspace.database)
        } catch let error as OrchestrationError where error.code == .notFound {
            // The first daemon is making it at this moment.
            return nil
        }
    }

    /// The queue to change, for jobs that are in it.
    ///
    /// - Throws: ``CommandFailure`` as long as there is none, so that a mistyped id does not make one.
    static func writing(_ workspace: Workspace, for job: String) throws -> JobQueue {
        try LostQueue.check(workspace)
        guard access(workspace.database.path(percentEncoded: false), F_OK) == 0 else {
            throw JobLookup.failure(job, among: [])
        }
        return try JobQueue.open(workspace)
    }
}

extension QueueAccess {
    /// All that is known of the job a person means.
    ///
    /// - Throws: ``CommandFailure`` when there is none, which says so when its manifest still lies in the inbox.
    static func detail(_ job: String, in workspace: Workspace) throws -> JobDetail {
        do {
            guard let queue = try reading(workspace) else { throw JobLookup.failure(job, among: []) }
            let isDown = try DaemonLock.holder(of: workspace) == nil
            return try queue.show(JobLookup.id(job, in: queue), isDaemonDown: isDown)
        } catch let failure as CommandFailure where failure.status == .notFound {
            throw try pendingFailure(job, in: workspace) ?? failure
        }
    }

    /// That a manifest has not become a job yet; `nil` when there is no such manifest.
    static func pendingFailure(_ job: String, in workspace: Workspace) throws -> CommandFailure? {
        guard let pending = PendingDrop.find(job, in: workspace) else { return nil }
        let isRunning = try DaemonLock.holder(of: workspace) != nil
        return CommandFailure(
            isRunning ? .busy : .daemonDown,
            "\(pending.id) is no job yet: its manifest is \(workspace.relativePath(pending.url)); "
                + (isRunning ? "the daemon is about to take it, try again" : "start a daemon with: lorajobs daemon"))
    }
}
