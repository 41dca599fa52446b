import Foundation
import Glibc
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// What every launcher promises. To test another one, add a case and what makes it.
enum LauncherCase: String, CaseIterable {
    case local

    func make(_ command: [String]) -> any Launcher {
        switch self {
        case .local: LocalLauncher(command: command)
        }
    }
}

/// A run directory and a script that works in it.
private final class LaunchSite: Sendable {
    private let folder: TemporaryFolder?
    let root: URL
    let directory: RunDirectory
    let wakeup = Wakeup()

    init(_ shell: String) throws {
        let folder = try TemporaryFolder()
        self.folder = folder
        root = folder.url
        directory = RunDirectory(root.appending(path: "run", directoryHint: .isDirectory))
        try FileManager.default.createDirectory(at: directory.out, withIntermediateDirectories: true)
        // Like a stage process: the lock, the request, the work.
        let script = """
            #!/bin/bash
            cd "$1" || exit 70
            exec 9>worker.lock
            flock -n 9 || exit 75
            [ -f request.json ] || exit 65
            \(shell)
            """
        try Data(script.utf8).write(to: root.appending(path: "work.sh"))
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o755], ofItemAtPath: root.appending(path: "work.sh").path)
        try Data("{}".utf8).write(to: directory.request)
    }

    /// The one another process has made.
    init(existing path: String) {
        folder = nil
        root = URL(filePath: path, directoryHint: .isDirectory)
        directory = RunDirectory(root.appending(path: "run", directoryHint: .isDirectory))
    }

    func launcher(_ launcher: LauncherCase) -> any Launcher {
        launcher.make([root.appending(path: "work.sh").path])
    }

    func start(_ launcher: LauncherCase) async throws -> any LaunchedWorker {
        let request = LaunchRequest(
            attemptID: "01TEST", directory: directory, threads: 1, memoryBytes: nil, timeoutSeconds: 60, wakeup: wakeup)
        for _ in 0..<50 {
            do {
                return try await self.launcher(launcher).start(request)
            } catch where "\(error)".contains("Text file busy") {
                // Another test has begun a process while the script was written here, and that one holds it open until it
                // has become another program.
                try await Task.sleep(for: .milliseconds(20))
            }
        }
        return try await self.launcher(launcher).start(request)
    }

    func adopt(
        _ launcher: LauncherCase, _ identity: WorkerIdentity, bootID: String? = nil
    ) async throws -> (any LaunchedWorker)? {
        try await self.launcher(launcher).adopt(
            LaunchRecord(
                attemptID: "01TEST", directory: directory, identity: identity,
                bootID: try bootID ?? WorkerProcess.bootID(), wakeup: wakeup))
    }

    func text(_ name: String) -> String {
        ((try? String(contentsOf: directory.url.appending(path: name), encoding: .utf8)) ?? "")
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }

    func written(_ name: String) async throws -> String {
        try await eventually("\(name) is written") { !text(name).isEmpty }
        return text(name)
    }

    func isGone(_ worker: any LaunchedWorker) async throws {
        for _ in 0..<3000 {
            if try await !worker.isAlive() { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        Issue.record("the process did not end")
    }
}

private let forever = "echo $$ > pid\nwhile true; do sleep 0.05; done\n"

@Suite struct LauncherConformanceTests {
    @Test(arguments: LauncherCase.allCases)
    func aProcessWorksInItsDirectoryAndItsEndIsSeen(_ launcher: LauncherCase) async throws {
        let site = try LaunchSite("echo to-output; echo to-error >&2; pwd > where; exit 7\n")
        let worker = try await site.start(launcher)
        #expect(worker.identity != WorkerIdentity())
        try await site.isGone(worker)
        #expect(worker.end?.exit == .code(7))
        #expect(worker.end?.cpuSeconds != nil)
        #expect(site.text("log.txt") == "to-output\nto-error")
        let where_ = URL(filePath: site.text("where")).resolvingSymlinksInPath().path
        #expect(where_ == site.directory.url.resolvingSymlinksInPath().path)
        #expect(try await site.adopt(launcher, worker.identity) == nil)
    }

    @Test(arguments: LauncherCase.allCases)
    func itHasASessionOfItsOwnAndNoFilesOfOurs(_ launcher: LauncherCase) async throws {
        let pipe = Pipe()
        let site = try LaunchSite("ps -o sid= -p $$ > sid; ls -l /proc/$$/fd > files; trap > traps; \(forever)")
        let worker = try await site.start(launcher)
        let pid = try await site.written("pid")
        #expect(site.text("sid").trimmingCharacters(in: .whitespaces) == pid)
        #expect(!site.text("files").contains("pipe:"), "\(site.text("files"))")
        #expect(site.text("files").contains("/dev/null"))
        worker.kill()
        try await site.isGone(worker)
        #expect(worker.end?.exit == .signal(SIGKILL))
        withExtendedLifetime(pipe) {}
    }

    @Test(arguments: LauncherCase.allCases)
    func stoppingIsAskedForAndKillingTakesItsChildrenToo(_ launcher: LauncherCase) async throws {
        let site = try LaunchSite(
            """
            trap 'echo asked > asked' TERM
            (trap '' TERM; echo $BASHPID > child; while true; do sleep 0.05; done) &
            \(forever)
            """)
        let worker = try await site.start(launcher)
        _ = try await site.written("pid")
        let child = try #require(Int32(try await site.written("child")))
        worker.stop()
        _ = try await site.written("asked")
        #expect(try await worker.isAlive())
        worker.kill()
        try await site.isGone(worker)
        try await eventually("the child is gone") { WorkerProcess.startTime(child) == nil }
        // Once it is gone, all of this is nothing.
        worker.stop()
        worker.kill()
    }

    @Test(arguments: LauncherCase.allCases)
    func itOutlivesWhoStartedItAndIsAdopted(_ launcher: LauncherCase) async throws {
        let site = try LaunchSite("trap 'echo asked > asked; exit 143' TERM\n\(forever)")
        let (root, name) = (site.root.path, launcher.rawValue)
        await #expect(processExitsWith: .signal(SIGKILL)) { [root = root as String, name = name as String] in
            let site = LaunchSite(existing: root)
            let launcher = try #require(LauncherCase(rawValue: name))
            let identity = try await site.start(launcher).identity
            _ = try await site.written("pid")
            let words = [identity.externalID ?? "", "\(identity.pid ?? 0)", "\(identity.startTime ?? 0)"]
            try Data(words.joined(separator: "\n").utf8).write(to: site.root.appending(path: "identity"))
            kill(getpid(), SIGKILL)
        }
        let words = try String(contentsOf: site.root.appending(path: "identity"), encoding: .utf8)
            .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let identity = WorkerIdentity(
            externalID: words[0].isEmpty ? nil : words[0], pid: Int32(words[1]).flatMap { $0 == 0 ? nil : $0 },
            startTime: Int64(words[2]).flatMap { $0 == 0 ? nil : $0 })
        let worker = try #require(try await site.adopt(launcher, identity))
        #expect(try await worker.isAlive())
        #expect(worker.end == nil)
        worker.stop()
        try await site.isGone(worker)
        #expect(site.text("asked") == "asked")
        // How it ended went to nobody, what it used was seen.
        #expect(worker.end?.exit == nil)
        #expect(try await site.adopt(launcher, identity) == nil)
    }

    @Test(arguments: LauncherCase.allCases)
    func aProcessWhoseIdentityWasNotNotedIsFound(_ launcher: LauncherCase) async throws {
        let site = try LaunchSite(forever)
        let worker = try await site.start(launcher)
        _ = try await site.written("pid")
        let found = try #require(try await site.adopt(launcher, WorkerIdentity()))
        #expect(try await found.isAlive())
        #expect(found.identity == worker.identity)
        found.kill()
        try await site.isGone(worker)
    }

    @Test(arguments: LauncherCase.allCases)
    func anAttemptThatNeverBeganIsNotFound(_ launcher: LauncherCase) async throws {
        let site = try LaunchSite(forever)
        #expect(try await site.adopt(launcher, WorkerIdentity()) == nil)
        // Another process has the id now.
        let other = WorkerIdentity(pid: getpid(), startTime: (WorkerProcess.startTime(getpid()) ?? 0) + 1)
        #expect(try await site.adopt(launcher, other) == nil)
        #expect(
            try await site.adopt(launcher, WorkerIdentity(pid: getpid(), startTime: 1), bootID: "another boot") == nil)
    }

    @Test(arguments: LauncherCase.allCases)
    func aSecondStartInTheSameDirectoryIsRefusedByTheLock(_ launcher: LauncherCase) async throws {
        let site = try LaunchSite(forever)
        let first = try await site.start(launcher)
        _ = try await site.written("pid")
        let second = try await site.start(launcher)
        try await site.isGone(second)
        #expect(second.end?.exit == .code(75))
        #expect(try await first.isAlive())
        first.kill()
        try await site.isGone(first)
    }

    @Test(arguments: LauncherCase.allCases)
    func whatCannotBeStartedThrows(_ launcher: LauncherCase) async throws {
        let site = try LaunchSite(forever)
        await #expect(throws: OrchestrationError.self) {
            _ = try await launcher.make(["/nowhere/lorajobs", "stage"]).start(
                LaunchRequest(
                    attemptID: "01TEST", directory: site.directory, threads: 1, memoryBytes: nil, timeoutSeconds: 60,
                    wakeup: site.wakeup))
        }
    }
}

@Suite struct LauncherRegistryTests {
    @Test func everyLauncherHasANameOfItsOwnAndPassesTheTests() {
        let names = LauncherRegistry.launchers([]).map(\.name)
        #expect(Set(names).count == names.count)
        #expect(Set(names) == Set(LauncherCase.allCases.map(\.rawValue)))
    }
}
