import CLinux
import Foundation
import Glibc
import PipelineSpec
import Synchronization

/// A stage process on this machine: a child of this process, or one that an earlier daemon has left.
final class LocalWorker: LaunchedWorker {
    let identity: WorkerIdentity
    private let directory: RunDirectory
    /// Whether its exit status comes to this process.
    private let isChild: Bool
    private let state: Mutex<State>

    private struct State {
        var witness: MemoryWitness
        /// As it was last seen alive.
        var usage: WorkerProcess.Usage?
        var end: WorkerEnd?
    }

    init(_ identity: WorkerIdentity, _ directory: RunDirectory, _ witness: MemoryWitness, isChild: Bool) {
        self.identity = identity
        self.directory = directory
        self.isChild = isChild
        state = Mutex(State(witness: witness))
        look()
    }

    var end: WorkerEnd? { state.withLock { $0.end } }

    func isAlive() async throws -> Bool {
        if isChild {
            if state.withLock({ $0.end != nil }) { return false }
            look()
            return true
        }
        if let pid = identity.pid, let start = identity.startTime {
            if WorkerProcess.isAlive(pid: pid, startTime: start) {
                look()
                return true
            }
        }
        if try WorkerProcess.isLockHeld(directory) { return true }
        state.withLock { state in
            // Its exit status went to the process that adopted it in the end; what it used was seen.
            state.end = WorkerEnd(
                exit: nil, peakRSSBytes: state.usage?.peakRSSBytes, cpuSeconds: state.usage?.cpuSeconds,
                memoryLimit: state.witness.limit)
        }
        return false
    }

    func stop() { signal(SIGTERM) }

    func kill() { signal(SIGKILL) }

    private func signal(_ number: Int32) {
        if let pid = identity.pid { WorkerProcess.signalGroup(pid, number) }
    }

    /// Notes what it uses and under which limit.
    private func look() {
        guard let pid = identity.pid else { return }
        state.withLock { state in
            state.witness.look(at: pid)
            state.usage = WorkerProcess.usage(pid) ?? state.usage
        }
    }

    /// Waits for the end of a child, on a thread of its own.
    func reap(wakeup: Wakeup) {
        guard let pid = identity.pid else { return }
        Thread {
            _ = clinux_await_end(pid)
            // Between its end and the fetching of its status, /proc still says where it belonged.
            let evidence = self.state.withLock { state in
                state.witness.look(at: pid, isLast: true)
                return state.witness.evidence
            }
            var (code, number): (Int32, Int32) = (-1, 0)
            var peak: Int64 = 0
            var seconds = 0.0
            let isKnown = clinux_reap(pid, &code, &number, &peak, &seconds) == 0
            self.state.withLock { state in
                let exit: ChildExit? = !isKnown ? nil : number != 0 ? .signal(number) : .code(code)
                state.end = WorkerEnd(
                    exit: exit, peakRSSBytes: isKnown ? Self.peak(counted: peak, seen: state.usage?.peakRSSBytes) : nil,
                    cpuSeconds: isKnown ? seconds : nil, memoryEvidence: number == SIGKILL ? evidence : nil,
                    memoryLimit: state.witness.limit)
            }
            wakeup.signal()
        }.start()
    }

    /// The kernel's count begins with the size of the process that started this one, so a small one says nothing.
    private static func peak(counted: Int64, seen: Int64?) -> Int64? {
        let own = WorkerProcess.usage(getpid())?.peakRSSBytes ?? 0
        return counted > own ? counted : seen
    }
}
