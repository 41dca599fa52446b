import Foundation
import GRDB
import Glibc
import PipelineSpec

extension JobQueue {
    /// What is known of every schedule, by name.
    package func schedules() throws -> [String: ScheduleRecord] {
        try read { db in
            // A queue of an older version is brought up to date by the next one who writes.
            guard try db.tableExists("schedule") else { return [:] }
            let rows = try Row.fetchAll(db, sql: "SELECT id FROM schedule")
            return try Dictionary(
                uniqueKeysWithValues: rows.compactMap { row in
                    let id: String = row["id"]
                    return try scheduleRecord(db, id).map { (id, $0) }
                })
        }
    }

    /// What is known of a schedule; `nil` when nothing is.
    func schedule(_ id: String) throws -> ScheduleRecord? { try read { try scheduleRecord($0, id) } }

    /// Lets a file count as it is now: what was due before `since` never fires by it.
    ///
    /// Nothing happens when it is the file that counted before.
    func defineSchedule(_ id: String, _ definition: String, since: Int64, _ zone: TimeZone?) throws {
        if try schedule(id)?.definition == definition { return }
        try write { db in
            if let zone { try forgetFuture(db, id, zone) }
            try db.execute(
                sql: """
                    INSERT INTO schedule (id, definition, defined_ms, evaluated_ms) VALUES (?, ?, ?, ?)
                    ON CONFLICT (id) DO UPDATE SET definition = excluded.definition, defined_ms = excluded.defined_ms,
                      evaluated_ms = excluded.evaluated_ms
                    """, arguments: [id, definition, now(), since])
        }
    }

    /// Notes which schedules have no file any more: one that comes back counts from then on.
    func forgetSchedules(except present: Set<String>) throws {
        let gone = try schedules().filter { !$1.definition.isEmpty && !present.contains($0) }.keys
        if gone.isEmpty { return }
        try write { db in
            for id in gone { try db.execute(sql: "UPDATE schedule SET definition = '' WHERE id = ?", arguments: [id]) }
        }
    }

    /// Starts over from now, because the clock was set back.
    ///
    /// What was only recorded of times that are now to come is forgotten, so that a clock that was ahead by a year does
    /// not silence the year. What made a job stays, and never makes another.
    func rewindSchedule(_ id: String, _ zone: TimeZone) throws {
        try write { db in
            try forgetFuture(db, id, zone)
            try db.execute(
                sql: "UPDATE schedule SET evaluated_ms = ? WHERE id = ? AND evaluated_ms > ?",
                arguments: [now(), id, now()])
        }
    }

    private func forgetFuture(_ db: Database, _ id: String, _ zone: TimeZone) throws {
        let date = Date(timeIntervalSince1970: Double(now()) / 1000)
        try db.execute(
            sql: """
                DELETE FROM schedule_fire WHERE schedule_id = ? AND job_id IS NULL
                  AND occurrence NOT LIKE 'manual-%' AND occurrence > ?
                """, arguments: [id, Occurrence(at: date, in: zone).description])
    }

    /// Settles the occurrences up to a moment in one transaction: what is due makes its jobs, the rest is recorded.
    ///
    /// An occurrence that has a row keeps it, so none makes a second job, whoever asks and however often.
    ///
    /// - Parameters:
    ///   - record: What the plan was made from.
    ///   - settled: The moment, in milliseconds since 1970.
    ///   - due: Each with its job; `nil` when the manifest is wrong.
    ///   - unused: Those that make no job, and why.
    /// - Returns: What was newly recorded, and the last refusal; `nil` when somebody else has changed the schedule
    ///   meanwhile, so that the plan is void.
    func settleSchedule(
        _ id: String, from record: ScheduleRecord, to settled: Int64, due: [(Occurrence, NewJob?)],
        unused: [Occurrence], as outcome: ScheduleFire.Outcome
    ) throws -> (fires: [ScheduleFire], refusal: RefusedSubmission?)? {
        try write { db in
            guard let current = try scheduleRecord(db, id), current.isPaused == record.isPaused,
                current.definition == record.definition, current.evaluated == record.evaluated
            else { return nil }
            var fires: [ScheduleFire] = []
            var refusal: RefusedSubmission?
            for occurrence in unused {
                if let fire = try recordFire(db, id, occurrence.description, outcome, job: nil) { fires.append(fire) }
            }
            for (occurrence, job) in due {
                let isKnown = try Bool.fetchOne(
                    db, sql: "SELECT EXISTS (SELECT 1 FROM schedule_fire WHERE schedule_id = ? AND occurrence = ?)",
                    arguments: [id, occurrence.description])
                if isKnown == true { continue }
                var result: (ScheduleFire.Outcome, String?) = (.rejected, nil)
                do {
                    if let job { result = try place(db, job) }
                } catch let refused as RefusedSubmission {
                    refusal = refused
                }
                if let fire = try recordFire(db, id, occurrence.description, result.0, job: result.1) {
                    fires.append(fire)
                }
            }
            try db.execute(
                sql: "UPDATE schedule SET evaluated_ms = ? WHERE id = ?", arguments: [settled, id])
            if !fires.isEmpty { try forgetOldFires(db, id) }
            return (fires, refusal)
        }
    }

