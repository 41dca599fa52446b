import Foundation
import Synchronization

/// Wakes one waiting task: a level, not a count.
///
/// A signal that comes while nobody waits is kept for the next wait.
final class Wakeup: Sendable {
    private struct State {
        var isSignalled = false
        var waiter: CheckedContinuation<Bool, Never>?
        var turn = 0
    }
    private let state = Mutex(State())

    func signal() {
        let waiter = state.withLock { state in
            state.isSignalled = state.waiter == nil
            let waiter = state.waiter
            state.waiter = nil
            return waiter
        }
        waiter?.resume(returning: true)
    }

    /// Returns at the next signal, or after so many seconds; whether it was a signal.
    @discardableResult func wait(seconds: Double) async -> Bool {
        let turn = state.withLock { state in
            state.turn += 1
            return state.turn
        }
        let timer = Task {
            try await Task.sleep(for: .seconds(max(0, seconds)))
            self.expire(turn)
        }
        let wasSignalled = await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
            let isReady = state.withLock { state in
                if state.isSignalled {
                    state.isSignalled = false
                    return true
                }
                state.waiter = continuation
                return false
            }
            if isReady { continuation.resume(returning: true) }
        }
        timer.cancel()
        return wasSignalled
    }

    private func expire(_ turn: Int) {
        let waiter = state.withLock { state -> CheckedContinuation<Bool, Never>? in
            guard state.turn == turn else { return nil }
            // The timer may fire before the waiter has registered.
            state.isSignalled = state.waiter == nil
            let waiter = state.waiter
            state.waiter = nil
            return waiter
        }
        waiter?.resume(returning: false)
    }
}
