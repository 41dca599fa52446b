package import Foundation

/// What a gate, or a person, has decided about a version, as the queue has committed it: the store follows.
package struct GateDecision: Sendable, Equatable {
    /// Who has decided.
    package enum Cause: String, Sendable {
        case gate
        /// A person who names the version.
        case hand
        /// A person who wants back what was there before.
        case rollback
    }

    /// Told apart by this in the log, so that it is followed once.
    package var id: String
    package var collection: ArtifactCollection
    package var name: String
    package var alias: String
    package var version: Int
    /// Of that version.
    package var digest: String
    /// Whether the alias moves to the version.
    package var moves: Bool
    /// What the alias pointed at when that was decided; `nil` when it pointed nowhere.
    package var from: Int?
    /// `passed`, `failed` or `held`; what a person decides has passed.
    package var outcome: String
    package var cause: Cause
    package var reason: String
    package var time: Date

    package init(
        id: String, collection: ArtifactCollection, name: String, alias: String, version: Int, digest: String,
        moves: Bool, from: Int?, outcome: String, cause: Cause = .gate, reason: String, time: Date
    ) {
        self.id = id
        self.collection = collection
        self.name = name
        self.alias = alias
        self.version = version
        self.digest = digest
        self.moves = moves
        self.from = from
        self.outcome = outcome
        self.cause = cause
        self.reason = reason
        self.time = time
    }

    /// What a line of the log says of a decision that the store has followed; `nil` for any other line.
    package init?(_ entry: LogEntry, of version: Version) {
        guard let id = entry.decision, let outcome = entry.gate, let alias = entry.alias,
            entry.version == version.number, let time = Timestamp.date(entry.time)
        else { return nil }
        self.init(
            id: id, collection: version.collection, name: version.name, alias: alias, version: version.number,
            digest: version.digest, moves: entry.event == .aliasMoved, from: entry.previous, outcome: outcome,
            reason: entry.reason ?? "", time: time)
    }

    /// How the store has followed.
    package enum Settlement: String, Sendable {
        /// The log says what was decided, and the alias has moved if it was to.
        case applied
        /// Somebody has moved the alias in between, or the version is damaged or gone; the alias stays where it is.
        case superseded
    }
}
