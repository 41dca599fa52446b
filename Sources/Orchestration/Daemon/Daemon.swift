import Artifacts
import CLinux
import Dispatch
import Foundation
import Glibc
import Logging
import PipelineSpec

/// Watches the inbox, starts jobs as there is room, and stays with their workers. One per workspace.
///
/// ``run()`` returns after ``stop()``; workers go on by themselves and the next daemon finds them.
package actor Daemon {
    private let configuration: OrchestrationConfiguration
    private let shutdown = Shutdown()
    private let wakeup = Wakeup()
    private var drivers: [String: Task<Void, Never>] = [:]
    private var driverWakeups: [String: Wakeup] = [:]
    /// Jobs whose driver failed, and when it may be tried again on `CLOCK_BOOTTIME`.
    private var setback: [String: Double] = [:]
    /// How often the driver of a job has failed without a success in between.
    private var failures: [String: Int] = [:]
    /// What a driver met that ends the daemon.
    private var fatal: (any Error)?
    /// Whether a job may be running that nobody drives: an error can come after a commit, a start before its last driver
    /// has left.
    private var isUnsure = false
    /// The error of the last turn, so that one that stays is not said twice a second.
    private var lastComplaint = (text: "", until: 0.0)

    package init(_ configuration: OrchestrationConfiguration) { self.configuration = configuration }

    /// Asks ``run()`` to return.
    ///
    /// May be called from anywhere, such as the handler of a signal.
    ///
    /// - Parameter draining: Whether the workers stop too, at a checkpoint and within the grace time, and their jobs are
    ///   queued again. Otherwise they go on, and the next daemon finds them.
    package nonisolated func stop(draining: Bool = false) {
        shutdown.set(draining: draining)
        wakeup.signal()
    }

    /// Lets the C library give memory back to the system, in the whole process.
    ///
    /// By itself it keeps what a burst of manifests needed for a moment, in a heap for each thread: after 600 at once 350
    /// MB, of which 4 are in use. With two heaps, and blocks from 128 KiB on outside of them, 9 MB stay.
    package static func keepHeapSmall() { clinux_keep_heap_small() }

    /// Looks at the inbox and the queue now.
    package nonisolated func poke() { wakeup.signal() }

    /// Works until SIGTERM or SIGINT, and leaves the workers running: what the `daemon` verb does.
    ///
    /// - Throws: As ``run()``.
    package nonisolated func runUntilSignalled() async throws {
        let stop: @Sendable () -> Void = { self.stop() }
        let sources = [SIGTERM, SIGINT].map { number in
            // The default action would end the process before the handler runs.
            Glibc.signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler(handler: stop)
            source.resume()
            return source
        }
        defer { for source in sources { source.cancel() } }
        try await run()
    }

    /// Works until ``stop()``.
    ///
    /// - Throws: `busy` when the workspace has a daemon already; `wrongDatabase`; `fenced` when another daemon has
    ///   taken over in spite of the lock.
    package func run() async throws {
        let workspace = configuration.workspace
        try workspace.create()
        try configuration.checkFileSystems()
        let lock = try DaemonLock(workspace)
        let startedAt = Date()
        try lock.write(DaemonLock.Note(pid: getpid(), startedAt: startedAt, isWatching: false))
        let plain = try JobQueue.open(workspace, now: configuration.now)
        let queue = try plain.taken(
            by: getpid(), cores: configuration.cores, memoryBytes: configuration.memoryBytes)
        let swept = try ArtifactStore(workspace.artifacts).sweepTemporary()
        if !swept.isEmpty {
            configuration.logger.info("removed what interrupted writers left", metadata: ["count": "\(swept.count)"])
        }
        try queue.configure(queues: configuration.queues, tenants: configuration.tenants)
        try queue.configure(quiet: configuration.quiet)
        try queue.setNoticeTargets(Set(configuration.notify.keys))
        for error in try GateDecisions.follow(queue, ArtifactStore(workspace.artifacts)) { complain(error) }
        for job in try queue.runningJobs() { drive(job, queue) }
        var endings = try EndingLog(queue, configuration.logger)

        var inbox = Inbox(configuration, queue)
        var scheduler = Scheduler(configuration, queue)
        let watcher = makeWatcher()
        defer { watcher?.stop() }
        // Also for what an earlier daemon had to leave.
        let isTelling = try !configuration.notify.isEmpty || queue.hasNotices()
        let notices = isTelling ? NoticeDispatcher(configuration, queue) : nil
        await notices?.start()
        var lastNote: DaemonLock.Note?
        var isSignalled = true
        var nextScan = 0.0
        while !shutdown.isSet {
            if isSignalled { for wakeup in driverWakeups.values { wakeup.signal() } }
            var isWatching = configuration.hasReliableEvents && watcher?.isReady ?? false
            var wait = isWatching ? configuration.pollInterval * 2 : configuration.pollInterval
            do {
                if let fatal { throw fatal }
                // Before files are moved, which no transaction can refuse.
                try queue.checkFence()
                let now = ProcessInfo.processInfo.systemUptime
                let isScan = isSignalled || !isWatching || now >= nextScan
                if isScan {
                    // First the watcher, then the scan: what comes between the two is seen by one of them.
                    isWatching = try watch(watcher)
                    let settled = try inbox.scan(movedIn: watcher?.takeMovedIn() ?? [])
                    nextScan = now + min(configuration.scanInterval, settled ?? .infinity)
                    if inbox.pausedReason != nil { nextScan = now + configuration.pollInterval }
                }
                wait = min(wait, max(0.01, nextScan - now))
                let note = DaemonLock.Note(
                    pid: getpid(), startedAt: startedAt, intakePaused: inbox.pausedReason, isWatching: isWatching)
                if note != lastNote { try lock.write(note) }
                lastNote = note
                if let due = try scheduler.run(rescan: isScan) { wait = min(wait, max(0.01, due)) }
                try queue.settleSweeps()
                if let due = try queue.promote() { wait = min(wait, max(0.01, due.timeIntervalSinceNow)) }
                for job in try queue.quieten() { driverWakeups[job]?.signal() }
                try endings.tell()
                resumeSetBack(queue)
                if isUnsure {
                    for job in try queue.runningJobs() where setback[job] == nil { drive(job, queue) }
                    isUnsure = false
                }
                while let job = try queue.startNext(
                    cores: configuration.cores, memoryBytes: configuration.memoryBytes,
                    isDiskLow: configuration.isDiskLow)
                {
                    drive(job, queue, isNew: true)
                }
                // A driver does so itself, unless an error came between.
                if isScan {
                    for error in try GateDecisions.follow(queue, ArtifactStore(workspace.artifacts)) { complain(error) }
                }
                notices?.signal()
            } catch  where OrchestrationError.endsDaemon(error) {
                await notices?.stop()
                throw error
            } catch {
                complain(error)
                isUnsure = true
                nextScan = 0
                wait = configuration.pollInterval
            }
            isSignalled = await wakeup.wait(seconds: wait)
        }
        if shutdown.isDraining { for job in setback.keys { drive(job, queue) } }
        // Drivers leave their workers, or stop them; a finalisation that has begun is finished.
        for wakeup in driverWakeups.values { wakeup.signal() }
        for driver in drivers.values { await driver.value }
        await notices?.stop()
        try queue.close()
        withExtendedLifetime(lock) {}
    }

    private func drive(_ job: String, _ queue: JobQueue, isNew: Bool = false) {
        guard drivers[job] == nil else { return }
        let wakeup = Wakeup()
        let driver = JobDriver(
            job: job, queue: queue, configuration: configuration, shutdown: shutdown, wakeup: wakeup)
        driverWakeups[job] = wakeup
        drivers[job] = Task {
            var failure: (any Error)?
            do { try await driver.run(isNew: isNew) } catch { failure = error }
            self.left(job, queue, failure)
        }
    }

    private func left(_ job: String, _ queue: JobQueue, _ failure: (any Error)?) {
        drivers[job] = nil
        driverWakeups[job] = nil
        if let failure, !(failure is DriverLeft) {
            if OrchestrationError.endsDaemon(failure) { fatal = failure }
            configuration.logger.error(
                "a job's driver failed; it is tried again", metadata: ["job": "\(job)", "error": "\(failure)"])
            // Whoever looks at the queue sees why nothing moves; whatever happens next writes its own reason.
            do { try queue.noteTrouble(job, "\(failure)") } catch { complain(error) }
            // Longer and longer, so that trouble that stays does not fill the log.
            let pause = min(5, configuration.retry.firstPause) * min(12, pow(2, Double(failures[job, default: 0])))
            failures[job, default: 0] += 1
            setback[job] = ProcessInfo.processInfo.systemUptime + pause
        } else if !shutdown.isSet {
            // It may have been started again between its driver's last look and now, when it still had one.
            isUnsure = true
        }
        if failure == nil { failures[job] = nil }
        wakeup.signal()
    }

    private func complain(_ error: any Error) {
        let (text, now) = ("\(error)", ProcessInfo.processInfo.systemUptime)
        guard text != lastComplaint.text || now >= lastComplaint.until else { return }
        lastComplaint = (text, now + 600)
        configuration.logger.error("the daemon goes on after an error", metadata: ["error": "\(text)"])
    }

    /// Jobs that still count as running and have no driver, after an error such as a full disk.
    private func resumeSetBack(_ queue: JobQueue) {
        let now = ProcessInfo.processInfo.systemUptime
        for (job, due) in setback where due <= now {
            setback[job] = nil
            drive(job, queue)
        }
    }

    private func makeWatcher() -> InboxWatcher? {
        guard let executable = configuration.watcher, access(executable.path, X_OK) == 0 else {
            configuration.logger.warning("there is no lorajobs-inotify; the inbox is polled")
            return nil
        }
        return InboxWatcher(executable: executable, wakeup: wakeup, logger: configuration.logger)
    }

    /// Watches the folders there are now; whether events arrive.
    private func watch(_ watcher: InboxWatcher?) throws -> Bool {
        guard let watcher else { return false }
        let schedules = InboxEntry.path(configuration.workspace.schedules)
        watcher.watch(
            try InboxEntry.folders(configuration.workspace).map(\.path)
                + (InboxEntry.isFolder(schedules) ? [schedules] : []))
        return watcher.isReady && configuration.hasReliableEvents
    }
}
