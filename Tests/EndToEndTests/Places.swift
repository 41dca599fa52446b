import Foundation
import Synchronization

/// So many workshops are open at a time as the machine has processors, and one more.
///
/// Each trains models and starts a program every few milliseconds. A hundred at once would make one another wait for
/// minutes, and what has a deadline would miss it.
final class Places: Sendable {
    static let shared = Places(ProcessInfo.processInfo.activeProcessorCount + 1)

    private struct State {
        var free: Int
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    private init(_ count: Int) { state = Mutex(State(free: count)) }

    /// Held by one workshop; given back when it goes.
    final class Place: Sendable {
        private let places: Places

        fileprivate init(in places: Places) { self.places = places }

        deinit { places.giveBack() }
    }

    /// Waits until there is a place.
    func take() async -> Place {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                if state.free > 0 {
                    state.free -= 1
                    return true
                }
                state.waiting.append(continuation)
                return false
            }
            if isFree { continuation.resume() }
        }
        return Place(in: self)
    }

    private func giveBack() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.waiting.isEmpty else { return state.waiting.removeFirst() }
            state.free += 1
            return nil
        }
        next?.resume()
    }
}
