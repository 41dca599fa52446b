import Artifacts
import Foundation
package import PipelineSpec

/// Lets aliases and logs of the store follow what gates have decided.
///
/// The database has the decision first, together with the end of the job. What a crash left undone is done by whoever
/// comes next: a daemon when it starts, `doctor --repair`, and the verbs that move aliases themselves.
package enum GateDecisions {
    /// Follows every decision that is open.
    ///
    /// - Returns: How many there were.
    @discardableResult
    static func follow(_ queue: JobQueue, _ store: ArtifactStore) throws -> Int {
        let open = try queue.openDecisions()
        for decision in open {
            let settlement: GateDecision.Settlement
            do {
                settlement = try store.follow(decision)
            } catch let error as ArtifactError where error.code == .noSuchArtifact {
                settlement = .superseded
            }
            try Failpoint.decisionFollowed.hit()
            try queue.noteFollowed(decision, settlement)
        }
        return open.count
    }

    /// The same for a workspace whose queue nobody has opened; nothing where there is none.
    package static func follow(in workspace: Workspace) throws {
        guard access(workspace.database.path(percentEncoded: false), F_OK) == 0 else { return }
        let queue = try JobQueue.open(workspace.database)
        try follow(queue, ArtifactStore(workspace.artifacts))
        try queue.close()
    }
}
