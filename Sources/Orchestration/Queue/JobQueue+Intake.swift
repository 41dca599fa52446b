import Artifacts
package import Foundation
import GRDB
package import PipelineSpec

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
        /// The jobs that stand for it: several for a sweep, none for a rejected file.
        package var jobs: [String] = []
    }

    /// Records claimed files in one transaction: the one point at which a drop becomes a job, or finds the job that
    /// already stands for it, or is refused with a report.
    ///
    /// A file that the queue refuses is recorded as rejected and takes none of the others with it. Asked again for the
    /// same claim, it answers as before and changes nothing.
    ///
    /// - Returns: The verdicts, in the order of the files.
    package func record(_ files: [JudgedFile]) throws -> [IntakeVerdict] {
        try write { db in
            let verdicts = try files.map { try record(db, $0) }
            try settleWaiting(db)
            return verdicts
        }
    }

    /// Records one valid file.
    ///
    /// - Throws: ``RefusedSubmission`` when the queue's state forbids the job; then nothing is recorded.
    package func accept(_ file: ClaimedFile, _ submission: Submission) throws -> IntakeVerdict {
        try write { db in
            if let known = try intakeRecord(db, file.claimID) { return known.verdict }
            let verdict = try enter(db, file, submission)
            try settleWaiting(db)
            return verdict
        }
    }

    /// What is known of a claim, or `nil` when it was never recorded.
    package func intakeRecord(_ claimID: String) throws -> IntakeRecord? {
        try read { try intakeRecord($0, claimID) }
    }

    /// Those of these claims that have been recorded, or that have been filed as well.
    func recorded(among claims: [String], areFiled: Bool = false) throws -> Set<String> {
        if claims.isEmpty { return [] }
        let condition = areFiled ? " AND filed_ms IS NOT NULL" : ""
        return try read { db in
            var known: Set<String> = []
            for start in stride(from: 0, to: claims.count, by: 500) {
                let chunk = claims[start..<min(start + 500, claims.count)]
                let marks = Array(repeating: "?", count: chunk.count).joined(separator: ",")
                known.formUnion(
                    try String.fetchSet(
                        db, sql: "SELECT claim_id FROM intake WHERE claim_id IN (\(marks))\(condition)",
                        arguments: StatementArguments(Array(chunk))))
            }
            return known
        }
    }

    /// Files that were recorded and whose last move may not have happened, the oldest first.
    ///
    /// - Parameters:
    ///   - excluded: Claims to leave out.
    ///   - limit: At most so many.
    ///   - byteLimit: No more after so many bytes of content.
    package func unfiledIntake(
        excluding excluded: Set<String> = [], limit: Int = .max, byteLimit: Int = .max
    ) throws -> [IntakeRecord] {
        try read { db in
            let rows = try Row.fetchCursor(
                db,
                sql: """
                    SELECT claim_id, length(bytes) AS length FROM intake INDEXED BY intake_unfiled
                    WHERE filed_ms IS NULL ORDER BY claim_id
                    """)
            var ids: [String] = []
            var bytes = 0
            while ids.count < limit, bytes < byteLimit, let row = try rows.next() {
                let id: String = row["claim_id"]
                if excluded.contains(id) { continue }
                ids.append(id)
                bytes += row["length"]
            }
            return try ids.compactMap { try intakeRecord(db, $0) }
        }
    }

    /// Notes where recorded files lie in the end: paths by claim, in one transaction.
    package func markFiled(_ paths: [(claimID: String, path: String)]) throws {
        try write { db in
            for (claimID, path) in paths {
                try db.execute(
                    sql: "UPDATE intake SET filed_path = ?, filed_ms = ? WHERE claim_id = ? AND filed_ms IS NULL",
                    arguments: [path, now(), claimID])
            }
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
        let milliseconds: Int64 = row["received_ms"]
        let verdict = Self.verdict(row)
        return IntakeRecord(
            claimID: claimID, tenant: row["tenant"], originalName: row["orig_name"], bytes: row["bytes"],
            receivedAt: Date(timeIntervalSince1970: Double(milliseconds) / 1000), verdict: verdict,
            filedPath: row["filed_path"],
            jobs: try verdict.job.map { try $0 == claimID ? jobs(db, ofClaim: claimID) : [$0] } ?? [])
    }

    private static func verdict(_ row: Row) -> IntakeVerdict {
        let job: String = row["job_id"] ?? ""
        let word: String = row["verdict"]
        return switch word {
        case "accepted": .accepted(job: job)
        case "coalesced": .coalesced(job: job)
        case "duplicate": .duplicate(job: job)
        default: .rejected(report: Data((row["error_json"] as String).utf8))
        }
    }

    private func record(_ db: Database, _ judged: JudgedFile) throws -> IntakeVerdict {
        let file = judged.file
        let known = try Row.fetchOne(
            db, sql: "SELECT verdict, job_id, error_json FROM intake WHERE claim_id = ?", arguments: [file.claimID])
        if let known { return Self.verdict(known) }
        let refusal: Finding
        switch judged.judgement {
        case .failure(let invalid): return try reject(db, file, invalid.findings)
        case .success(let submission):
            do {
                var verdict: IntakeVerdict?
                try db.inSavepoint {
                    verdict = try enter(db, file, submission)
                    return .commit
                }
                if let verdict { return verdict }
                refusal = Finding(.refusedByQueue, "the queue did not take it")
            } catch let error as RefusedSubmission {
                refusal = Finding(.init(rawValue: error.code), pointer: error.pointer, error.description)
            } catch let error as DatabaseError where error.resultCode == .SQLITE_CONSTRAINT {
                // A rule of the database that no one had checked before: this file's fault, and not the others'.
                refusal = Finding(.refusedByQueue, "the queue refuses it: \(error.message ?? "a rule is broken")")
            }
        }
        return try reject(db, file, [refusal])
    }

    /// Makes the job of a valid file, or finds the one that stands for it.
    private func enter(_ db: Database, _ file: ClaimedFile, _ submission: Submission) throws -> IntakeVerdict {
        let job = try NewJob(
            id: file.claimID, origin: .claim(file.claimID), tenant: file.tenant, ownerID: file.ownerID,
            manifestDigest: file.digest, submission)
        if let sweep = submission.sweep { return try enter(db, file, job, sweep) }
        if let verdict = try precedent(db, job) { return try record(db, file, verdict) }
        _ = try record(db, file, .accepted(job: job.id))
        try insert(db, job)
        return .accepted(job: job.id)
    }

    /// Makes all trials of a sweep, or none.
    private func enter(
        _ db: Database, _ file: ClaimedFile, _ job: NewJob, _ sweep: SweepPlan
    ) throws -> IntakeVerdict {
        var first = job
        // Equal trials are not merged; what they compute is found in the cache.
        first.onConflict = .queue
        if let verdict = try precedent(db, first) { return try record(db, file, verdict) }
        _ = try record(db, file, .accepted(job: job.id))
        try insertSweep(db, first, sweep) { try insert(db, $0) }
        return .accepted(job: job.id)
    }

    private func reject(_ db: Database, _ file: ClaimedFile, _ findings: [Finding]) throws -> IntakeVerdict {
        try record(db, file, .rejected(report: Data(ValidationReport(findings).json.text().utf8)))
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

extension Finding.Code {
    /// A manifest that is valid by itself, and that a rule of the queue's database does not admit.
    package static let refusedByQueue = Self(rawValue: "refused_by_queue")
    /// The file belongs to someone who may not drop into its folder.
    package static let ownerNotAllowed = Self(rawValue: "owner_not_allowed")
}
