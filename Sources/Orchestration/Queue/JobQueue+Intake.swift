import Artifacts
package import Foundation
import GRDB
import PipelineSpec

extension JobQueue {
    /// A file that was claimed and recorded; it may not be filed yet.
    package struct IntakeRecord: Sendable {
        package var claimID: String
        package var tenant: String
        package var originalName: String
        package var bytes: Data
        package var receivedAt: Date
        package var verdict: IntakeVerdict
        /// Where the file lies now; `nil` until it is filed.
        package var filedPath: String?
    }

    /// Records a claimed file and makes its job, or finds the job that already stands for it: the one point at which a
    /// drop becomes a job.
    ///
    /// Asked again for the same claim, it answers as before and changes nothing.
    ///
    /// - Throws: ``RefusedSubmission`` when the queue's state forbids the job; then nothing is recorded.
    package func accept(_ file: ClaimedFile, _ submission: Submission) throws -> IntakeVerdict {
        try write { db in
            if let known = try intakeRecord(db, file.claimID) { return known.verdict }
            let manifest = submission.manifest
            let spec = try ProtocolJSON.encode(manifest)
            let digest = Digest.sha256(spec)
            let key = manifest.run.concurrencyKey ?? "\(file.tenant)/\(manifest.name)"
            if let idempotency = manifest.run.idempotencyKey,
                let first = try String.fetchOne(
                    db, sql: "SELECT id FROM job WHERE tenant = ? AND idempotency_key = ?",
                    arguments: [file.tenant, idempotency])
            {
                return try record(db, file, .duplicate(job: first))
            }
            let unfinished = try Row.fetchAll(
                db,
                sql: """
                    SELECT id, started_ms IS NULL AS pending, spec_sha256, on_conflict FROM job
                    WHERE tenant = ? AND unique_key = ? AND finished_ms IS NULL ORDER BY seq
                    """, arguments: [file.tenant, key])
            let pending = unfinished.filter { $0["pending"] }
            switch manifest.run.onConflict {
            case .coalesce:
                if let equal = pending.first(where: { $0["spec_sha256"] == digest && $0["on_conflict"] == "coalesce" })
                {
                    return try record(db, file, .coalesced(job: equal["id"]))
                }
            case .queue: break
            case .replace:
                for job in pending { try cancelPending(db, job["id"], reason: "replaced by \(file.claimID)") }
            case .reject:
                if let other = unfinished.first {
                    let id: String = other["id"]
                    throw RefusedSubmission(
                        code: "concurrency_conflict", pointer: "/run/concurrency",
                        description:
                            "job \(id) with the concurrency key \(key) is not finished; wait for it, cancel it, "
                            + "or set on_conflict to coalesce or queue")
                }
            }
            let needs = try dependencies(db, manifest.run.after, of: file.claimID)
            _ = try record(db, file, .accepted(job: file.claimID))
            try insertJob(
                db, id: file.claimID, claim: file.claimID, retryOf: nil, tenant: file.tenant, submission, spec: spec,
                digest: digest, manifestDigest: file.digest, key: key, onConflict: manifest.run.onConflict,
                idempotencyKey: manifest.run.idempotencyKey)
            for (id, condition) in needs {
                try db.execute(
                    sql: "INSERT INTO job_dep (job_id, needs, cond) VALUES (?, ?, ?)",
                    arguments: [file.claimID, id, condition])
            }
            try settleWaiting(db)
            return .accepted(job: file.claimID)
        }
    }

    /// Records a claimed file that is no job, with the report that says why.
    ///
    /// Idempotent like ``accept(_:_:)``.
    package func reject(_ file: ClaimedFile, report: Data) throws -> IntakeVerdict {
        try write { db in
            if let known = try intakeRecord(db, file.claimID) { return known.verdict }
            return try record(db, file, .rejected(report: report))
        }
    }

    /// What is known of a claim, or `nil` when it was never recorded.
    package func intakeRecord(_ claimID: String) throws -> IntakeRecord? {
        try read { try intakeRecord($0, claimID) }
    }

    /// Files that were recorded and whose last move may not have happened.
    package func unfiledIntake() throws -> [IntakeRecord] {
        try read { db in
            try String.fetchAll(db, sql: "SELECT claim_id FROM intake WHERE filed_ms IS NULL ORDER BY claim_id")
                .compactMap { try intakeRecord(db, $0) }
        }
    }

    /// Notes where a recorded file lies in the end.
    package func markFiled(_ claimID: String, at path: String) throws {
        try write { db in
            try db.execute(
                sql: "UPDATE intake SET filed_path = ?, filed_ms = ? WHERE claim_id = ? AND filed_ms IS NULL",
                arguments: [path, now(), claimID])
        }
    }

