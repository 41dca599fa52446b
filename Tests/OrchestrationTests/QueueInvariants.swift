import Foundation
import GRDB

@testable import Orchestration

/// What holds of every queue at every moment, asked in SQL that shares nothing with the triggers that keep it.
enum QueueInvariants {
    private static let rules: [(name: String, sql: String)] = [
        (
            "a job has exactly one origin",
            """
            SELECT id FROM job WHERE (claim_id IS NOT NULL) + (retry_of IS NOT NULL) + (schedule_id IS NOT NULL) <> 1
              AND EXISTS (SELECT 1 FROM intake)
            """
        ),
        (
            "an accepted file has its job",
            """
            SELECT claim_id FROM intake WHERE verdict <> 'rejected' AND job_id NOT IN (SELECT id FROM job)
              OR verdict = 'accepted' AND claim_id NOT IN (SELECT claim_id FROM job WHERE claim_id IS NOT NULL)
            """
        ),
        (
            "a stage has one live attempt",
            "SELECT stage_id FROM attempt WHERE ended_ms IS NULL GROUP BY stage_id HAVING count(*) > 1"
        ),
        (
            "what has ended says when",
            """
            SELECT id FROM job WHERE (finished_ms IS NULL)
              <> (state IN ('held','waiting','queued','running','retry_wait'))
            """
        ),
        (
            "a key has one active job",
            """
            SELECT unique_key FROM job WHERE started_ms IS NOT NULL AND finished_ms IS NULL
            GROUP BY tenant, unique_key HAVING count(*) > 1
            """
        ),
        (
            "equal pending jobs are one",
            """
            SELECT unique_key FROM job WHERE started_ms IS NULL AND finished_ms IS NULL AND on_conflict = 'coalesce'
            GROUP BY tenant, unique_key, owner_uid, spec_sha256 HAVING count(*) > 1
            """
        ),
        (
            "an idempotency key has one job",
            """
            SELECT idempotency_key FROM job WHERE idempotency_key IS NOT NULL
            GROUP BY tenant, idempotency_key HAVING count(*) > 1
            """
        ),
        (
            "one job of a key leads: the active one, else the first in each queue",
            """
            SELECT id FROM job AS j WHERE leads <> (state = 'queued' AND NOT EXISTS (
              SELECT 1 FROM job AS o WHERE o.tenant = j.tenant AND o.unique_key = j.unique_key AND o.id <> j.id
                AND (o.started_ms IS NOT NULL AND o.finished_ms IS NULL
                  OR j.started_ms IS NULL AND o.state = 'queued' AND o.queue = j.queue AND
                    (coalesce(o.eligible_ms, o.created_ms) - o.priority * 3600000, o.seq)
                    < (coalesce(j.eligible_ms, j.created_ms) - j.priority * 3600000, j.seq))))
            """
        ),
        (
            "needs are counted",
            """
            SELECT id FROM job AS j WHERE finished_ms IS NULL AND (
              open_needs <> (SELECT count(*) FROM job_dep AS d JOIN job AS n ON n.id = d.needs
                             WHERE d.job_id = j.id AND n.finished_ms IS NULL)
              OR unmet_needs <> (SELECT count(*) FROM job_dep AS d JOIN job AS n ON n.id = d.needs
                WHERE d.job_id = j.id AND n.finished_ms IS NOT NULL
                  AND (d.cond, n.state = 'succeeded') IN (VALUES ('ok', 0), ('notok', 1))))
            """
        ),
        (
            "nothing that starts waits for others",
            """
            SELECT j.id FROM job AS j JOIN job_dep AS d ON d.job_id = j.id JOIN job AS n ON n.id = d.needs
            WHERE j.state IN ('queued','running','retry_wait') AND n.finished_ms IS NULL
            """
        ),
        (
            "states are counted",
            """
            SELECT state FROM (
              SELECT state, count(*) AS n FROM job GROUP BY state EXCEPT SELECT state, n FROM job_count)
            UNION ALL
            SELECT state FROM job_count WHERE n > 0 AND state NOT IN (SELECT state FROM job)
            """
        ),
        (
            "a job that waits for a key has been eligible",
            "SELECT id FROM job WHERE state IN ('queued','running') AND eligible_ms IS NULL"
        ),
    ]

    /// What does not hold, with the rows to blame.
    static func violations(_ queue: JobQueue) throws -> [String] {
        try queue.read { db in
            try rules.compactMap { name, sql in
                let rows = try Row.fetchAll(db, sql: sql)
                return rows.isEmpty ? nil : "\(name): \(rows.prefix(3))"
            }
        }
    }
}
