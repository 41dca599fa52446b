import PipelineSpec

/// A way to start stage processes: on this machine, or wherever a cluster's scheduler puts them.
///
/// A launcher is one file and one entry in ``LauncherRegistry``. All it shares with the process is the run directory;
/// the files in it say how an attempt ended, and what a launcher says of the process only decides when to look. Whether
/// it keeps the promises below is what `LauncherConformanceTests` asks of each.
protocol Launcher: Sendable {
    /// The word its attempts are recorded under, so that a later daemon asks the right one.
    var name: String { get }

    /// Starts the process of an attempt.
    ///
    /// The process outlives this one. It is in a session of its own and writes to `log.txt`. When this throws, none was
    /// started, or none that will begin: a launcher that cannot be sure must find out before it throws.
    func start(_ request: LaunchRequest) async throws -> any LaunchedWorker

    /// Finds the process of an attempt that an earlier daemon started, or was about to.
    ///
    /// - Returns: `nil` when it is certain that nothing of the attempt lives and that nothing of it will begin.
    func adopt(_ record: LaunchRecord) async throws -> (any LaunchedWorker)?
}

/// A process that a launcher has started or found.
protocol LaunchedWorker: Sendable {
    /// What a later daemon needs to find it again.
    var identity: WorkerIdentity { get }

    /// Whether it works, or may: a launcher that cannot tell at the moment says yes.
    func isAlive() async throws -> Bool

    /// Asks it to stop at its next checkpoint.
    ///
    /// That it is gone already is no error.
    func stop()

    /// Ends it at once, and every process it has started.
    func kill()

    /// How it ended; `nil` while it lives, and when nobody saw.
    var end: WorkerEnd? { get }
}

/// What there is to start.
struct LaunchRequest: Sendable {
    /// Unique for ever: the name under which a cluster's scheduler knows the process.
    var attemptID: String
    /// Holds `request.json`.
    var directory: RunDirectory
    var threads: Int
    /// What the job is estimated to need; `nil` when that is not known.
    var memoryBytes: Int64?
    /// When the daemon will stop it.
    var timeoutSeconds: Double
    /// Signalled when the process has ended, where that can be noticed.
    var wakeup: Wakeup
}

/// What is on record of an attempt whose process a daemon looks for.
struct LaunchRecord: Sendable {
    var attemptID: String
    var directory: RunDirectory
    var identity: WorkerIdentity
    /// The run of the kernel under which it was started.
    var bootID: String
    var wakeup: Wakeup
}

/// How to find a process again, as the database keeps it.
struct WorkerIdentity: Sendable, Equatable {
    /// In the words of the launcher: the name or id of a cluster's job.
    var externalID: String?
    /// On this machine: the leader of its session.
    var pid: Int32?
    /// When that started, in the kernel's ticks since boot: process ids are used again.
    var startTime: Int64?
}

/// How a process ended.
enum ChildExit: Sendable, Equatable {
    case code(Int32)
    case signal(Int32)
    /// Taken away, not by itself and not by its daemon: its node failed, or the cluster wanted the room.
    case withdrawn(String)
}

/// What is known of a process that has ended, beside its files.
struct WorkerEnd: Sendable, Equatable {
    /// `nil` when nobody saw it.
    var exit: ChildExit?
    /// The largest resident set, in bytes.
    var peakRSSBytes: Int64?
    /// Processor time of all its threads.
    var cpuSeconds: Double?
    /// Why the launcher thinks that memory ran out; `nil` when it does not.
    var memoryEvidence: String?
    /// What memory it could have had at most, in bytes.
    var memoryLimit: Int64?
}

/// Every launcher there is.
enum LauncherRegistry {
    /// One line a launcher.
    ///
    /// - Parameter command: what runs a stage, without the run directory.
    static func launchers(_ command: [String]) -> [any Launcher] {
        [
            LocalLauncher(command: command)
        ]
    }
}
