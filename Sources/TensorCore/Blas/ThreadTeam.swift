import CKernels
import Glibc
import Synchronization

/// The compute threads of this process: the calling thread and `count - 1` helpers that sleep between uses.
///
/// Work is cut into as many fixed parts as there are threads, so that results depend on the thread count and never on
/// timing. BLAS itself is held to one thread; products are parallel because their rows or columns are.
package enum Parallel {
    private static let team = Mutex<ThreadTeam>(ThreadTeam(count: 1))

    /// How many threads compute, this one included. Set once at the start of a process.
    package static var threadCount: Int {
        get { team.withLock { $0.count } }
        set { team.withLock { if $0.count != newValue { $0 = ThreadTeam(count: max(1, newValue)) } } }
    }

    /// Cuts `0..<count` into at most one contiguous range a thread, each a multiple of `grain` but the last, and runs
    /// `body` on all of them at once.
    package static func forEachRange(_ count: Int, grain: Int = 1, _ body: (Range<Int>) -> Void) {
        guard count > 0 else { return }
        let team = team.withLock { $0 }
        let grains = (count + grain - 1) / grain
        let parts = min(team.count, grains)
        guard parts > 1 else { return body(0..<count) }
        team.run(parts) { part in
            let low = grains * part / parts * grain
            let high = min(count, grains * (part + 1) / parts * grain)
            if low < high { body(low..<high) }
        }
    }

    /// Runs `body` for each of `0..<count`, on whichever thread is free. Only for items that share no result.
    package static func forEachItem(_ count: Int, _ body: (Int) -> Void) {
        let team = team.withLock { $0 }
        guard team.count > 1, count > 1 else { return (0..<count).forEach(body) }
        let next = Atomic<Int>(0)
        team.run(min(team.count, count)) { _ in
            while true {
                let item = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard item < count else { return }
                body(item)
            }
        }
    }
}

/// Threads that wait for a closure, run their part of it, and wait again.
///
/// `@unchecked Sendable`: `work` is written by the thread that holds `inUse` before it raises `generation`, and read by
/// helpers only after they have seen the new generation; it is cleared after all have counted down `remaining`.
private final class ThreadTeam: @unchecked Sendable {
    let count: Int
    private let inUse = Mutex<Void>(())
    private let generation = Atomic<Int>(0)
    private let remaining = Atomic<Int>(0)
    private var work: ((Int) -> Void)?
    private var parts = 0
    private let sleeping = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    /// About 20 µs of waiting before a helper goes to sleep: longer than the gaps inside a training step.
    private static let spins = 4000

    init(count: Int) {
        self.count = count
        pthread_mutex_init(sleeping, nil)
        pthread_cond_init(wake, nil)
        for index in 1..<max(count, 1) { start(index) }
    }

    deinit {
        // Only reached when no helper was ever started: each helper keeps its team alive.
        wake.deallocate()
        sleeping.deallocate()
    }

    private func start(_ index: Int) {
        final class Start {
            let team: ThreadTeam
            let index: Int
            init(_ team: ThreadTeam, _ index: Int) { (self.team, self.index) = (team, index) }
        }
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(Start(self, index)).toOpaque()
        let status = pthread_create(
            &thread, nil,
            { pointer in
                guard let pointer else { return nil }
                let start = Unmanaged<Start>.fromOpaque(pointer).takeRetainedValue()
                start.team.help(start.index)
                return nil
            }, argument)
        precondition(status == 0, "pthread_create failed: \(status)")
        pthread_detach(thread)
    }

    private func help(_ index: Int) {
        var seen = 0
        while true {
            var spins = 0
            while generation.load(ordering: .acquiring) == seen {
                spins += 1
                if spins < Self.spins { ck_pause(); continue }
                pthread_mutex_lock(sleeping)
                while generation.load(ordering: .acquiring) == seen { pthread_cond_wait(wake, sleeping) }
                pthread_mutex_unlock(sleeping)
            }
            seen += 1
            if index < parts, let work { work(index) }
            remaining.wrappingSubtract(1, ordering: .releasing)
        }
    }

    /// Runs `body` for `0..<parts` at once and returns when all are done. When the team is busy on another thread's
    /// behalf, the parts run here one after the other, with the same results.
    func run(_ parts: Int, _ body: (Int) -> Void) {
        let ran: Void? = inUse.withLockIfAvailable { _ in
            withoutActuallyEscaping(body) { body in
                work = body
                self.parts = parts
                remaining.store(count - 1, ordering: .relaxed)
                generation.wrappingAdd(1, ordering: .releasing)
                pthread_mutex_lock(sleeping)
                pthread_cond_broadcast(wake)
                pthread_mutex_unlock(sleeping)
                body(0)
                var spins = 0
                while remaining.load(ordering: .acquiring) > 0 {
                    spins += 1
                    // A helper that is late may be waiting for this very processor.
                    if spins < Self.spins { ck_pause() } else { sched_yield() }
                }
                work = nil
            }
        }
        if ran == nil { (0..<parts).forEach(body) }
    }
}