    /// Forgets occurrences that no step of a clock brings back, so that a schedule of every minute does not grow for
    /// ever; of a job, its history tells where it came from.
    private func forgetOldFires(_ db: Database, _ id: String) throws {
        try db.execute(
            sql: """
                DELETE FROM schedule_fire WHERE schedule_id = ? AND fired_ms < ? AND occurrence <>
                  (SELECT max(occurrence) FROM schedule_fire WHERE schedule_id = ?)
                """, arguments: [id, now() - Self.firesKeptMilliseconds, id])
    }

    /// How long an occurrence is remembered: 400 days, more than a year that a clock is set wrong by.
    static let firesKeptMilliseconds: Int64 = 400 * 86_400_000

    /// Makes a job of a schedule now, whether it is paused or not.
    ///
    /// - Parameter user: Who asks: the owner of the file, the daemon's user or root.
    /// - Throws: ``RefusedSubmission`` when the queue's state forbids the job; then nothing is recorded; `permission`.
    package func runSchedule(
        _ entry: ScheduleEntry, _ submission: Submission, as user: UInt32 = geteuid()
    ) throws -> ScheduleFire {
        try authorize(entry, as: user)
        let job = try NewJob(schedule: entry, submission)
        return try write { db in
            let (outcome, id) = try place(db, job)
            let occurrence = "manual-\(job.id)"
            guard let fire = try recordFire(db, entry.id, occurrence, outcome, job: id) else {
                throw OrchestrationError(.busy, "\(occurrence) is recorded already")
            }
            return fire
        }
    }

    /// Lets a schedule fire, or not. What was due while it was paused never fires.
    ///
    /// - Parameter user: Who asks: the owner of the file, the daemon's user or root.
    /// - Throws: `permission`.
    package func setPaused(_ isPaused: Bool, schedule entry: ScheduleEntry, as user: UInt32 = geteuid()) throws {
        try authorize(entry, as: user)
        try setPaused(isPaused, schedule: entry.id)
    }

    func setPaused(_ isPaused: Bool, schedule id: String) throws {
        try write { db in
            try db.execute(
                sql: """
                    INSERT INTO schedule (id, paused, definition, defined_ms, evaluated_ms) VALUES (?, ?, '', ?, ?)
                    ON CONFLICT (id) DO UPDATE SET paused = excluded.paused,
                      evaluated_ms = CASE WHEN schedule.paused > excluded.paused
                        THEN max(schedule.evaluated_ms, excluded.evaluated_ms) ELSE schedule.evaluated_ms END
                    """, arguments: [id, isPaused, now(), now()])
            try note(db, isPaused ? "schedule_paused" : "schedule_resumed", ["schedule": id])
        }
    }

    private func scheduleRecord(_ db: Database, _ id: String) throws -> ScheduleRecord? {
        let row = try Row.fetchOne(
            db, sql: "SELECT paused, definition, evaluated_ms FROM schedule WHERE id = ?", arguments: [id])
        let last = try Row.fetchOne(
            db,
            sql: """
                SELECT occurrence, fired_ms, job_id, outcome FROM schedule_fire WHERE schedule_id = ?
                ORDER BY fired_ms DESC, occurrence LIKE 'manual-%' DESC, occurrence DESC LIMIT 1
                """, arguments: [id])
        guard let row else { return nil }
        return ScheduleRecord(
            isPaused: row["paused"], definition: row["definition"], evaluated: row["evaluated_ms"],
            last: last.map { last in
                let milliseconds: Int64 = last["fired_ms"]
                return ScheduleFire(
                    schedule: id, occurrence: last["occurrence"],
                    firedAt: Date(timeIntervalSince1970: Double(milliseconds) / 1000), job: last["job_id"],
                    outcome: ScheduleFire.Outcome(rawValue: last["outcome"]) ?? .missed)
            })
    }

    /// The job of a schedule, or the one that stands for it. A refusal leaves nothing behind.
    private func place(_ db: Database, _ job: NewJob) throws -> (ScheduleFire.Outcome, String?) {
        var result: (ScheduleFire.Outcome, String?) = (.accepted, job.id)
        try db.inSavepoint {
            switch try precedent(db, job) {
            case .coalesced(let other): result = (.coalesced, other)
            case .duplicate(let other): result = (.duplicate, other)
            default:
                try insert(db, job)
                try settleWaiting(db)
            }
            return .commit
        }
        return result
    }

    /// Records an occurrence; `nil` when it has its row.
    private func recordFire(
        _ db: Database, _ id: String, _ occurrence: String, _ outcome: ScheduleFire.Outcome, job: String?
    ) throws -> ScheduleFire? {
        let at = now()
        try db.execute(
            sql: """
                INSERT INTO schedule_fire (schedule_id, occurrence, fired_ms, job_id, outcome) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT DO NOTHING
                """, arguments: [id, occurrence, at, job, outcome.rawValue])
        guard db.changesCount == 1 else { return nil }
        if let job {
            try note(
                db, "schedule", job: job,
                ["schedule": id, "occurrence": occurrence, "outcome": outcome.rawValue])
        }
        return ScheduleFire(
            schedule: id, occurrence: occurrence, firedAt: Date(timeIntervalSince1970: Double(at) / 1000), job: job,
            outcome: outcome)
    }
}

extension NewJob {
    /// The job of a schedule's file.
    init(schedule entry: ScheduleEntry, _ submission: Submission) throws {
        try self.init(
            id: ULID().description, origin: .schedule(entry.id), tenant: InboxEntry.defaultTenant,
            ownerID: entry.ownerID, manifestDigest: entry.digest, submission)
    }
}
