import Foundation
import GRDB
import PipelineSpec

/// What is left of the time that a job may take.
extension JobQueue {
    /// When a job that starts now is to have ended, in milliseconds since 1970, by the time of day in its budget.
    func deadline(_ db: Database, _ job: String) throws -> Int64? {
        guard let spec = try Data.fetchOne(db, sql: "SELECT spec FROM job WHERE id = ?", arguments: [job]) else {
            return nil
        }
        // Most have none, and are not read for it.
        guard spec.range(of: Data(#""by":""#.utf8)) != nil else { return nil }
        let budget = try ProtocolJSON.decode(JobManifest.self, from: spec).run.budget
        let now = Date(timeIntervalSince1970: Double(now()) / 1000)
        return budget?.deadline(startingAt: now).map { Int64(($0.timeIntervalSince1970 * 1000).rounded()) }
    }

    /// What a job has used of its budget, and its end on the clock.
    struct BudgetState: Sendable, Equatable {
        /// Seconds that its stages have worked.
        var worked: Double
        /// Seconds since 1970; `nil` without one.
        var deadline: Double?
    }

    func budgetState(_ job: String) throws -> BudgetState {
        try read { db in
            guard
                let row = try Row.fetchOne(
                    db, sql: "SELECT worked_ms, deadline_ms FROM job WHERE id = ?", arguments: [job])
            else { throw OrchestrationError(.notFound, "there is no job \(job)") }
            let worked: Int64 = row["worked_ms"]
            let deadline: Int64? = row["deadline_ms"]
            return BudgetState(worked: Double(worked) / 1000, deadline: deadline.map { Double($0) / 1000 })
        }
    }

    /// The last runs of the job's equals or, where there are none, of its name.
    func history(of job: DrivenJob) throws -> RunHistory {
        try read { db in
            guard
                let digest = try String.fetchOne(
                    db, sql: "SELECT spec_sha256 FROM job WHERE id = ?", arguments: [job.id])
            else { return RunHistory() }
            let equal = try history(db, tenant: job.tenant, digest: digest)
            return equal.runs > 0 ? equal : try history(db, tenant: job.tenant, name: job.name)
        }
    }

    /// Where a stage of the job has ended before its work was done; `nil` when all did it.
    func cut(of job: String) throws -> StageCut? {
        try read { db in
            guard
                let row = try Row.fetchOne(
                    db,
                    sql: """
                        SELECT json_extract(data, '$.step') AS step, json_extract(data, '$.steps') AS steps FROM event
                        WHERE job_id = ? AND kind = 'stage_cut' ORDER BY id DESC LIMIT 1
                        """, arguments: [job]), let step = Int(row["step"] as String),
                let steps = Int(row["steps"] as String)
            else { return nil }
            return StageCut(step: step, steps: steps)
        }
    }
}
