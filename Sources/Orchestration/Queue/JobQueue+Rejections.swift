package import Foundation
import GRDB
package import PipelineSpec

/// A file that was dropped and is no job.
package struct Rejection: Sendable {
    /// The id its claim had.
    package var id: String
    package var tenant: String
    /// The name it was dropped under.
    package var name: String
    package var receivedAt: Date
    /// What was wrong with it then.
    package var report: ValidationReport
    /// Where it lies, relative to the workspace; `nil` until it is filed.
    package var path: String?
    /// Whether the same bytes were dropped again later, by the same tenant: as the answer to this report.
    package var wasDroppedAgain: Bool
}

extension JobQueue {
    /// Rejected files, the newest last.
    ///
    /// - Parameters:
    ///   - since: Only those received then or later.
    ///   - limit: The newest so many.
    package func rejections(since: Date? = nil, limit: Int? = nil) throws -> [Rejection] {
        let first = since.map { Int64(($0.timeIntervalSince1970 * 1000).rounded()) } ?? 0
        return try read { db in
            let rows = try Row.fetchAll(
                db,
                sql: """
                    SELECT claim_id, tenant, orig_name, sha256, received_ms, error_json, filed_path
                    FROM intake INDEXED BY intake_rejected WHERE verdict = 'rejected' AND received_ms >= ?
                    ORDER BY received_ms DESC, claim_id DESC LIMIT ?
                    """, arguments: [first, limit ?? -1])
            guard let oldest = rows.last.map({ $0["claim_id"] as String }) else { return [] }
            // The newest drop of each content; most rejected files were dropped once.
            var latest: [String: String] = [:]
            let digests = Set(rows.map { $0["sha256"] as String })
            let drops = try Row.fetchCursor(
                db, sql: "SELECT claim_id, tenant, sha256 FROM intake WHERE claim_id > ? ORDER BY claim_id",
                arguments: [oldest])
            while let drop = try drops.next() {
                let digest: String = drop["sha256"]
                if digests.contains(digest) { latest["\(drop["tenant"] as String)/\(digest)"] = drop["claim_id"] }
            }
            return try rows.reversed().map { row in
                let id: String = row["claim_id"]
                let milliseconds: Int64 = row["received_ms"]
                let content = "\(row["tenant"] as String)/\(row["sha256"] as String)"
                return Rejection(
                    id: id, tenant: row["tenant"], name: row["orig_name"],
                    receivedAt: Date(timeIntervalSince1970: Double(milliseconds) / 1000),
                    report: try ValidationReport(decoding: Data((row["error_json"] as String).utf8)),
                    path: row["filed_path"], wasDroppedAgain: latest[content].map { $0 > id } ?? false)
            }
        }
    }

    /// The rejected file of a claim, or of the unique beginning of one.
    ///
    /// - Throws: `notFound`, `ambiguous`.
    package func rejected(_ prefix: String) throws -> IntakeRecord {
        let wanted = prefix.uppercased()
        let ids = try read { db in
            try String.fetchAll(
                db,
                sql: """
                    SELECT claim_id FROM intake
                    WHERE verdict = 'rejected' AND claim_id >= :first AND claim_id < :last LIMIT 2
                    """, arguments: ["first": wanted, "last": wanted + "\u{7F}"])
        }
        let shown = PrintableText.line(prefix, limit: 80)
        if ids.count > 1 {
            throw OrchestrationError(.ambiguous, "several rejected files begin with \(shown); write more of the id")
        }
        guard !wanted.isEmpty, let id = ids.first, let record = try intakeRecord(id) else {
            throw OrchestrationError(
                .notFound, "no rejected file has the id \(shown); lorajobs inbox errors --all lists them")
        }
        return record
    }
}