    private func intakeRecord(_ db: Database, _ claimID: String) throws -> IntakeRecord? {
        guard
            let row = try Row.fetchOne(
                db,
                sql: """
                    SELECT tenant, orig_name, bytes, received_ms, verdict, job_id, error_json, filed_path
                    FROM intake WHERE claim_id = ?
                    """, arguments: [claimID])
        else { return nil }
        let job: String = row["job_id"] ?? ""
        let word: String = row["verdict"]
        let verdict: IntakeVerdict =
            switch word {
            case "accepted": .accepted(job: job)
            case "coalesced": .coalesced(job: job)
            case "duplicate": .duplicate(job: job)
            default: .rejected(report: Data((row["error_json"] as String).utf8))
            }
        let milliseconds: Int64 = row["received_ms"]
        return IntakeRecord(
            claimID: claimID, tenant: row["tenant"], originalName: row["orig_name"], bytes: row["bytes"],
            receivedAt: Date(timeIntervalSince1970: Double(milliseconds) / 1000), verdict: verdict,
            filedPath: row["filed_path"])
    }

    private func record(_ db: Database, _ file: ClaimedFile, _ verdict: IntakeVerdict) throws -> IntakeVerdict {
        var report: String?
        if case .rejected(let data) = verdict { report = String(decoding: data, as: UTF8.self) }
        try db.execute(
            sql: """
                INSERT INTO intake (claim_id, tenant, orig_name, sha256, bytes, size, owner_uid, received_ms, verdict,
                  job_id, error_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                file.claimID, file.tenant, file.originalName, file.digest, file.bytes, file.size, file.ownerID, now(),
                verdict.word, verdict.job, report,
            ])
        try note(
            db, "intake", job: verdict.job, ["claim": file.claimID, "file": file.originalName, "verdict": verdict.word])
        return verdict
    }

    /// `ID`, `ID:ok`, `ID:any`, `ID:notok`; the id may be a unique prefix.
    private func dependencies(
        _ db: Database, _ after: [String], of job: String
    ) throws -> [(id: String, condition: String)] {
        var seen = Set<String>()
        return try after.compactMap { text in
            let parts = text.split(separator: ":", maxSplits: 1).map(String.init)
            let condition = parts.count == 2 ? parts[1] : "ok"
            func refuse(_ why: String) -> RefusedSubmission {
                RefusedSubmission(code: "unknown_job", pointer: "/run/after", description: "after \"\(text)\": \(why)")
            }
            guard let wanted = parts.first, ["ok", "any", "notok"].contains(condition) else {
                throw refuse("expected a job id, and after a colon ok, any or notok")
            }
            do {
                let id = try resolve(db, wanted)
                return seen.insert(id).inserted ? (id, condition) : nil
            } catch let error as OrchestrationError {
                throw refuse(error.description)
            }
        }
    }

    /// Makes the rows of a job and its stages.
    func insertJob(
        _ db: Database, id: String, claim: String?, retryOf: String?, tenant: String, _ submission: Submission,
        spec: Data, digest: String, manifestDigest: String, key: String, onConflict: JobManifest.OnConflict,
        idempotencyKey: String?, pins: Data? = nil, resume: Bool = true
    ) throws {
        let run = submission.manifest.run
        let notBefore = Int64(((run.notBefore ?? 0) * 1000).rounded())
        let isRetry = retryOf != nil
        let state: JobState =
            run.hold && !isRetry ? .held : notBefore > now() || !run.after.isEmpty && !isRetry ? .waiting : .queued
        try db.execute(sql: "INSERT INTO queue (name) VALUES (?) ON CONFLICT DO NOTHING", arguments: [run.queue])
        let sequence = (try Int64.fetchOne(db, sql: "SELECT max(seq) FROM job") ?? 0) + 1
        try db.execute(
            sql: """
                INSERT INTO job (id, seq, claim_id, retry_of, name, tenant, queue, priority, threads, spec, spec_sha256,
                  manifest_sha256, origins, idempotency_key, unique_key, on_conflict, pins, resume, state,
                  not_before_ms, created_ms)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                id, sequence, claim, retryOf, submission.manifest.name, tenant, run.queue, run.priority,
                max(1, run.threads), spec, digest, manifestDigest, submission.origins,
                idempotencyKey, key, onConflict.rawValue, pins, resume, state.rawValue,
                notBefore, now(),
            ])
        for (order, stage) in submission.stages.enumerated() {
            try db.execute(
                sql: """
                    INSERT INTO stage_run (id, job_id, name, ord, kind, needs, condition, timeout_seconds, retries, state)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'blocked')
                    """,
                arguments: [
                    "\(id)/\(stage.name)", id, stage.name, order, stage.kind,
                    String(decoding: try ProtocolJSON.encode(stage.needs), as: UTF8.self), stage.condition,
                    stage.timeoutSeconds, stage.retries,
                ])
        }
        try note(db, "created", job: id, ["state": state.rawValue])
    }
}
