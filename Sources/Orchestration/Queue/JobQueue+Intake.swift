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
            let job = try NewJob(
                id: file.claimID, origin: .claim(file.claimID), tenant: file.tenant, ownerID: file.ownerID,
                manifestDigest: file.digest, submission)
            if let verdict = try precedent(db, job) { return try record(db, file, verdict) }
            _ = try record(db, file, .accepted(job: job.id))
            try insert(db, job)
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
}
