import Artifacts
import Foundation
import GRDB
import PipelineSpec

/// An alias that points elsewhere now, whoever has moved it.
private struct Promotion: Decodable {
    var name: String
    var alias: String
    var version: Int
    var before: Int?
    var digest: String?
    /// `gate`, `hand` or `rollback`.
    var cause: String
    var reason: String?
}

/// What is told of an event: a JSON object, schema 1.
///
/// It holds ids, names, states and figures. No message of a stage is in it, since one about a record may quote a label
/// or a name of a file that only the workspace may see: `lorajobs show` has it.
struct NoticeDocument {
    /// The object that is posted or written.
    let json: JSONValue
    /// What the job's own manifest asks for, where there is a job.
    private(set) var notify: JobManifest.Notify?

    private static let findingsShown = 20

    init(
        _ db: Database, _ id: String, _ event: NoticeEvent, _ subject: String, _ at: Date, _ place: String
    ) throws {
        var members: [String: JSONValue] = [
            "schema": 1, "id": .string(id), "event": .string(event.rawValue), "at": .string(at.ISO8601Format()),
            "workspace": .string(place),
        ]
        var job: String?
        switch event {
        case .finished, .failed:
            job = subject
            if event == .failed { members["failure"] = try Self.failure(db, of: subject) }
        case .rejected: members["rejection"] = try Self.rejection(db, subject)
        case .gateFailed, .promoted:
            if subject.hasPrefix("{") {
                // As an earlier program wrote of what was moved by hand.
                let promotion = try ProtocolJSON.decode(Promotion.self, from: Data(subject.utf8))
                members["promotion"] = Self.json(promotion)
            } else if let row = try Row.fetchOne(db, sql: "SELECT * FROM decision WHERE id = ?", arguments: [subject]) {
                job = row["job_id"]
                if job != nil {
                    members["gate"] = [
                        "outcome": .string(row["outcome"]), "alias": .string(row["alias"]),
                        "name": .string(row["name"]), "version": .integer(row["version"]),
                        "reason": .string(row["reason"]),
                    ]
                }
                if event == .promoted {
                    members["promotion"] = Self.json(
                        Promotion(
                            name: row["name"], alias: row["alias"], version: row["version"],
                            before: row["from_version"], digest: row["digest"], cause: row["cause"],
                            reason: row["reason"]))
                }
            }
        }
        if let job, let row = try Row.fetchOne(db, sql: "SELECT * FROM job WHERE id = ?", arguments: [job]) {
            members["job"] = Self.json(row)
            notify = try ProtocolJSON.decode(JobManifest.self, from: row["spec"]).notify
        }
        json = .object(members)
    }

    /// One that speaks of nothing: whether a target can be reached.
    static func test(_ target: String, place: String) -> (id: String, json: JSONValue) {
        let id = "test/\(ULID())"
        return (
            id,
            [
                "schema": 1, "id": .string(id), "event": "test", "at": .string(Date().ISO8601Format()),
                "workspace": .string(place), "target": .string(target),
            ]
        )
    }

    private static func json(_ row: Row) -> JSONValue {
        func moment(_ column: String) -> JSONValue {
            let milliseconds: Int64? = row[column]
            return milliseconds.map { .string(JobQueue.date($0).ISO8601Format()) } ?? .null
        }
        let state: String = row["state"]
        let (reason, adapter): (String?, String?) = (row["reason"], row["adapter"])
        return [
            "id": .string(row["id"]), "name": .string(row["name"]), "tenant": .string(row["tenant"]),
            "state": .string(state), "adapter": adapter.map { .string($0) } ?? .null,
            // Of a failure the reason is a stage's message.
            "reason": state == "succeeded" ? reason.map { .string($0) } ?? .null : .null,
            "created": moment("created_ms"), "started": moment("started_ms"), "finished": moment("finished_ms"),
        ]
    }

    private static func json(_ promotion: Promotion) -> JSONValue {
        [
            "name": .string(promotion.name), "alias": .string(promotion.alias),
            "version": .integer(promotion.version), "before": promotion.before.map { .integer($0) } ?? .null,
            "digest": promotion.digest.map { .string($0) } ?? .null, "cause": .string(promotion.cause),
            "reason": promotion.reason.map { .string(PrintableText.line($0, limit: 300)) } ?? .null,
        ]
    }

    /// Where and why a job has failed, in words for programs.
    private static func failure(_ db: Database, of job: String) throws -> JSONValue {
        let row = try Row.fetchOne(
            db,
            sql: """
                SELECT e.data, s.name FROM event AS e LEFT JOIN stage_run AS s ON s.id = e.stage_id
                WHERE e.job_id = ? AND e.kind = 'failed' ORDER BY e.id DESC LIMIT 1
                """, arguments: [job])
        let text: String? = row?["data"]
        let data = try text.map { try ProtocolJSON.decode([String: String].self, from: Data($0.utf8)) }
        let stage: String? = row?["name"]
        return [
            "stage": stage.map { .string($0) } ?? .null, "code": (data?["code"]).map { .string($0) } ?? .null,
            "class": (data?["class"]).map { .string($0) } ?? .null,
        ]
    }

    private static func rejection(_ db: Database, _ subject: String) throws -> JSONValue {
        guard
            let row = try Row.fetchOne(
                db, sql: "SELECT orig_name, tenant, error_json FROM intake WHERE claim_id = ?", arguments: [subject])
        else {
            let parts = subject.split(separator: "/", maxSplits: 1).map(String.init)
            return ["schedule": .string(parts[0]), "occurrence": parts.count > 1 ? .string(parts[1]) : .null]
        }
        let report = try ValidationReport(decoding: Data((row["error_json"] as String).utf8))
        return [
            "claim": .string(subject), "file": .string(PrintableText.line(row["orig_name"], limit: 200)),
            "tenant": .string(row["tenant"]),
            "findings": .array(
                report.findings.prefix(findingsShown).map { finding in
                    [
                        "code": .string(finding.code.rawValue), "severity": .string(finding.severity.rawValue),
                        "line": finding.line.map { .integer($0) } ?? .null,
                        "column": finding.column.map { .integer($0) } ?? .null,
                        "pointer": .string(finding.pointer), "message": .string(finding.message),
                        "hint": finding.hint.map { .string($0) } ?? .null,
                    ]
                }),
        ]
    }
}
