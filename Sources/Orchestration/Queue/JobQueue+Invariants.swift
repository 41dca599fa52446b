import GRDB

/// The invariants that the rows alone can break.
extension JobQueue {
    /// Everything that one snapshot of the database says against the rules.
    func violations(_ db: Database) throws -> [Violation] {
        try Self.rules.flatMap { rule in
            try Row.fetchAll(db, sql: rule.sql).map { row in
                Violation(
                    invariant: rule.invariant, subject: row["subject"],
                    message: [rule.message, row["detail"] as String?].compactMap { $0 }.joined(separator: " "),
                    isRepairable: rule.isRepairable)
            }
        }
    }

    private struct Rule {
        var invariant: Violation.Invariant
        var message: String
        var isRepairable = false
        /// Gives a row with `subject` and `detail` for each violation.
        var sql: String
    }

    private static let rules: [Rule] = [
        Rule(
            invariant: .origin, message: "it was accepted and there is no job of it",
            sql: """
                SELECT claim_id AS subject, orig_name AS detail FROM intake AS i WHERE verdict = 'accepted'
                  AND NOT EXISTS (SELECT 1 FROM job WHERE job.claim_id = i.claim_id)
                """),
        Rule(
            invariant: .origin, message: "it comes from no file, schedule or job, or from several",
            sql: """
                SELECT id AS subject, NULL AS detail FROM job
                WHERE (claim_id IS NOT NULL) + (retry_of IS NOT NULL) + (schedule_id IS NOT NULL) <> 1
                """),
        Rule(
            invariant: .liveAttempt, message: "live attempts:",
            sql: """
                SELECT stage_id AS subject, CAST(count(*) AS TEXT) AS detail FROM attempt
                WHERE state IN ('starting','running') GROUP BY stage_id HAVING count(*) > 1
                """),
        Rule(
            invariant: .liveAttempt, message: "it is live, and its stage and job are",
            sql: """
                SELECT a.id AS subject, s.state || ' and ' || j.state AS detail FROM attempt AS a
                JOIN stage_run AS s ON s.id = a.stage_id JOIN job AS j ON j.id = s.job_id
                WHERE a.state IN ('starting','running') AND (s.state <> 'running' OR j.state <> 'running')
                """),
        Rule(
            invariant: .liveAttempt, message: "it is running, and no attempt at it is live",
            sql: """
                SELECT s.id AS subject, NULL AS detail FROM stage_run AS s WHERE s.state = 'running'
                  AND NOT EXISTS (SELECT 1 FROM attempt AS a WHERE a.stage_id = s.id AND a.state IN ('starting','running'))
                """),
        Rule(
            invariant: .endings, message: "its end and its state do not agree:",
            sql: """
                SELECT id AS subject, state AS detail FROM job WHERE (finished_ms IS NOT NULL)
                  <> (state IN ('succeeded','failed','cancelled','skipped'))
                """),
        Rule(
            invariant: .endings, message: "its end and its state do not agree:",
            sql: """
                SELECT id AS subject, state AS detail FROM attempt
                WHERE (ended_ms IS NULL) <> (state IN ('starting','running'))
                """),
        Rule(
            invariant: .endings, message: "its job has ended, and it is",
            sql: """
                SELECT s.id AS subject, s.state AS detail FROM stage_run AS s JOIN job AS j ON j.id = s.job_id
                WHERE j.finished_ms IS NOT NULL AND s.state IN ('blocked','ready','running','retry_wait')
                """),
        Rule(
            invariant: .endings, message: "it has succeeded, and a stage of it has not:",
            sql: """
                SELECT j.id AS subject, s.name || ' is ' || s.state AS detail
                FROM stage_run AS s JOIN job AS j ON j.id = s.job_id
                WHERE j.state = 'succeeded' AND s.state NOT IN ('succeeded','cached','skipped')
                """),
        Rule(
            invariant: .keys, message: "several jobs of this concurrency key have started:",
            sql: """
                SELECT tenant || ' ' || unique_key AS subject, group_concat(id, ' ') AS detail FROM job
                WHERE unique_key IS NOT NULL AND started_ms IS NOT NULL AND finished_ms IS NULL
                GROUP BY tenant, unique_key HAVING count(*) > 1
                """),
        Rule(
            invariant: .keys, message: "several equal jobs of this concurrency key wait:",
            sql: """
                SELECT tenant || ' ' || unique_key AS subject, group_concat(id, ' ') AS detail FROM job
                WHERE unique_key IS NOT NULL AND on_conflict = 'coalesce' AND started_ms IS NULL AND finished_ms IS NULL
                GROUP BY tenant, unique_key, spec_sha256 HAVING count(*) > 1
                """),
        Rule(
            invariant: .keys, message: "several jobs of this idempotency key:",
            sql: """
                SELECT tenant || ' ' || idempotency_key AS subject, group_concat(id, ' ') AS detail FROM job
                WHERE idempotency_key IS NOT NULL GROUP BY tenant, idempotency_key HAVING count(*) > 1
                """),
        Rule(
            invariant: .order, message: "jobs counted in this state, and there are:", isRepairable: true,
            sql: """
                SELECT c.state AS subject, c.n || ' and ' || (SELECT count(*) FROM job WHERE state = c.state) AS detail
                FROM job_count AS c WHERE c.n <> (SELECT count(*) FROM job WHERE state = c.state)
                UNION ALL SELECT state, '0 and ' || count(*) FROM job
                WHERE state NOT IN (SELECT state FROM job_count) GROUP BY state
                """),
        Rule(
            invariant: .order, message: "what it waits for is counted wrongly", isRepairable: true,
            sql: """
                SELECT id AS subject, NULL AS detail FROM job WHERE finished_ms IS NULL
                  AND (open_needs <> \(QueueSchema.openNeeds) OR unmet_needs <> \(QueueSchema.unmetNeeds))
                """),
        Rule(
            invariant: .order, message: "whether it goes next of its concurrency key is noted wrongly",
            isRepairable: true,
            sql: """
                SELECT id AS subject, NULL AS detail FROM job
                WHERE leads <> (state = 'queued' AND id IN (\(QueueSchema.leaders("job"))))
                  AND (leads = 1 OR state = 'queued')
                """),
    ]
}
