import Foundation
import GRDB
import PipelineSpec

/// What a job's driver reads, and what it records of stages that need no process.
extension JobQueue {
    func drivenJob(_ id: String) throws -> DrivenJob {
        try read { db in
            guard let row = try Row.fetchOne(db, sql: "SELECT * FROM job WHERE id = ?", arguments: [id]) else {
                throw OrchestrationError(.notFound, "there is no job \(id)")
            }
            let spec: Data = row["spec"]
            let due: Int64? = row["not_before_ms"]
            return DrivenJob(
                id: id, name: row["name"], tenant: row["tenant"], state: try state(db, id), reason: row["reason"],
                notBefore: due.map { Date(timeIntervalSince1970: Double($0) / 1000) },
                manifest: try JSONDecoder().decode(JobManifest.self, from: spec),
                manifestDigest: row["manifest_sha256"], threads: row["threads"], pins: row["pins"],
                memoryBytes: row["memory_bytes"], retryOf: row["retry_of"], rerunFrom: row["rerun_from"],
                // What goes on from the old job resumes; what begins anew at one stage names it.
                isFresh: row["retry_of"] != nil && row["rerun_from"] == nil && !(row["resume"] as Bool),
                requests: Self.requests(row), adapter: row["adapter"],
                stages: try stageRows(db, id), live: try liveAttempt(db, id))
        }
    }

    /// What is asked of a running job now.
    func stopRequests(_ job: String) throws -> StopRequests {
        try read { try stopRequests($0, job) }
    }

    func stopRequests(_ db: Database, _ job: String) throws -> StopRequests {
        try Row.fetchOne(db, sql: "SELECT * FROM job WHERE id = ?", arguments: [job]).map(Self.requests)
            ?? StopRequests()
    }

    private static func requests(_ row: Row) -> StopRequests {
        StopRequests(
            isCancelled: row["cancel_requested_ms"] != nil, isAtOnce: row["cancel_now"],
            isPaused: row["pause_requested_ms"] != nil, isYielding: row["yield_requested_ms"] != nil)
    }

    func stageRows(_ db: Database, _ job: String) throws -> [StageRow] {
        try Row.fetchAll(db, sql: "SELECT * FROM stage_run WHERE job_id = ? ORDER BY ord", arguments: [job]).map {
            row in
            let needs: String = row["needs"]
            return StageRow(
                id: row["id"],
                plan: StagePlan(
                    name: row["name"], kind: row["kind"],
                    needs: try JSONDecoder().decode([String].self, from: Data(needs.utf8)),
                    condition: row["condition"], timeoutSeconds: row["timeout_seconds"], retries: row["retries"]),
                state: StageState(rawValue: row["state"]) ?? .blocked, cacheKey: row["cache_key"],
                outputDigest: row["output_digest"], outputPath: row["output_path"], why: row["why"],
                userAttempts: row["user_attempts"], infraAttempts: row["infra_attempts"],
                memoryHalvings: row["memory_halvings"])
        }
    }

    private func liveAttempt(_ db: Database, _ job: String) throws -> LiveAttempt? {
        let row = try Row.fetchOne(
            db,
            sql: """
                SELECT a.* FROM attempt AS a JOIN stage_run AS s ON s.id = a.stage_id
                WHERE s.job_id = ? AND a.state IN ('starting','running')
                """, arguments: [job])
        return row.map { row in
            LiveAttempt(
                id: row["id"], stage: row["stage_id"], number: row["n"], launcher: row["executor"],
                identity: WorkerIdentity(
                    externalID: row["external_id"], pid: row["pid"], startTime: row["pid_start"]),
                bootID: row["boot_id"], bootSeconds: row["boot_seconds"],
                directory: RunDirectory(URL(filePath: row["workdir"] as String, directoryHint: .isDirectory)),
                resumeFrom: row["resume_from"])
        }
    }

    /// Fixes which bytes of which files the job reads.
    ///
    /// What is pinned once stays.
    func setPins(_ job: String, _ pins: Data) throws {
        try write { try $0.execute(sql: "UPDATE job SET pins = ? WHERE id = ?", arguments: [pins, job]) }
    }

