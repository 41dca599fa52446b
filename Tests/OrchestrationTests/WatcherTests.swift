import Foundation
import Glibc
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// The program that watches, and its absence.
@Suite struct WatcherTests {
    private var executable: URL {
        get throws {
            let folder = try #require(FilePaths.realPath("/proc/self/exe"))
            return URL(filePath: folder).deletingLastPathComponent().appending(path: "lorajobs-inotify")
        }
    }

    /// A daemon that looks at the inbox only when it is told.
    private func waiting(_ test: TestWorkspace) throws -> OrchestrationConfiguration {
        var configuration = test.configuration()
        configuration.watcher = try executable
        configuration.pollInterval = 3600
        configuration.scanInterval = 3600
        return configuration
    }

    private func watcherPID(_ test: TestWorkspace) throws -> Int32? {
        let wanted = InboxEntry.path(test.workspace.inbox)
        for name in try FileManager.default.contentsOfDirectory(atPath: "/proc") {
            guard let pid = Int32(name), let bytes = FileManager.default.contents(atPath: "/proc/\(name)/cmdline")
            else {
                continue
            }
            let words = bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
            if words.first?.hasSuffix("lorajobs-inotify") == true, words.contains(wanted) { return pid }
        }
        return nil
    }

    @Test func eventsBringFilesInAndAPokeWakes() async throws {
        let test = try TestWorkspace()
        try await withDaemon(waiting(test)) { _ async throws -> Void in
            try await eventually("watching") { try DaemonLock.holder(of: test.workspace)?.isWatching == true }
            // Not renamed in, and not named by submit: events, then the settling time.
            try Data("name: plain\n".utf8).write(to: test.workspace.inbox.appending(path: "plain.yaml"))
            try await eventually("taken") { try test.queue().list().map(\.name) == ["plain"] }
            // A new tenant's folder is watched as soon as it is there.
            let id = try test.submit("name: a\nhold: yes\n", tenant: "acme")
            try await eventually("taken") { (try? test.status(id).state) == .held }
            try test.queue().release(id)
            DaemonLock.poke(test.workspace)
            _ = try await test.end(of: id)
        }
        try await eventually("the watcher ends with the daemon") { try watcherPID(test) == nil }
    }

    @Test func aKilledWatcherIsStartedAgain() async throws {
        let test = try TestWorkspace()
        try await withDaemon(waiting(test)) { _ async throws -> Void in
            try await eventually("watching") { try DaemonLock.holder(of: test.workspace)?.isWatching == true }
            let pid = try #require(try watcherPID(test))
            kill(pid, SIGKILL)
            let id = try test.submit("name: a\n")
            _ = try await test.end(of: id)
            try await eventually("watching again") {
                let new = try watcherPID(test)
                return new != nil && new != pid
            }
        }
    }

    @Test func withoutAWatcherTheInboxIsPolled() async throws {
        let test = try TestWorkspace()
        var configuration = test.configuration()
        configuration.watcher = URL(filePath: "/bin/false")
        try await withDaemon(configuration) { _ async throws -> Void in
            try Data("name: plain\n".utf8).write(to: test.workspace.inbox.appending(path: "plain.yaml"))
            try await eventually("taken") { (try? test.queue().list().map(\.name)) == ["plain"] }
            #expect(try DaemonLock.holder(of: test.workspace)?.isWatching == false)
        }
    }

    @Test func aKilledDaemonTakesItsWatcherAlongAndLeavesItsWorker() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "while [ ! -f \"$root/go\" ]; do sleep 0.05; done\n")
        let id = try test.submit("name: tone\n")
        let root = test.workspace.root.path
        let watcher = try executable.path
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [root = root as String, id = id as String, watcher = watcher as String] in
            let test = TestWorkspace(existing: root)
            var configuration = test.configuration()
            configuration.watcher = URL(filePath: watcher)
            try await withDaemon(configuration) { _ async throws -> Void in
                try await eventually("watching") { try DaemonLock.holder(of: test.workspace)?.isWatching == true }
                _ = try await test.runningPID(id, stage: "train")
                kill(getpid(), SIGKILL)
            }
        }
        let pid = try await test.runningPID(id, stage: "train")
        try await eventually("the watcher is gone") { try watcherPID(test) == nil }
        #expect(WorkerProcess.startTime(pid) != nil)
        try Data().write(to: test.root("go"))
    }
}
