import CLinux
import Foundation
import Logging
import PipelineSpec

/// Fires what the files of `Jobs/schedules` say is due, each occurrence once.
///
/// What has been settled is in the database, so a restart, a second daemon and a clock that is set make no occurrence
/// happen twice. The folder is the truth about what there is.
struct Scheduler {
    private struct Known {
        var entry: ScheduleEntry
        var identity: ScheduleFolder.Identity
        var shadow: String?
        /// When to look at it again; `nil` until it was looked at, and for ever when it never fires.
        var next: Date?
        var isNew = true
    }

    private let configuration: OrchestrationConfiguration
    private let queue: JobQueue
    private let folder: ScheduleFolder
    private var known: [String: Known] = [:]
    /// Files that are being written, and since when they are as they are, on `CLOCK_BOOTTIME`.
    private var sightings: [String: (identity: ScheduleFolder.Identity, since: Double)] = [:]
    private let fence: Fence
    private var hasScanned = false
    private var lastLook = Date.distantPast

    init(_ configuration: OrchestrationConfiguration, _ queue: JobQueue) {
        self.configuration = configuration
        self.queue = queue
        fence = Fence(configuration.logger)
        folder = ScheduleFolder(configuration.workspace, maximumBytes: configuration.maximumManifestBytes)
    }

    /// Fires what is due.
    ///
    /// - Parameter rescan: Whether to look for new, changed and removed files first.
    /// - Returns: In how many seconds there is something to do; `nil` when nothing is known to come.
    mutating func run(rescan: Bool) throws -> Double? {
        // Without room nothing is recorded; once there is some, `catch_up` says what becomes of it.
        if configuration.isDiskLow { return nil }
        var wait: Double?
        if rescan || !sightings.isEmpty {
            // A folder that cannot be listed stops neither the jobs nor what is known already.
            try fence.around("Jobs/schedules") {
                wait = try scan()
            } orElse: {
                wait = configuration.scanInterval
            }
        }
        let now = Date(timeIntervalSince1970: Double(queue.now()) / 1000)
        let isSetBack = now < lastLook
        lastLook = now
        for name in known.keys.sorted() {
            guard var one = known[name] else { continue }
            if one.isNew || isSetBack || one.next.map({ $0 <= now }) ?? false {
                try fence.around(one.entry.url.lastPathComponent) {
                    try look(&one, now)
                } orElse: {
                    one.next = now.addingTimeInterval(30)
                }
                one.isNew = false
                known[name] = one
            }
            if let next = one.next { wait = min(wait ?? .infinity, max(0, next.timeIntervalSince(now))) }
        }
        return wait
    }

    // MARK: Files

    /// Reads what is new or changed; in how many seconds a file that is being written may have settled.
    private mutating func scan() throws -> Double? {
        let candidates = try folder.candidates()
        let now = clinux_boottime()
        var wait: Double?
        for candidate in candidates {
            let name = candidate.name
            let isRead = known[name].map { $0.identity == candidate.identity && $0.shadow == candidate.shadow } ?? false
            if isRead {
                sightings[name] = nil
                continue
            }
            if sightings[name]?.identity != candidate.identity { sightings[name] = (candidate.identity, now) }
            let age = now - (sightings[name]?.since ?? now)
            // What lies there at the start was not written this moment; if it was, it changes once more.
            guard !hasScanned || age >= configuration.settle else {
                wait = min(wait ?? .infinity, configuration.settle - age)
                continue
            }
            try fence.around(name) {
                guard let entry = try folder.entry(candidate, configuration.readSchedule) else { return }
                try take(entry, candidate)
                sightings[name] = nil
            } orElse: {
                sightings[name] = (candidate.identity, now)
                wait = min(wait ?? .infinity, max(0.1, configuration.settle))
            }
        }
        let names = Set(candidates.map(\.name))
        sightings = sightings.filter { names.contains($0.key) }
        let gone = Set(known.keys).subtracting(names)
        for name in gone {
            known[name] = nil
            configuration.logger.info("a schedule is gone", metadata: ["file": "\(name)"])
        }
        if !hasScanned || !gone.isEmpty {
            try queue.forgetSchedules(except: Set(candidates.filter { $0.shadow == nil }.map(\.id)))
            for name in try folder.orphans() { try fence.around(name) { try folder.removeReport(on: name) } }
        }
        hasScanned = true
        return wait
    }

    private mutating func take(_ entry: ScheduleEntry, _ candidate: ScheduleFolder.Candidate) throws {
        if candidate.shadow == nil {
            // A file counts from when it came, not from when it was noticed; but never from long ago.
            let now = queue.now()
            let since = min(now, max(candidate.identity.changedMilliseconds, now - 60_000))
            try queue.defineSchedule(entry.id, entry.digest, since: since, entry.file.definition?.timeZone)
        }
        known[candidate.name] = Known(entry: entry, identity: candidate.identity, shadow: candidate.shadow)
        try report(entry.findings, on: entry)
    }