    func skipStage(_ stage: StageRow, of job: String, why: String) throws {
        try write { db in
            try db.execute(
                sql: "UPDATE stage_run SET state = 'skipped', why = ? WHERE id = ? AND state IN ('blocked','ready')",
                arguments: [why, stage.id])
            try note(db, "stage_skipped", job: job, stage: stage.id, ["why": why])
        }
    }

    /// The output of a stage of the job that is done again, as it is on record there.
    func output(of stage: String, ofJob job: String) throws -> (key: String, output: StageOutput)? {
        try read { db in
            let row = try Row.fetchOne(
                db,
                sql: """
                    SELECT s.cache_key, s.output_digest, s.output_path, j.adapter FROM stage_run AS s
                    JOIN job AS j ON j.id = s.job_id
                    WHERE s.job_id = ? AND s.name = ? AND s.state IN ('succeeded','cached') AND s.cache_key IS NOT NULL
                    """, arguments: [job, stage])
            return row.map {
                ($0["cache_key"], StageOutput(digest: $0["output_digest"], path: $0["output_path"], adapter: nil))
            }
        }
    }

    /// The folder of what the same kind of stage made in the newest other job of the same name, if there was one.
    func previousOutput(of kind: String, job: DrivenJob) throws -> String? {
        try read { db in
            try String.fetchOne(
                db,
                sql: """
                    SELECT s.output_path FROM stage_run AS s JOIN job AS j ON j.id = s.job_id
                    WHERE j.tenant = ? AND j.name = ? AND j.id <> ? AND s.kind = ?
                      AND s.state IN ('succeeded', 'cached') AND s.output_path IS NOT NULL
                    ORDER BY j.seq DESC LIMIT 1
                    """, arguments: [job.tenant, job.name, job.id, kind])
        }
    }

    /// The stage's output was made before, by an earlier attempt: under this key, unless `why` says otherwise.
    func markCached(
        _ stage: StageRow, of job: String, key: String, _ output: StageOutput,
        why: String = "its inputs and parameters are those of an earlier run"
    ) throws {
        try write { db in
            try makeReady(db, stage)
            try db.execute(
                sql: """
                    UPDATE stage_run SET state = 'cached', cache_key = ?, output_digest = ?, output_path = ?,
                      why = ? WHERE id = ?
                    """, arguments: [key, output.digest, output.path, why, stage.id])
            if let adapter = output.adapter {
                try db.execute(sql: "UPDATE job SET adapter = ? WHERE id = ?", arguments: [adapter, job])
            }
            try note(db, "stage_cached", job: job, stage: stage.id, ["key": key])
        }
    }

    /// What later runs of a stage with this key have published, newest first: the cache remembers the first one only.
    func published(underKey key: String) throws -> [String] {
        try read {
            try String.fetchAll(
                $0,
                sql:
                    "SELECT published FROM stage_run WHERE cache_key = ? AND published IS NOT NULL ORDER BY rowid DESC",
                arguments: [key])
        }
    }

    /// Earlier attempts whose checkpoint the stage could go on from, newest first: its own, and those of the same
    /// stage of the jobs this one retries, as long as the cache key is the same.
    func resumableFolders(_ stage: StageRow, of job: String, key: String) throws -> [RunDirectory] {
        try read { db in
            try String.fetchAll(
                db,
                sql: """
                    WITH RECURSIVE line (id, depth) AS (
                      SELECT :job, 0
                      UNION ALL
                      SELECT j.retry_of, line.depth + 1 FROM line JOIN job AS j ON j.id = line.id
                      WHERE j.retry_of IS NOT NULL AND j.resume = 1 AND line.depth < 100)
                    SELECT a.workdir FROM line JOIN stage_run AS s ON s.job_id = line.id
                    JOIN attempt AS a ON a.stage_id = s.id
                    WHERE s.name = :stage AND (s.cache_key = :key OR s.id = :id) AND a.ended_ms IS NOT NULL
                    ORDER BY line.depth, a.n DESC
                    """,
                arguments: ["job": job, "stage": stage.plan.name, "key": key, "id": stage.id]
            ).map { RunDirectory(URL(filePath: $0, directoryHint: .isDirectory)) }
        }
    }
}
