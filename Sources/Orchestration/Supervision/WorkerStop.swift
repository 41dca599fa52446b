import Synchronization

/// Why a worker is to stop.
enum StopCause: String, Sendable {
    /// Its daemon drains, and gives back what it has started.
    case drain
    /// Its cores are wanted for something else.
    case yield
    /// A person pauses the job.
    case pause
    /// The attempt has reached its time limit.
    case timeout
    /// A person ends the job.
    case cancel
}

/// Stopping a worker: asked first, killed after the grace time.
struct WorkerStop {
    let grace: Double
    /// The first cause; only a cancellation replaces another.
    private(set) var cause: StopCause?
    private var killAt = Double.infinity

    init(grace: Double) { self.grace = grace }

    var isRequested: Bool { cause != nil }

    /// Asks once, and kills when the time is up.
    ///
    /// - Parameters:
    ///   - atOnce: without asking.
    ///   - now: on `CLOCK_BOOTTIME`, which neither a step of the clock nor a suspended machine can fool.
    mutating func proceed(_ wanted: StopCause?, atOnce: Bool = false, _ worker: any LaunchedWorker, _ now: Double) {
        if let wanted {
            if cause == nil {
                killAt = now + grace
                if !atOnce { worker.stop() }
            }
            if cause == nil || wanted == .cancel { cause = wanted }
            if atOnce { killAt = min(killAt, now) }
        }
        guard now >= killAt else { return }
        killAt = now + 1
        worker.kill()
    }
}

/// Set when the daemon is to end.
final class Shutdown: Sendable {
    private enum Mode {
        case running, leaving, draining
    }

    private let mode = Mutex(Mode.running)

    /// Whether nothing new begins.
    var isSet: Bool { mode.withLock { $0 != .running } }
    /// Whether workers are stopped too, and their jobs queued again.
    var isDraining: Bool { mode.withLock { $0 == .draining } }

    func set(draining: Bool = false) { mode.withLock { $0 = draining ? .draining : .leaving } }
}
