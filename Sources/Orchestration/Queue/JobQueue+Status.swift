import Foundation
import GRDB
package import PipelineSpec

extension JobQueue {
    /// Jobs in the order they were submitted.
    ///
    /// - Parameters:
    ///   - isDiskLow: Whether there is too little room to start anything, which then is the reason shown.
    ///   - isDaemonDown: Whether nobody is there to start what could start.
    /// - Throws: `notFound` or `ambiguous` for an id of the filter.
    package func list(
        _ filter: JobFilter = JobFilter(), isDiskLow: Bool = false, isDaemonDown: Bool = false
    ) throws -> [JobStatus] {
        let (rows, reasons, expectations, values) = try read { db in
            var conditions: [String] = []
            var arguments: [any DatabaseValueConvertible] = []
            func require(_ column: String, in values: [String]) {
                conditions.append("\(column) IN (\(values.map { _ in "?" }.joined(separator: ",")))")
                arguments += values
            }
            let ids = try filter.ids.map { try resolve(db, $0) }
            if !ids.isEmpty { require("j.id", in: ids) }
            if let since = filter.endedSince {
                conditions.append("j.finished_ms >= ?")
                arguments.append(Int64((since.timeIntervalSince1970 * 1000).rounded()))
            } else if !filter.includesOld && ids.isEmpty {
                conditions.append(StatusSQL.recent)
                arguments.append(now() - 86_400_000)
            }
            if !filter.states.isEmpty { require("j.state", in: filter.states.map(\.rawValue)) }
            for (column, value) in [("name", filter.name), ("tenant", filter.tenant), ("queue", filter.queue)] {
                if let value { require("j.\(column)", in: [value]) }
            }
            let rows = try Row.fetchAll(
                db, sql: StatusSQL.list(conditions, limit: filter.limit), arguments: StatementArguments(arguments))
            let reasons = try waitingReasons(db, rows, isDiskLow: isDiskLow, isDaemonDown: isDaemonDown)
            return (rows, reasons, try self.expectations(db, rows), try trialValues(db, rows))
        }
        return try rows.reversed().map { row in
            var status = try self.status(row, reasons, expectations)
            status.trialValues = values[status.id]
            return status
        }
    }

    /// The values in which the trials of a listing differ from each other.
    private func trialValues(_ db: Database, _ rows: [Row]) throws -> [String: String] {
        var keys: [String: [String]] = [:]
        var values: [String: String] = [:]
        for row in rows {
            guard let sweep: String = row["sweep_id"] else { continue }
            if keys[sweep] == nil {
                let text = try String.fetchOne(db, sql: "SELECT keys FROM sweep WHERE id = ?", arguments: [sweep])
                keys[sweep] = try text.map { try ProtocolJSON.decode([String].self, from: Data($0.utf8)) } ?? []
            }
            let id: String = row["id"]
            guard let spec = try Data.fetchOne(db, sql: "SELECT spec FROM job WHERE id = ?", arguments: [id]) else {
                continue
            }
            let manifest = try ProtocolJSON.decode(JobManifest.self, from: spec)
            values[id] = (keys[sweep] ?? []).map { key in
                let value = ManifestSchema.value(of: key, in: manifest) ?? .null
                if case .string(let text) = value { return "\(key)=\(text)" }
                return "\(key)=\(value.text())"
            }.joined(separator: " ")
        }
        return values
    }

    /// All that is known of a job.
    ///
    /// - Parameter job: An id, or the unique beginning of one.
    package func show(_ job: String, isDiskLow: Bool = false, isDaemonDown: Bool = false) throws -> JobDetail {
        let id = try resolve(job)
        var filter = JobFilter()
        filter.ids = [id]
        guard let status = try list(filter, isDiskLow: isDiskLow, isDaemonDown: isDaemonDown).first else {
            throw OrchestrationError(.notFound, "there is no job \(job)")
        }
        return try read { db in
            guard
                let row = try Row.fetchOne(
                    db, sql: "SELECT spec, manifest_sha256, origins FROM job WHERE id = ?", arguments: [id])
            else { throw OrchestrationError(.notFound, "there is no job \(job)") }
            let spec: Data = row["spec"]
            let needs = try Row.fetchAll(db, sql: "SELECT needs, cond FROM job_dep WHERE job_id = ?", arguments: [id])
            let stages = try stageRows(db, id).map { stage in
                JobDetail.Stage(
                    name: stage.plan.name, kind: stage.plan.kind, needs: stage.plan.needs, state: stage.state,
                    cacheKey: stage.cacheKey, outputDigest: stage.outputDigest, outputPath: stage.outputPath,
                    why: stage.why,
                    attempts: try Row.fetchAll(
                        db, sql: "SELECT * FROM attempt WHERE stage_id = ? ORDER BY n", arguments: [stage.id]
                    ).map(Self.attempt))
            }
            let events = try Row.fetchAll(
                db, sql: "SELECT * FROM event WHERE job_id = ? ORDER BY id", arguments: [id]
            ).map { row in
                let data: String = row["data"]
                let stage: String? = row["stage_id"]
                return JobDetail.Event(
                    at: Self.date(row["at_ms"]), kind: row["kind"], stage: stage.map { String($0.dropFirst(27)) },
                    attempt: row["attempt_id"],
                    data: try ProtocolJSON.decode([String: String].self, from: Data(data.utf8)))
            }
            return JobDetail(
                status: status, manifest: try ProtocolJSON.decode(JobManifest.self, from: spec),
                manifestDigest: row["manifest_sha256"], origins: row["origins"],
                after: Dictionary(needs.map { ($0["needs"], $0["cond"]) }, uniquingKeysWith: { $1 }), stages: stages,
                events: events)
        }
    }

