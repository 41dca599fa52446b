import Foundation
import Glibc
import PipelineSpec
import Synchronization

/// The process of an attempt: one this process started, or one it found alive.
struct Worker: Sendable {
    private let attempt: LiveAttempt
    private let started: StartedWorker?

    init(_ attempt: LiveAttempt, _ started: StartedWorker?) {
        self.attempt = attempt
        self.started = started
    }

    /// Leader of a session and of its first process group.
    var pid: Int32? { started?.pid ?? attempt.pid }

    /// How it ended; `nil` while it lives, or when it was not this process that started it.
    var exit: ChildExit? { started?.ended }

    /// Whether it still works.
    ///
    /// The lock is tried only when the process cannot be seen, so that the trial never comes between a process and its
    /// own lock.
    func isAlive() throws -> Bool {
        if let started { return started.ended == nil }
        if attempt.bootID == (try WorkerProcess.bootID()), let pid = attempt.pid, let start = attempt.pidStart,
            WorkerProcess.isAlive(pid: pid, startTime: start)
        {
            return true
        }
        return try WorkerProcess.isLockHeld(attempt.directory)
    }
}

/// Stopping a worker: asked first, killed after the grace time.
struct WorkerStop {
    enum Cause { case cancel, timeout }

    let grace: Double
    private(set) var cause: Cause?
    private var killAt = Double.infinity

    init(grace: Double) { self.grace = grace }

    var isRequested: Bool { cause != nil }

    /// Asks once.
    ///
    /// `now` is `CLOCK_BOOTTIME`.
    mutating func request(_ cause: Cause, _ worker: Worker, _ now: Double) {
        guard self.cause == nil else { return }
        self.cause = cause
        killAt = now + grace
        if let pid = worker.pid { WorkerProcess.signalGroup(pid, SIGTERM) }
    }

    /// Kills the whole group when the time is up.
    mutating func proceed(_ worker: Worker, _ now: Double) {
        guard now >= killAt else { return }
        killAt = now + 1
        if let pid = worker.pid { WorkerProcess.signalGroup(pid, SIGKILL) }
    }
}

/// Set once, when the daemon is to end.
final class Shutdown: Sendable {
    private let flag = Mutex(false)
    var isSet: Bool { flag.withLock { $0 } }
    func set() { flag.withLock { $0 = true } }
}
