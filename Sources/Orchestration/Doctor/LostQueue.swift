import Foundation
import Glibc
package import PipelineSpec

/// Notices that the queue's file is gone although there have been jobs, before a new and empty one is made in its place.
///
/// What has been filed or has run was in the queue first, and durably: no loss of power leaves those files without it. What
/// lies in the inbox or in `claimed` may have come before the first commit, and is taken up by the next daemon.
package enum LostQueue {
    /// Whether there is no file, or an empty one, beside manifests that were filed or folders of jobs.
    package static func isLost(in workspace: Workspace) throws -> Bool {
        var status = stat()
        if stat(workspace.database.path(percentEncoded: false), &status) == 0 {
            guard status.st_size == 0 else { return false }
        } else if errno != ENOENT {
            throw OrchestrationError(system: "examine", workspace.database.path, errno)
        }
        return try hasJobs(workspace)
    }

    /// Refuses to go on without the queue.
    ///
    /// - Throws: `damagedDatabase`, with the line to type.
    package static func check(_ workspace: Workspace) throws {
        guard try isLost(in: workspace) else { return }
        throw OrchestrationError(.damagedDatabase, message(workspace))
    }

    static func message(_ workspace: Workspace) -> String {
        "the queue \(workspace.database.path(percentEncoded: false)) is gone, and there have been jobs: nothing is lost yet; "
            + "put it back, or make it anew from the files: lorajobs doctor --rebuild"
    }

    private static func hasJobs(_ workspace: Workspace) throws -> Bool {
        for home in [workspace.accepted, workspace.rejected] {
            for day in try RecoveredFiles.folders(in: InboxEntry.path(home)) {
                if try InboxEntry.names(in: day).contains(where: { InboxName.claim(in: $0) != nil }) { return true }
            }
        }
        return try RecoveredFiles.folders(in: InboxEntry.path(workspace.runs)).contains {
            ULID(($0 as NSString).lastPathComponent) != nil
        }
    }
}

extension JobQueue {
    /// Opens the queue of a workspace to read and write, as ``open(_:now:)``; makes it in a new workspace.
    ///
    /// - Throws: `damagedDatabase` where it is lost: a new one would hide that.
    package static func open(
        _ workspace: Workspace, now: @escaping @Sendable () -> Int64 = wallClock
    ) throws -> JobQueue {
        try LostQueue.check(workspace)
        return try open(workspace.database, now: now)
    }
}
