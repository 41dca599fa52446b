import Artifacts
package import Foundation
import GRDB
import Glibc
package import PipelineSpec

/// Makes a queue that is lost or damaged anew from the files, which outlive it.
///
/// Every manifest that was taken has its row again, under its id. A job whose version is in the store has succeeded, and so
/// has one whose report says so; every other one is held, since nobody knows any more whether it ran. Nothing starts by
/// itself, and nothing is lost.
package struct QueueRebuild: Sendable {
    /// What was found, for the person who asked.
    package struct Report: Sendable, Equatable {
        /// Where the damaged files are now, relative to the workspace.
        package var movedAway: [String] = []
        /// The backup it began from, if any.
        package var backup: String?
        /// Manifests that have a row again, by verdict: `accepted`, `rejected`, `coalesced`, `duplicate`.
        package var manifests: [String: Int] = [:]
        /// Jobs that were recovered, by state.
        package var jobs: [JobState: Int] = [:]
        /// What could not be recovered, and what was assumed.
        package var notes: [String] = []
    }

    private let configuration: OrchestrationConfiguration
    private var workspace: Workspace { configuration.workspace }

    package init(_ configuration: OrchestrationConfiguration) { self.configuration = configuration }

    /// Makes the queue anew, beside the old one, and then puts it in its place.
    ///
    /// A crash on the way leaves the old one, or the new one; never half of either.
    ///
    /// - Parameter fromBackup: Begins with the newest sound backup beside the queue, which also knows retries and
    ///   history; what is newer comes from the files.
    /// - Throws: `busy` while a daemon or a stage runs; `wrongState` when the queue is sound and knows every file;
    ///   `wrongDatabase` when it is another program's or of a newer version; `notFound` when there is no backup to begin
    ///   with.
    package func run(fromBackup: Bool = false, now: Date = Date()) throws -> Report {
        try workspace.create()
        let lock = try DaemonLock(workspace)
        defer { withExtendedLifetime(lock) {} }
        try lock.write(
            DaemonLock.Note(pid: getpid(), startedAt: now, intakePaused: "the queue is made anew", isWatching: false))
        let isSound = try QueueHealth(workspace).isSound
        if isSound, try !Invariants(workspace, readsContent: false).violations().contains(where: \.needsRebuild) {
            throw OrchestrationError(
                .wrongState, "the queue \(path) is sound; there is nothing to rebuild (lorajobs doctor checks the rest)"
            )
        }
        let files = try RecoveredFiles(workspace)
        for run in files.runs.values.joined() where try WorkerProcess.isLockHeld(run.directory) {
            throw OrchestrationError(
                .busy,
                "a stage of job \(run.job) still runs (\(workspace.relativePath(run.directory.url))); "
                    + "wait until it has ended, or end it, and rebuild then")
        }
        var report = Report()
        report.notes = files.notes
        let fresh = URL(filePath: path + ".rebuilding")
        for ending in ["", "-wal", "-shm", "-journal"] { unlink(fresh.path + ending) }
        if fromBackup {
            report.backup = try copyBackup(to: fresh)
        } else if isSound {
            // What it knows is true; what it does not know comes from the files.
            let old = try JobQueue.openReadOnly(workspace.database)
            try old.backUp(to: fresh)
            try old.close()
        }
        let queue = try JobQueue.open(fresh)
        try fill(queue, files, isComplement: isSound && !fromBackup, &report)
        try queue.close()
        try replace(with: fresh, now, &report)
        return report
    }

    private var path: String { workspace.database.path(percentEncoded: false) }

    private func copyBackup(to fresh: URL) throws -> String {
        for backup in try JobQueue.backups(of: workspace) where try QueueHealth(file: backup).isSound {
            try AtomicFile.write(Data(contentsOf: backup), to: fresh)
            return workspace.relativePath(backup)
        }
        throw OrchestrationError(
            .notFound,
            "there is no sound backup \(path).backup-…; rebuild from the files alone: lorajobs doctor --rebuild")
    }

    /// Puts the old files aside and the new one in their place.
    private func replace(with fresh: URL, _ now: Date, _ report: inout Report) throws {
        let aside = path + ".damaged-" + JobQueue.stamp(now)
        // The database first: without one, SQLite removes a log that is left behind, instead of taking it for its own.
        for ending in ["", "-wal", "-shm"] {
            if rename(path + ending, aside + ending) == 0 {
                report.movedAway.append(workspace.relativePath(URL(filePath: aside + ending)))
            } else if errno != ENOENT {
                throw OrchestrationError(system: "move away", path + ending, errno)
            }
        }
        try AtomicFile.syncFolder(InboxEntry.path(workspace.jobs))
        guard rename(fresh.path, path) == 0 else { throw OrchestrationError(system: "rename to", path, errno) }
        try AtomicFile.syncFolder(InboxEntry.path(workspace.jobs))
    }

    // MARK: Rows

    /// - Parameter isComplement: Whether what is in the queue is true as it stands, and only files are added that it does
    ///   not know.
    private func fill(
        _ queue: JobQueue, _ files: RecoveredFiles, isComplement: Bool, _ report: inout Report
    ) throws {
        let paused = isComplement ? nil : QueueHealth(workspace).pauses()
        let schedules = try isComplement ? [] : ScheduleFolder(workspace).entries(configuration.readSchedule)
        report = try queue.write { [report] db in
            try queue.withoutGuards(db) {
                var report = report
                // Nobody is told again of what happened long ago; the next daemon says who is told from then on.
                try db.execute(sql: "DELETE FROM notice_target")
                for job in try isComplement ? [] : queue.unfinishedJobs(db) {
                    try recover(db, queue, job, files, &report) { try queue.settle(db, job, as: $0) }
                }
                // In the order of their ids, which is the order they came in.
                let claims = Dictionary(uniqueKeysWithValues: files.claims.map { ($0.id, $0) })
                for id in Set(claims.keys).union(files.runs.keys).union(files.versions.keys).sorted() {
                    if let claim = claims[id] {
                        try recover(db, queue, claim, files, &report)
                    } else if try !queue.hasJob(db, id) {
                        try recoverUnclaimed(db, queue, id, files, &report)
                    }
                }
                // What stands for another job comes when all jobs are there.
                for claim in files.claims
                where claim.receipt?.verdict == "coalesced" || claim.receipt?.verdict == "duplicate" {
                    try recoverStandIn(db, queue, claim, files, &report)
                }
                for run in files.runs.values.joined() {
                    let published = (files.versions[run.job] ?? []).filter { $0.attemptID == run.attemptID }
                    let output = try run.request.flatMap { try StageCache(workspace.artifacts).lookup($0.cacheKey) }
                    try queue.recover(db, run, published: published, output: output)
                }
                for entry in schedules {
                    try queue.recoverSchedule(
                        db, entry.id, entry.digest, isPaused: paused?.schedules.contains(entry.id) ?? false)
                }
                for name in paused?.queues ?? [] {
                    try db.execute(
                        sql:
                            "INSERT INTO queue (name, paused) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET paused = 1",
                        arguments: [name])
                }
                return report
            }
        }
        if !schedules.isEmpty {
            report.notes.append(
                "\(schedules.count) schedules count from now: what was due before does not fire"
                    + (paused == nil && report.backup == nil ? "; none is paused, whatever was" : ""))
        }
        if report.backup == nil, !isComplement {
            report.notes.append(
                "jobs of schedules and of retry that never began, and the history, were in the queue alone and are lost"
            )
        }
    }

    private func recover(
        _ db: Database, _ queue: JobQueue, _ claim: RecoveredFiles.Claim, _ files: RecoveredFiles,
        _ report: inout Report
    ) throws {
        let filed = claim.claimedBy == nil ? workspace.relativePath(claim.url) : nil
        if claim.isRejected {
            let finding = Finding(Finding.Code(rawValue: "report_lost"), "the report of this rejection is gone")
            let data = claim.report ?? Data(ValidationReport([finding]).json.text().utf8)
            if try queue.recover(db, claim, verdict: .rejected(report: data), filedPath: filed) {
                report.manifests["rejected", default: 0] += 1
            }
            return
        }
        let word = claim.receipt?.verdict ?? "accepted"
        guard word == "accepted",
            try queue.recover(db, claim, verdict: .accepted(job: claim.id), filedPath: filed)
        else { return }
        report.manifests[word, default: 0] += 1
        try recoverJob(db, queue, claim, files, &report)
    }

    /// A manifest that became no job of its own; without the job that stands for it, it becomes one.
    private func recoverStandIn(
        _ db: Database, _ queue: JobQueue, _ claim: RecoveredFiles.Claim, _ files: RecoveredFiles,
        _ report: inout Report
    ) throws {
        let filed = workspace.relativePath(claim.url)
        let other = claim.receipt?.jobs.first?.id ?? ""
        guard try queue.hasJob(db, other) else {
            if try queue.recover(db, claim, verdict: .accepted(job: claim.id), filedPath: filed) {
                report.manifests["accepted", default: 0] += 1
                report.notes.append(
                    "\(claim.url.lastPathComponent) stood behind job \(other), which is lost; it is held itself")
                try recoverJob(db, queue, claim, files, &report)
            }
            return
        }
        let isDuplicate = claim.receipt?.verdict == "duplicate"
        if try queue.recover(
            db, claim, verdict: isDuplicate ? .duplicate(job: other) : .coalesced(job: other), filedPath: filed)
        {
            report.manifests[isDuplicate ? "duplicate" : "coalesced", default: 0] += 1
        }
    }

    private func recoverJob(
        _ db: Database, _ queue: JobQueue, _ claim: RecoveredFiles.Claim, _ files: RecoveredFiles,
        _ report: inout Report
    ) throws {
        var failure: String?
        let submission: Submission
        switch configuration.resolve(claim.bytes, claim.tenant) {
        case .success(let resolved): submission = resolved
        case .failure(let invalid):
            let why = invalid.findings.first?.message ?? "it cannot be read"
            if let kept = try files.manifest(of: claim.id), let again = try self.submission(of: kept.manifest) {
                submission = again
            } else {
                failure = "recovered; its manifest is not valid any more: \(why); mend it and submit it again"
                let stem = claim.originalName.split(separator: ".").first.map(String.init) ?? "recovered"
                submission = Submission(manifest: JobManifest(name: stem, base: .folder("")), stages: [])
            }
        }
        let job = try NewJob(
            id: claim.id, origin: .claim(claim.id), tenant: claim.tenant, ownerID: claim.ownerID,
            manifestDigest: Digest.sha256(claim.bytes), submission)
        if let sweep = submission.sweep {
            try queue.insertSweep(db, job, sweep, ids: claim.receipt?.jobs.map(\.id)) { trial in
                try recover(db, queue, trial.id, files, &report) {
                    try queue.recover(db, trial, createdAt: claim.receivedAt, as: $0)
                }
            }
            // Whether the winner has been trained was in the queue alone, and nothing starts by itself.
            if try queue.settleRecovered(db, sweep: claim.id, at: claim.receivedAt) {
                report.notes.append(
                    "the trials of \(claim.id) have ended; its winner: lorajobs sweep \(claim.id) --take")
            }
            return
        }
        try recover(db, queue, claim.id, files, &report, orFailed: failure) {
            try queue.recover(db, job, createdAt: claim.receivedAt, as: $0)
        }
    }

    /// A job that no manifest in `accepted` speaks of: a schedule's, or one that did another one again.
    private func recoverUnclaimed(
        _ db: Database, _ queue: JobQueue, _ id: String, _ files: RecoveredFiles, _ report: inout Report
    ) throws {
        guard let kept = try files.manifest(of: id) else {
            let what = files.versions[id]?.first.map(\.reference) ?? "Jobs/runs/\(id)"
            report.notes.append("\(what) is of job \(id), of which nothing else is known; the job is not recovered")
            return
        }
        let submission = try submission(of: kept.manifest)
        let job = try NewJob(
            id: id, origin: .schedule("recovered"), tenant: InboxEntry.defaultTenant, ownerID: geteuid(),
            manifestDigest: kept.digest, submission ?? Submission(manifest: kept.manifest, stages: []))
        let failure = "recovered; the pipeline \(kept.manifest.pipeline) it ran is gone or wrong"
        try recover(db, queue, id, files, &report, orFailed: submission == nil ? failure : nil) {
            try queue.recover(db, job, createdAt: ULID(id)?.date ?? Date(timeIntervalSince1970: 0), as: $0)
        }
    }

    /// Judges how a job stands, and counts it.
    private func recover(
        _ db: Database, _ queue: JobQueue, _ id: String, _ files: RecoveredFiles, _ report: inout Report,
        orFailed failure: String? = nil, _ body: (JobQueue.RecoveredState) throws -> Void
    ) throws {
        let (version, end) = (files.versions[id]?.first, files.ends[id])
        if version != nil || end?.state == .succeeded {
            report.jobs[.succeeded, default: 0] += 1
            let runs = files.runs[id] ?? []
            let finished =
                end?.finishedAt ?? version?.created ?? runs.map(\.endedAt).max() ?? Date(timeIntervalSince1970: 0)
            var outcome = JobQueue.RecoveredSuccess(
                adapter: version?.reference ?? end?.adapter, reason: end?.reason, gate: end?.gate,
                startedAt: min(end?.startedAt ?? runs.map(\.beganAt).min() ?? finished, finished), finishedAt: finished)
            outcome.decisions = files.decisions[id] ?? []
            try body(.succeeded(outcome))
        } else if let failure {
            report.jobs[.failed, default: 0] += 1
            try body(.failed(reason: failure))
        } else {
            report.jobs[.held, default: 0] += 1
            try body(.held)
        }
    }

    /// A manifest with the stages of its pipeline as it is now; `nil` when there is none that is sound.
    private func submission(of manifest: JobManifest) throws -> Submission? {
        let kinds = Dictionary(configuration.descriptors.map { ($0.kind, $0) }, uniquingKeysWith: { $1 })
        do {
            guard let pipeline = try PipelineDefinition.load(manifest.pipeline, in: workspace, kinds: kinds) else {
                return nil
            }
            return Submission(
                manifest: manifest,
                stages: pipeline.topologicalOrder.map { stage in
                    StagePlan(
                        name: stage.name, kind: stage.uses, needs: stage.needs, condition: stage.when,
                        timeoutSeconds: stage.timeoutSeconds ?? manifest.run.timeoutSeconds,
                        retries: stage.retries ?? manifest.run.retries)
                })
        } catch is InvalidFile {
            return nil
        }
    }
}
