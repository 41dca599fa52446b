/// A rule of the workspace that does not hold, and where.
package struct Violation: Sendable, Equatable, CustomStringConvertible {
    /// The rules that hold at every moment, whatever crashed; their names are stable.
    package enum Invariant: String, CaseIterable, Sendable {
        case origin = "I1"
        case liveAttempt = "I2"
        case endings = "I3"
        case outputs = "I4"
        case versions = "I5"
        case aliases = "I6"
        case claims = "I7"
        case files = "I8"
        case keys = "I9"
        case database = "I10"
        case order = "I11"

        /// The rule in one sentence.
        package var rule: String {
            switch self {
            case .origin: "every accepted file has a job, and every job comes from one file, schedule or job"
            case .liveAttempt: "a stage has at most one live attempt, and only a running job has any"
            case .endings: "what has ended says when, what has not does not, and nothing goes on in an ended job"
            case .outputs: "the output of a finished stage is there and is what was recorded"
            case .versions:
                "every version is whole, in the log, numbered without gaps, and of one attempt that succeeded"
            case .aliases: "every alias points at a version that is there, as its log says"
            case .claims: "nothing stays between inbox and verdict"
            case .files: "every file that was taken lies in one place, with its receipt or report"
            case .keys: "of one concurrency key one job has started, and none waits twice with equal content"
            case .database: "the database is sound"
            case .order: "what the scheduler reads is what follows from the jobs"
            }
        }
    }

    package let invariant: Invariant
    /// The job, stage, version, alias or file it is about.
    package let subject: String
    /// A sentence that says what is there and what should be.
    package let message: String
    /// Whether it can be put right without losing anything, from the files or from the rows that are the truth.
    package let isRepairable: Bool
    /// Whether a queue that is made anew from the files would know what this one does not.
    package var needsRebuild = false

    package var description: String { "\(invariant.rawValue) \(subject): \(message)" }
}
