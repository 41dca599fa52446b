import CLinux
import Foundation
import Glibc
import Logging
import PipelineSpec

extension JobDriver {
    /// Finds the process of an attempt that a daemon that is no more has begun.
    ///
    /// - Returns: `nil` when nothing of it lives.
    func adopt(_ attempt: LiveAttempt, _ stage: String) async throws -> (any LaunchedWorker)? {
        guard let launcher = configuration.launchers.first(where: { $0.name == attempt.launcher }) else {
            throw OrchestrationError(
                .wrongState, "attempt \(attempt.id) was started by \(attempt.launcher), which this program has not")
        }
        let worker = try await launcher.adopt(
            LaunchRecord(
                attemptID: attempt.id, directory: attempt.directory, identity: attempt.identity,
                bootID: attempt.bootID, wakeup: wakeup))
        guard let worker else { return nil }
        if worker.identity != attempt.identity, worker.identity != WorkerIdentity() {
            try queue.attemptRuns(attempt, worker.identity)
        }
        log.adopted(stage, attempt: attempt.number, pid: worker.identity.pid)
        return worker
    }

    /// Stays with a process until it ends, stops it where it must be stopped, and settles the attempt.
    ///
    /// - Parameter worker: `nil` when it has ended unseen.
    func watch(_ worker: (any LaunchedWorker)?, _ attempt: LiveAttempt, _ job: DrivenJob) async throws {
        let stage = try self.stage(of: attempt, in: job)
        // What kept somebody from going on with it is over.
        if job.reason != nil { try queue.noteTrouble(job.id, "") }
        let isSameBoot = attempt.bootID == (try WorkerProcess.bootID())
        // The clock begins anew with the machine; a process that outlived that is not charged for a time nobody knows.
        let begin = isSameBoot ? attempt.bootSeconds : clinux_boottime()
        var stop = WorkerStop(grace: configuration.grace)
        while let worker, try await worker.isAlive() {
            if shutdown.isSet && !shutdown.isDraining { return }
            let now = clinux_boottime()
            let requests = try queue.stopRequests(job.id)
            let isOverdue = now - begin > stage.plan.timeoutSeconds
            let cause =
                requests.cause ?? (isOverdue ? .timeout : shutdown.isDraining ? .drain : nil)
            stop.proceed(cause, atOnce: requests.isAtOnce, worker, now)
            await wakeup.wait(seconds: stop.isRequested ? 0.1 : configuration.pollInterval * 2)
        }
        // What it has started may have outlived it.
        if stop.isRequested { worker?.kill() }
        try Failpoint.attemptEnded.hit()
        let end = worker?.end
        let judgement = AttemptJudgement(
            attempt: attempt, stage: stage.plan, result: try result(of: attempt), end: end, stop: stop.cause,
            isSameBoot: isSameBoot)
        let outcome: AttemptOutcome
        switch judgement.verdict {
        case .done(let result): outcome = try await finalise(result, attempt, stage)
        case .ended(let judged): outcome = judged
        }
        if case .interrupted = outcome { try abandon(attempt.directory) }
        try queue.finishAttempt(
            attempt, of: job.id, outcome, exitCode: judgement.exitCode, signal: judgement.signal,
            signature: judgement.signature, usage: end,
            worked: worked(attempt, from: isSameBoot ? begin : nil, wasSeen: worker != nil), policy: configuration.retry
        )
        try Failpoint.attemptSettled.hit()
        log.attemptEnded(
            stage.plan.name, attempt: attempt.number, outcome, seconds: clinux_boottime() - begin,
            signal: judgement.signal)
    }

    /// How long a process that has ended has run, in seconds: by the clock of time limits where its end was seen, else until
    /// the last line that it wrote; 0 when nobody knows.
    private func worked(_ attempt: LiveAttempt, from begin: Double?, wasSeen: Bool) -> Double {
        if wasSeen { return begin.map { max(0, clinux_boottime() - $0) } ?? 0 }
        func changed(_ file: URL) -> Date? {
            (try? FileManager.default.attributesOfItem(atPath: file.path))?[.modificationDate] as? Date
        }
        guard let first = changed(attempt.directory.request), let last = changed(attempt.directory.progress) else {
            return 0
        }
        let seconds = max(0, last.timeIntervalSince(first))
        return begin.map { min(seconds, max(0, clinux_boottime() - $0)) } ?? seconds
    }

    func stage(of attempt: LiveAttempt, in job: DrivenJob) throws -> StageRow {
        guard let stage = job.stages.first(where: { $0.id == attempt.stage }) else {
            throw OrchestrationError(.notFound, "attempt \(attempt.id) belongs to no stage of job \(job.id)")
        }
        return stage
    }

    /// What the process wrote as its last act; `nil` when it wrote nothing, or nothing of this attempt's.
    private func result(of attempt: LiveAttempt) throws -> StageResult? {
        do {
            return try attempt.directory.readResult().flatMap { $0.attemptID == attempt.id ? $0 : nil }
        } catch let error as SpecError where error.code == .format {
            configuration.logger.warning("unreadable result", metadata: ["job": "\(self.job)", "error": "\(error)"])
            return nil
        }
    }

    /// Makes sure that no process that was started for an attempt, and has not yet begun, ever begins.
    func abandon(_ directory: RunDirectory) throws {
        guard unlink(directory.request.path) == 0 || errno == ENOENT else {
            throw OrchestrationError(system: "remove", directory.request.path, errno)
        }
    }
}
