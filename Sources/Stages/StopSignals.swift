import Glibc
import Synchronization

/// SIGTERM and SIGINT in a stage process.
///
/// The first one asks. A section that keeps checkpoints ends by itself, at its next step; anywhere else there is nothing
/// to keep, so the process says that it was stopped, and ends, however long what it does would have taken. The second
/// one ends it at once.
final class StopSignals: Sendable {
    static let shared = StopSignals()

    private struct Section {
        /// Whether it looks at ``isRequested`` by itself.
        var endsByItself = false
        var end: (@Sendable () -> Never)?
    }

    private let count = Atomic<Int>(0)
    private let section = Mutex(Section())
    /// Raised by the handler, for the thread that ends the process.
    private let arrival: Arrival

    private init() {
        arrival = Arrival()
        // Not the thread that computes: it may be in the middle of anything.
        var thread = pthread_t()
        _ = pthread_create(
            &thread, nil,
            { _ in
                StopSignals.shared.waitAndEnd()
                return nil
            }, nil)
        pthread_detach(thread)
    }

    /// Whether someone asked this process to stop.
    var isRequested: Bool { count.load(ordering: .relaxed) > 0 }

    /// Lets the signals arrive here instead of ending the process.
    ///
    /// - Parameter end: Writes what is to be said and ends the process.
    func install(end: @escaping @Sendable () -> Never) {
        section.withLock { $0 = Section(endsByItself: false, end: end) }
        for number in [SIGTERM, SIGINT] {
            // Whatever it uses was made before.
            signal(number) { _ in StopSignals.shared.arrive() }
        }
    }

    /// Runs what looks at ``isRequested`` by itself.
    func watched<T>(_ body: () throws -> T) throws -> T {
        section.withLock { $0.endsByItself = true }
        defer { section.withLock { $0.endsByItself = false } }
        return try body()
    }

    /// From here on the process ends by itself, with what it has.
    func finish() { section.withLock { $0.endsByItself = true } }

    /// Called by the handler: nothing but what a handler may do.
    private func arrive() {
        if count.add(1, ordering: .relaxed).oldValue > 0 { _exit(143) }
        arrival.post()
    }

    private func waitAndEnd() {
        while true {
            arrival.wait()
            section.withLock { section in
                if !section.endsByItself, let end = section.end { end() }
            }
        }
    }
}

/// A semaphore that a signal handler may raise.
///
/// `@unchecked Sendable`: the pointer is constant, and the semaphore is made to be shared.
private final class Arrival: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(semaphore, 0, 0) }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func post() { sem_post(semaphore) }

    func wait() {
        while sem_wait(semaphore) != 0 && errno == EINTR {}
    }
}
