import Artifacts
package import Foundation
import Glibc
import PipelineSpec

/// `lorajobs run`: one job, driven to its end here and now, without a daemon.
///
/// It holds the daemon's lock meanwhile.
package struct ForegroundRun: Sendable {
    private let configuration: OrchestrationConfiguration
    private let shutdown = Shutdown()
    private let wakeup = Wakeup()

    package init(_ configuration: OrchestrationConfiguration) { self.configuration = configuration }

    /// Asks ``run(_:name:tenant:started:)`` to return early; the worker goes on, and the next daemon, or the next run,
    /// finds it.
    package func stop() {
        shutdown.set()
        wakeup.signal()
    }

    /// Takes a manifest as if it had been dropped, and drives its job until it has ended.
    ///
    /// - Parameters:
    ///   - manifest: The bytes of the file.
    ///   - name: The file's name, for the record.
    ///   - started: Called once with the job's id, which others can use to follow it.
    /// - Returns: The job as it ended, or as it was left by ``stop()``.
    /// - Throws: `busy` when a daemon runs: submit and follow then. ``InvalidFile`` for a bad manifest.
    ///   ``RefusedSubmission`` or `wrongState` when the job cannot start now.
    package func run(
        _ manifest: Data, name: String, tenant: String = InboxEntry.defaultTenant,
        started: @Sendable (String) -> Void = { _ in }
    ) async throws -> JobStatus {
        let submission = try configuration.resolve(manifest, tenant).get()
        if let sweep = submission.sweep {
            throw OrchestrationError(
                .invalidInput,
                "its matrix makes \(sweep.trials.count) jobs, which a daemon runs: lorajobs submit; then lorajobs sweep "
                    + submission.manifest.name)
        }
        let workspace = configuration.workspace
        try workspace.create()
        try configuration.checkFileSystems()
        let lock = try DaemonLock(workspace)
        try lock.write(DaemonLock.Note(pid: getpid(), startedAt: Date(), isWatching: false))
        defer { withExtendedLifetime(lock) {} }
        let queue = try JobQueue.open(workspace).taken(
            by: getpid(), cores: configuration.cores, memoryBytes: configuration.memoryBytes)
        try queue.setNoticeTargets(Set(configuration.notify.keys))
        _ = try GateDecisions.follow(queue, ArtifactStore(workspace.artifacts))
        let verdict = try Inbox.record(manifest, name: name, tenant: tenant, submission, configuration, queue)
        guard let job = verdict.job else {
            throw OrchestrationError(.invalidInput, "the manifest was not accepted")
        }
        started(job)
        try await drive(job, queue)
        // Once each; what does not get through waits for a daemon.
        if !configuration.notify.isEmpty { await NoticeDispatcher(configuration, queue).finish(within: 30) }
        var filter = JobFilter()
        filter.ids = [job]
        guard let status = try queue.list(filter).first else {
            throw OrchestrationError(.notFound, "there is no job \(job)")
        }
        try queue.close()
        return status
    }

    private func drive(_ job: String, _ queue: JobQueue) async throws {
        let driver = JobDriver(
            job: job, queue: queue, configuration: configuration, shutdown: shutdown, wakeup: wakeup)
        while !shutdown.isSet {
            let state = try queue.drivenJob(job).state
            if state.isFinal { return }
            switch state {
            case .running: try await driver.run()
            case .queued: try queue.start(job)
            default:
                // A retry has its time; a hold or a dependency needs another process to end it.
                let due = try queue.promote()
                guard state == .retryWait || due != nil else {
                    throw OrchestrationError(
                        .wrongState, "job \(job) cannot run now: it is \(state.rawValue); it stays in the queue")
                }
                await wakeup.wait(seconds: min(1, max(0.01, due?.timeIntervalSinceNow ?? 0.01)))
            }
        }
    }
}