    /// Says what is wrong beside the file, or that nothing is.
    private func report(_ findings: [Finding], on entry: ScheduleEntry) throws {
        let name = entry.url.lastPathComponent
        do {
            if findings.isEmpty {
                try folder.removeReport(on: name)
            } else {
                configuration.logger.warning(
                    "a schedule is wrong; see the report beside it", metadata: ["file": "\(name)"])
                try folder.report(findings, on: entry)
            }
        } catch  where !OrchestrationError.isDiskFull(error) {
            // Such as a folder that may only be read: `schedule ls` says the same.
            configuration.logger.warning(
                "cannot write or remove a report", metadata: ["file": "\(name)", "error": "\(error)"])
        }
    }

    // MARK: Firing

    /// Settles the occurrences of a schedule up to now.
    private func look(_ one: inout Known, _ now: Date) throws {
        one.next = nil
        guard let definition = one.entry.file.definition, definition.isEnabled else { return }
        let id = one.entry.id
        let milliseconds = Int64((now.timeIntervalSince1970 * 1000).rounded())
        guard var record = try queue.schedule(id) else {
            // Somebody has put the database away while the daemon ran.
            try queue.defineSchedule(id, one.entry.digest, since: milliseconds, definition.timeZone)
            one.next = now
            return
        }
        if record.evaluated > milliseconds {
            try queue.rewindSchedule(id, definition.timeZone)
            record.evaluated = milliseconds
        }
        let last = Date(timeIntervalSince1970: Double(record.evaluated) / 1000)
        let plan = CatchUpPlan(definition, after: last, through: now)
        one.next = definition.cron.next(after: now, in: definition.timeZone)?.date
        if plan.isEmpty { return }
        if record.isPaused {
            let passed = plan.missed + plan.due
            let settled = try queue.settleSchedule(
                id, from: record, to: milliseconds, due: [], unused: passed, as: .skipped)
            if settled == nil { one.next = now }
            return
        }
        // The manifest is read against the files as they are now: a base may have gone, or come.
        var entry = one.entry
        if !plan.due.isEmpty { entry = try judged(entry) }
        let due = try plan.due.map { occurrence -> (Occurrence, NewJob?) in
            guard entry.findings.isEmpty else { return (occurrence, nil) }
            var submission = try entry.submission(at: occurrence)
            submission.memoryBytes = configuration.estimateMemory(submission.manifest)
            submission.work = configuration.countWork(submission.manifest)
            return (occurrence, try NewJob(schedule: entry, submission))
        }
        guard
            let (fires, refusal) = try queue.settleSchedule(
                id, from: record, to: milliseconds, due: due, unused: plan.missed, as: .missed)
        else {
            one.next = now
            return
        }
        if !fires.isEmpty { try Failpoint.scheduleFired.hit() }
        for fire in fires {
            configuration.logger.info(
                "schedule \(id): \(fire.outcome.rawValue)",
                metadata: ["occurrence": "\(fire.occurrence)", "job": "\(fire.job ?? "-")"])
        }
        if !plan.due.isEmpty {
            let refused = refusal.map {
                Finding(Finding.Code(rawValue: $0.code), pointer: $0.pointer, $0.description)
            }
            try report(entry.findings + (refused.map { [$0] } ?? []), on: entry)
        }
    }

    private func judged(_ entry: ScheduleEntry) throws -> ScheduleEntry {
        ScheduleEntry(
            id: entry.id, url: entry.url, bytes: entry.bytes, ownerID: entry.ownerID,
            file: configuration.readSchedule(entry.bytes))
    }
}

/// Keeps what is wrong with one file from the others, and tells the same trouble once.
private final class Fence {
    private let logger: Logger
    private var told: [String: String] = [:]

    init(_ logger: Logger) { self.logger = logger }

    /// - Throws: what concerns every file: that the daemon must end, or that the disk is full.
    func around(_ name: String, _ body: () throws -> Void, orElse: () -> Void = {}) throws {
        do {
            try body()
            told[name] = nil
        } catch  where OrchestrationError.endsDaemon(error) {
            throw error
        } catch  where OrchestrationError.isDiskFull(error) {
            throw error
        } catch let error as OrchestrationError where error.code == .changed {
            orElse()
        } catch {
            if told[name] != "\(error)" {
                logger.error("a schedule failed", metadata: ["file": "\(name)", "error": "\(error)"])
            }
            told[name] = "\(error)"
            orElse()
        }
    }
}
