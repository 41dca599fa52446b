package import Foundation

/// One time a schedule was due, and what came of it.
package struct ScheduleFire: Sendable, Equatable {
    package enum Outcome: String, Sendable {
        /// It made a job.
        case accepted
        /// A job with an equal manifest waited already.
        case coalesced
        /// Its idempotency key was used before.
        case duplicate
        /// It was too late, or `catch_up` left it out.
        case missed
        /// The manifest was wrong at that time; the report is beside the file.
        case rejected
        /// The schedule was paused.
        case skipped
    }

    package var schedule: String
    /// Its time on the wall, as `2026-11-21T02:30[Europe/Berlin]`; `manual-` and a ULID for `run-now`.
    package var occurrence: String
    package var firedAt: Date
    package var job: String?
    package var outcome: Outcome
}

/// What the queue knows of a schedule beside its file.
package struct ScheduleRecord: Sendable, Equatable {
    package var isPaused: Bool
    /// The digest of the file that counts; empty when the file is gone.
    var definition: String
    /// Occurrences up to here are settled, in milliseconds since 1970.
    var evaluated: Int64
    /// The newest that came of it.
    package var last: ScheduleFire?
}
