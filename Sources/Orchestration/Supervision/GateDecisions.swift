package import Artifacts
import Foundation
package import PipelineSpec

/// Lets aliases and logs of the store follow what gates, and people, have decided.
///
/// The database has the decision first, a gate's together with the end of its job. What a crash left undone is done by
/// whoever comes next: a daemon when it starts, `doctor --repair`, and the verbs that move aliases. The transaction
/// that notes a move as done is the one that makes its notice, so a move that happens is told.
package enum GateDecisions {
    /// Follows every decision that is open.
    ///
    /// One whose artifact is damaged stays open, and keeps none of the others from being followed.
    ///
    /// - Returns: Why decisions are still open.
    @discardableResult
    static func follow(_ queue: JobQueue, _ store: ArtifactStore) throws -> [ArtifactError] {
        var damage: [ArtifactError] = []
        for decision in try queue.openDecisions() {
            do {
                try follow(decision, queue, store)
            } catch let error as ArtifactError where error.code == .damaged {
                damage.append(error)
            }
        }
        return damage
    }

    /// The same for a workspace whose queue nobody has opened; nothing where there is none.
    package static func follow(in workspace: Workspace) throws {
        guard let queue = try queue(of: workspace) else { return }
        try follow(queue, ArtifactStore(workspace.artifacts))
        try queue.close()
    }

    /// Points an alias at a version because a person says so, after all that was decided before.
    ///
    /// - Returns: The version, and what the alias pointed at before.
    /// - Throws: As ``ArtifactStore/promote(_:alias:in:reason:now:)``; `wrongState` when somebody else has moved the
    ///   alias in the same moment.
    package static func promote(
        _ reference: ArtifactReference, alias: String, reason: String, in workspace: Workspace
    ) throws -> (version: Version, before: Int?) {
        let store = ArtifactStore(workspace.artifacts)
        guard let queue = try queue(of: workspace) else {
            return try store.promote(reference, alias: alias, reason: reason)
        }
        return try move(in: workspace, queue, store) {
            try store.decidePromotion(reference, alias: alias, reason: reason, id: $0)
        }
    }

    /// Points an alias back at what it was before, in the same way.
    ///
    /// - Throws: As ``ArtifactStore/rollBack(_:alias:to:in:reason:now:)``; `wrongState`.
    package static func rollBack(
        _ name: String, alias: String, to number: Int?, reason: String, in workspace: Workspace
    ) throws -> (version: Version, before: Int?) {
        let store = ArtifactStore(workspace.artifacts)
        guard let queue = try queue(of: workspace) else {
            let moved = try store.rollBack(name, alias: alias, to: number, reason: reason)
            return (moved.now, moved.before)
        }
        return try move(in: workspace, queue, store) {
            try store.decideRollBack(name, alias: alias, to: number, reason: reason, id: $0)
        }
    }

    private static func move(
        in workspace: Workspace, _ queue: JobQueue, _ store: ArtifactStore,
        _ decide: (_ id: String) throws -> (version: Version, decision: GateDecision)
    ) throws -> (version: Version, before: Int?) {
        try follow(queue, store)
        let (version, decision) = try decide(ULID().description)
        if decision.moves {
            try queue.record(decision)
            try Failpoint.moveRecorded.hit()
            guard try follow(decision, queue, store) == .applied else {
                throw OrchestrationError(
                    .wrongState,
                    "\(decision.alias) of \(decision.name) stays as it is: somebody has moved it in this moment, or "
                        + "\(version.reference) is gone; look again, and try again")
            }
        }
        try queue.close()
        if decision.moves { DaemonLock.poke(workspace) }
        return (version, decision.from)
    }

    @discardableResult
    private static func follow(
        _ decision: GateDecision, _ queue: JobQueue, _ store: ArtifactStore
    ) throws -> GateDecision.Settlement {
        let settlement: GateDecision.Settlement
        do {
            settlement = try store.follow(decision)
        } catch let error as ArtifactError where error.code == .noSuchArtifact {
            settlement = .superseded
        }
        try Failpoint.decisionFollowed.hit()
        try queue.noteFollowed(decision, settlement)
        return settlement
    }

    private static func queue(of workspace: Workspace) throws -> JobQueue? {
        guard access(workspace.database.path(percentEncoded: false), F_OK) == 0 else { return nil }
        return try JobQueue.open(workspace)
    }
}
