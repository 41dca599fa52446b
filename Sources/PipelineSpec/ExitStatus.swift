/// The exit codes of `lorajobs`, after sysexits(3). The README lists them.
package enum ExitStatus: Int32, Sendable {
    case ok = 0
    /// The awaited job failed.
    case jobFailed = 1
    /// The awaited job was cancelled.
    case jobCancelled = 2
    case usage = 64
    /// A manifest, a pipeline or data is wrong.
    case invalidInput = 65
    /// No such file, job, version or alias.
    case notFound = 66
    /// The daemon is needed and not running.
    case daemonDown = 69
    case cannotWrite = 73
    case ioError = 74
    /// Locked by another process; try again.
    case busy = 75
    /// The workspace's settings are wrong.
    case badConfiguration = 78
    /// `wait` ran out of time.
    case timedOut = 124
}

/// How a stage process ends, as its exit code. Any other code, or a signal, is a crash.
package enum WorkerExit: Int32, Sendable {
    /// Done; `result.json` says what was made.
    case done = 0
    /// The input is wrong; another try would fail the same way.
    case invalidInput = 65
    /// Something outside the job failed; try again.
    case tryAgain = 75
    /// Stopped on request, with a checkpoint to go on from.
    case stopped = 143
}
