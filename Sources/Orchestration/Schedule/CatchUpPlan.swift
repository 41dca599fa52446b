import Foundation
import PipelineSpec

/// What becomes of the occurrences that have passed since a schedule was last looked at.
struct CatchUpPlan: Equatable {
    /// They make a job each, from the oldest to the newest.
    var due: [Occurrence]
    /// They are only recorded.
    var missed: [Occurrence]

    /// Most occurrences that one look deals with; of more, the oldest are forgotten.
    static let limit = 1000
    /// So much later than its time, in seconds, an occurrence is still on time: a busy machine is no failure.
    static let promptness = 120.0

    init(_ definition: ScheduleDefinition, after last: Date, through now: Date) {
        let passed = definition.cron.occurrences(after: last, through: now, in: definition.timeZone, limit: Self.limit)
        let lateness = definition.catchUp == .none ? Self.promptness : definition.maxLatenessSeconds
        let current = passed.filter { now.timeIntervalSince($0.date) <= lateness }
        due = definition.catchUp == .latest ? current.suffix(1) : current
        missed = Array(passed.dropLast(due.count))
    }

    var isEmpty: Bool { due.isEmpty && missed.isEmpty }
}