    /// The newest entry of the history.
    func lastEvent() throws -> Int64 { try read { try Int64.fetchOne($0, sql: "SELECT max(id) FROM event") ?? 0 } }

    /// A job that has ended while no driver was with it.
    struct Ending: Sendable, Equatable {
        var job: String
        var state: JobState
        /// Its state before.
        var was: String
        var reason: String?
    }

    /// Jobs that have ended while they waited, between two entries of the history, without the first and with the last.
    func endings(after first: Int64, upTo last: Int64) throws -> [Ending] {
        try read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT job_id, kind, json_extract(data, '$.was') AS was, json_extract(data, '$.reason') AS reason
                    FROM event WHERE id > ? AND id <= ? AND kind IN ('cancelled','skipped') AND job_id IS NOT NULL
                      AND json_extract(data, '$.was') IS NOT NULL ORDER BY id
                    """, arguments: [first, last]
            ).compactMap { row in
                JobState(rawValue: row["kind"]).map {
                    Ending(job: row["job_id"], state: $0, was: row["was"], reason: row["reason"])
                }
            }
        }
    }

    /// What became of a dropped file: the verdict, once the daemon has recorded it.
    ///
    /// `submit --wait` asks this until there is an answer.
    package func verdict(of claimID: String) throws -> IntakeVerdict? { try intakeRecord(claimID)?.verdict }

    /// Waits until every job has ended, looking twice a second.
    ///
    /// - Returns: Their states, in the order asked for; `nil` when the time ran out first.
    package func wait(for jobs: [String], timeout: Double? = nil) async throws -> [JobState]? {
        let ids = try jobs.map { try resolve($0) }
        let deadline = timeout.map { ContinuousClock.now + .seconds($0) }
        while true {
            let states = try read { db in try ids.map { try state(db, $0) } }
            if states.allSatisfy(\.isFinal) { return states }
            if let deadline, ContinuousClock.now >= deadline { return nil }
            try await Task.sleep(for: .milliseconds(500))
        }
    }

    /// How long the jobs of a listing that have not ended will take.
    private func expectations(_ db: Database, _ rows: [Row]) throws -> [String: Expectation] {
        var cache = ForecastCache()
        var found: [String: Expectation] = [:]
        for row in rows where (row["finished_ms"] as Int64?) == nil {
            let event = Self.directory(row).flatMap(Self.lastEvent)
            let worker = event.flatMap { event in
                event.etaSeconds.map { max(0, $0 - (Double(now()) / 1000 - event.time)) }
            }
            found[row["id"]] = try expectation(db, row, worker: worker, &cache)
        }
        return found
    }

    private static func directory(_ row: Row) -> RunDirectory? {
        (row["workdir"] as String?).map { RunDirectory(URL(filePath: $0, directoryHint: .isDirectory)) }
    }

    private func status(
        _ row: Row, _ reasons: [String: WaitingReason], _ expectations: [String: Expectation]
    ) throws -> JobStatus {
        let id: String = row["id"]
        let state = JobState(rawValue: row["state"]) ?? .queued
        let directory = Self.directory(row)
        let event = directory.flatMap(Self.lastEvent)
        let started: Int64? = row["started_ms"]
        let finished: Int64? = row["finished_ms"]
        return JobStatus(
            id: id, name: row["name"], tenant: row["tenant"], queue: row["queue"], priority: row["priority"],
            state: state, stage: state.isFinal ? nil : row["stage_name"], isStageLive: directory != nil,
            progress: state == .succeeded ? 1 : event?.fraction ?? 0, event: event,
            elapsed: started.map { Double((finished ?? now()) - $0) / 1000 },
            eta: expectations[id]?.seconds, etaSource: expectations[id]?.source,
            reason: reasons[id]?.description ?? (row["reason"] as String?), adapter: row["adapter"],
            gate: row["gate"], createdAt: Self.date(row["created_ms"]), startedAt: started.map(Self.date),
            finishedAt: finished.map(Self.date), retryOf: row["retry_of"], sweep: row["sweep_id"],
            ownerID: row["owner_uid"],
            memoryBytes: row["memory_bytes"], progressFile: directory?.progress)
    }

    /// The last whole line of a progress file, without reading all of it.
    private static func lastEvent(_ directory: RunDirectory) -> ProgressEvent? {
        guard let handle = try? FileHandle(forReadingFrom: directory.progress) else { return nil }
        defer { try? handle.close() }
        guard let end = try? handle.seekToEnd(), (try? handle.seek(toOffset: end > 16384 ? end - 16384 : 0)) != nil,
            let data = try? handle.readToEnd(), let last = data.lastIndex(of: UInt8(ascii: "\n"))
        else { return nil }
        for line in data[..<last].split(separator: UInt8(ascii: "\n")).reversed() {
            if let event = try? ProtocolJSON.decode(ProgressEvent.self, from: Data(line)) { return event }
        }
        return nil
    }

    private static func attempt(_ row: Row) throws -> JobDetail.Attempt {
        func decode<T: Decodable>(_ column: String, as type: T.Type) throws -> T? {
            try (row[column] as String?).map { try ProtocolJSON.decode(T.self, from: Data($0.utf8)) }
        }
        let milliseconds: Int64? = row["cpu_ms"]
        let ended: Int64? = row["ended_ms"]
        return JobDetail.Attempt(
            id: row["id"], number: row["n"], state: AttemptState(rawValue: row["state"]) ?? .lost,
            directory: RunDirectory(URL(filePath: row["workdir"] as String, directoryHint: .isDirectory)),
            pid: row["pid"], exitCode: row["exit_code"], signal: row["term_signal"],
            failure: try decode("error_json", as: StageFailure.self),
            failureClass: (row["failure_class"] as String?).flatMap(FailureClass.init(rawValue:)),
            metrics: try decode("metrics_json", as: [String: Double].self) ?? [:], resumedFrom: row["resume_from"],
            peakRSSBytes: row["peak_rss"], cpuSeconds: milliseconds.map { Double($0) / 1000 },
            startedAt: date(row["started_ms"]), endedAt: ended.map(date))
    }

    static func date(_ milliseconds: Int64) -> Date {
        Date(timeIntervalSince1970: Double(milliseconds) / 1000)
    }
}

extension WorkspaceStatus {
    /// Looks at a workspace.
    ///
    /// - Parameter queue: `nil` when there is none yet.
    package init(of workspace: Workspace, queue: JobQueue?, diskFloor: Int64 = 256 << 20) throws {
        let note = try DaemonLock.holder(of: workspace)
        let free = DiskSpace.free(at: workspace.jobs)
        daemon = note
        inboxBacklog = try InboxEntry.list(workspace).count { $0.status == .waiting }
        diskLow =
            note?.intakePaused
            ?? (free < diskFloor ? "disk full: \(free >> 20) MiB free, \(diskFloor >> 20) MiB needed" : nil)
        nextSchedule = try NextFire.first(in: workspace, queue: queue)
        guard let queue else { return }
        (rejectedSinceYesterday, pausedQueues, jobCounts) = try queue.read { db in
            let counts = try Row.fetchAll(db, sql: StatusSQL.counts).compactMap { row in
                JobState(rawValue: row["state"]).map { ($0, row["n"] as Int) }
            }
            return (
                try Int.fetchOne(db, sql: StatusSQL.rejected, arguments: ["since": queue.now() - 86_400_000]) ?? 0,
                try String.fetchAll(db, sql: "SELECT name FROM queue WHERE paused = 1 ORDER BY name"),
                Dictionary(counts, uniquingKeysWith: { $1 })
            )
        }
    }
}

/// What `status` asks; what it costs grows with what it shows, not with what has ended.
enum StatusSQL {
    static let recent = """
        j.id IN (SELECT id FROM job WHERE finished_ms IS NULL
                 UNION ALL SELECT id FROM job WHERE finished_ms > ?)
        """
    static let counts = "SELECT state, n FROM job_count WHERE n > 0"
    static let rejected = """
        SELECT (SELECT count(*) FROM intake WHERE verdict = 'rejected' AND received_ms > :since)
          + (SELECT count(*) FROM schedule_fire WHERE outcome = 'rejected' AND fired_ms > :since)
        """

    static func list(_ conditions: [String], limit: Int?) -> String {
        """
        SELECT j.id, j.name, j.tenant, j.queue, j.priority, j.state, j.reason, j.adapter, j.gate, j.created_ms, j.started_ms,
          j.finished_ms, j.retry_of, j.owner_uid, j.unique_key, j.memory_bytes, j.not_before_ms, j.leads, j.open_needs,
          j.pause_requested_ms, j.sweep_id, j.spec_sha256, j.threads, j.operations, j.operations_per_token, j.precision_bits,
          s.name AS stage_name, a.workdir AS workdir, a.started_ms AS attempt_ms
        FROM job AS j
        LEFT JOIN stage_run AS s ON s.job_id = j.id AND s.ord = CASE WHEN j.finished_ms IS NULL THEN (
          SELECT min(ord) FROM stage_run WHERE job_id = j.id
            AND state IN ('blocked','ready','running','retry_wait')) END
        LEFT JOIN attempt AS a ON a.stage_id = s.id AND a.state IN ('starting','running')
        \(conditions.isEmpty ? "" : "WHERE " + conditions.joined(separator: " AND "))
        ORDER BY j.seq DESC \(limit.map { "LIMIT \(max(0, $0))" } ?? "")
        """
    }
}
