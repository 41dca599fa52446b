import Foundation
import PipelineSpec

/// How a job's budget becomes the limit of the stage that may end early.
extension JobDriver {
    /// When a stage is to end with what it has, so that those after it fit into the budget too.
    ///
    /// - Returns: `nil` for a stage that does its work whatever it takes, and for a job without a budget.
    func limit(of stage: StageRow, _ descriptor: StageDescriptor, in job: DrivenJob) throws -> StageLimit? {
        guard descriptor.endsEarly, let budget = job.manifest.run.budget else { return nil }
        let later = job.stages.filter { other in
            !other.state.isFinal && other.id != stage.id
                && other.plan.condition.map { CacheKey.isTrue($0, in: job.manifest) } ?? true
        }
        let plan = BudgetPlan(
            budget, try queue.budgetState(job.id), later: later.map(\.plan.name), try queue.history(of: job),
            now: Double(queue.now()) / 1000)
        // Without an end on record there is nothing to keep.
        guard plan.seconds.isFinite else { return nil }
        log.budgeted(stage.plan.name, seconds: plan.seconds, reserve: plan.reserve)
        return plan.limit
    }
}

/// A budget, divided between a stage that can end early and those after it: a pure function of what is known.
struct BudgetPlan: Equatable {
    /// Seconds for the stage, from now on.
    let seconds: Double
    /// Seconds that are kept for the stages after it.
    let reserve: Double
    let limit: StageLimit

    /// Kept for later stages that have never run: a share of all that is left.
    static let reservedShare = 0.15
    /// Runs of one kind differ, and so that a late end is rarer than an early one a quarter more is kept than the longest
    /// of the last took; and some seconds, since processes have to start.
    static let margin = (factor: 1.25, seconds: 2.0)
    /// What is kept at most, so that something is trained at all.
    static let mostReserved = 0.9

    /// - Parameters:
    ///   - later: names of the stages that run afterwards.
    ///   - now: in seconds since 1970.
    init(
        _ budget: JobManifest.Budget, _ state: JobQueue.BudgetState, later: [String], _ history: RunHistory, now: Double
    ) {
        let wall = budget.wallSeconds.map { max(0, $0 - state.worked) }
        let clock = state.deadline.map { max(0, $0 - now) }
        let left = min(wall ?? .infinity, clock ?? .infinity)
        let known = later.reduce(0.0) {
            $0 + (history.longest[$1].map { Self.margin.factor * $0 + Self.margin.seconds } ?? 0)
        }
        let isKnown = later.allSatisfy { history.longest[$0] != nil }
        let wanted = later.isEmpty ? 0 : isKnown ? known : max(known, Self.reservedShare * left)
        let reserve = min(wanted, Self.mostReserved * left)
        self.reserve = reserve
        seconds = left - reserve
        limit = StageLimit(
            seconds: wall.map { $0 - reserve }, until: state.deadline.map { $0 - reserve })
    }
}
