import Foundation
import Logging
import Subprocess
import Synchronization
import SystemPackage

/// Runs `lorajobs-inotify` over the inbox, its tenants' folders, and what else a person puts files into.
///
/// What it says are hints: it makes a look at the folders come sooner, never unnecessary. It is drained by a task of
/// its own, never behind a scan.
final class InboxWatcher: Sendable {
    private struct State {
        var isReady = false
        var movedIn: Set<String> = []
        var folders: [String] = []
        var task: Task<Void, Never>?
    }

    private let state = Mutex(State())
    private let executable: String
    private let wakeup: Wakeup
    private let logger: Logger

    init(executable: URL, wakeup: Wakeup, logger: Logger) {
        self.executable = executable.path
        self.wakeup = wakeup
        self.logger = logger
    }

    /// Whether events arrive.
    ///
    /// While they do not, the inbox must be looked at often.
    var isReady: Bool { state.withLock { $0.isReady } }

    /// Paths of files renamed into a watched folder since the last call: complete as they are.
    func takeMovedIn() -> Set<String> {
        state.withLock { state in
            defer { state.movedIn = [] }
            return state.movedIn
        }
    }

    /// Watches these folders from now on.
    func watch(_ folders: [String]) {
        let old = state.withLock { state -> Task<Void, Never>? in
            guard state.folders != folders else { return nil }
            state.folders = folders
            state.isReady = false
            let old = state.task
            state.task = Task.detached { await self.keepRunning(folders) }
            return old
        }
        old?.cancel()
    }

    func stop() {
        state.withLock { state in
            state.task?.cancel()
            state.task = nil
            state.folders = []
            state.isReady = false
        }
    }

    /// Starts the program again whenever it ends, at longer and longer intervals as long as it does not get ready.
    private func keepRunning(_ folders: [String]) async {
        var pause = 0.5
        while !Task.isCancelled {
            do {
                let wasReady = try await runOnce(folders)
                if wasReady { pause = 0.5 }
            } catch {
                if Task.isCancelled { return }
                logger.debug("no file events", metadata: ["error": "\(error)"])
            }
            set(ready: false, for: folders)
            do { try await Task.sleep(for: .seconds(pause)) } catch { return }
            pause = min(30, pause * 2)
        }
    }

    /// Runs the program to its end.
    ///
    /// True when it had got ready.
    private func runOnce(_ folders: [String]) async throws -> Bool {
        var platform = PlatformOptions()
        platform.teardownSequence = [.gracefulShutDown(allowedDurationToNextStep: .seconds(1))]
        let result = try await Subprocess.run(
            .path(FilePath(executable)), arguments: Arguments(folders), platformOptions: platform,
            input: .inputWriter, output: .sequence, error: .discarded
        ) { execution in
            var wasReady = false
            // As long as this closure runs, the program's standard input stays open, and the program with it.
            for try await line in execution.standardOutput.strings() {
                let text = line.trimmingCharacters(in: .whitespacesAndNewlines)
                if text.isEmpty { continue }
                if text == "ready" {
                    wasReady = true
                    self.set(ready: true, for: folders)
                    continue
                }
                guard let event = WatchEvent(text), !event.isEndOfWatching else { break }
                self.note(event)
            }
            return wasReady
        }
        return result.closureResult
    }

    private func set(ready: Bool, for folders: [String]) {
        state.withLock { if $0.folders == folders { $0.isReady = ready } }
        wakeup.signal()
    }

    private func note(_ event: WatchEvent) {
        if event.isMovedIn { state.withLock { _ = $0.movedIn.insert(event.path) } }
        wakeup.signal()
    }
}

/// One line of `lorajobs-inotify`.
struct WatchEvent: Equatable {
    var mask: UInt32
    var path: String

    /// `nil` for a line that is none.
    init?(_ line: String) {
        let parts = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
        guard let digits = parts.first, digits.utf8.count == 8, let mask = UInt32(digits, radix: 16) else { return nil }
        self.mask = mask
        let encoded = parts.count > 1 ? String(parts[1]) : ""
        guard let path = encoded.removingPercentEncoding else { return nil }
        self.path = path
    }

    /// `IN_MOVED_TO`: the file is whole, and was put there in one step.
    var isMovedIn: Bool { mask & 0x80 != 0 }

    /// Events were lost, or no more will come: `IN_Q_OVERFLOW`, `IN_IGNORED`, `IN_UNMOUNT`, `IN_DELETE_SELF`,
    /// `IN_MOVE_SELF`.
    ///
    /// The watcher is started again and everything is looked at.
    var isEndOfWatching: Bool { mask & (0x4000 | 0x8000 | 0x2000 | 0x400 | 0x800) != 0 }
}
