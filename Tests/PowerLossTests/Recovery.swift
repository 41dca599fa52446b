import Artifacts
import Foundation
import GRDB
import Glibc
import Logging
import PipelineSpec
import Stages

@testable import Orchestration

/// Starting again after a power loss: the daemon on the disk that was left, until nothing is left to do.
struct Recovery {
    let run: RecordedRun

    struct Stuck: Error, CustomStringConvertible {
        let description: String
    }

    /// A stage that does its work in no time: it keeps the protocol of a run directory.
    private static let stage = """
        #!/bin/sh
        # stage.sh stage RUNDIR
        cd "$2" || exit 70
        read -r request < request.json || [ -n "$request" ] || exit 70
        # Cut at its quotes: taking prefixes off a long line takes a shell longer than all else here.
        set -f
        IFS='"'
        for word in $request; do
          if [ "$last" = : ]; then
            case $key in
              attemptID) id=${id:-$word};;
              name) name=${name:-$word};;
              uses) kind=$word;;
            esac
          fi
          key=$last last=$word
        done
        unset IFS
        publications='[]'
        if [ "$kind" = package ]; then
          mkdir -p out/adapter
          echo "made after the power loss" > out/adapter/adapter_model.safetensors
          echo '{}' > out/adapter/adapter_config.json
          echo '{"schema":1}' > out/adapter/lorajobs.json
          publications='[{"collection":"adapters","name":"'"$name"'","folder":"adapter"}]'
        else
          echo "made after the power loss" > "out/$kind.txt"
        fi
        printf '{"schema":1,"attemptID":"%s","exitCode":0,"metrics":{},"publications":%s,"peakRSSBytes":1024,"cpuSeconds":0.5}' \\
          "$id" "$publications" > result.tmp
        mv result.tmp result.json

        """

    /// The digest of the adapter that ``stage`` makes.
    static let adapterDigest = Digest.sha256(Data("made after the power loss\n".utf8))

    /// Whether a folder is the whole output of ``stage``.
    static func hasMade(_ output: String) -> Bool {
        let files = FileManager.default.enumerator(atPath: output)?.compactMap { $0 as? String } ?? []
        let made = files.filter { $0.hasSuffix(".txt") || $0.hasSuffix(".safetensors") }
        return made.count == 1
            && made.allSatisfy {
                FileManager.default.contents(atPath: "\(output)/\($0)") == Data("made after the power loss\n".utf8)
            }
    }

    private func configuration() throws -> OrchestrationConfiguration {
        let script = run.outside.appending(path: "stage.sh")
        if access(script.path, X_OK) != 0 {
            try Data(Self.stage.utf8).write(to: script)
            chmod(script.path, 0o755)
        }
        let workspace = Workspace(root: run.workspace.root)
        let resolver = ManifestResolver(
            workspace: workspace, settings: try WorkspaceSettings(of: workspace), kinds: StageRegistry.descriptors)
        var logger = Logger(label: "recovery") { _ in SwiftLogNoOpLogHandler() }
        if ProcessInfo.processInfo.environment["LORAJOBS_TEST_LOG"] != nil { logger = Logger(label: "recovery") }
        var configuration = OrchestrationConfiguration(
            resolver, stageCommand: [script.path, "stage"], numericsVersion: Numerics.version, logger: logger)
        configuration.settle = 0.02
        configuration.pollInterval = 0.01
        configuration.retry.firstPause = 0.02
        configuration.grace = 0.5
        configuration.cores = 2
        configuration.watcher = nil
        configuration.diskFloor = 1 << 20
        return configuration
    }

    /// Runs the daemon's own code in this process.
    func inProcess() async throws {
        let daemon = Daemon(try configuration())
        let ended = Flag()
        let task = Task {
            defer { ended.set() }
            try await daemon.run()
        }
        do {
            try await untilDrained(by: getpid()) { ended.isSet }
        } catch {
            daemon.stop()
            // Why it ended is the better message.
            try await task.value
            throw error
        }
        daemon.stop()
        try await task.value
    }

    /// Runs the built program, with its real stages.
    func withProgram() async throws {
        let process = Process()
        process.executableURL = run.program
        process.arguments = ["daemon", "--root", run.workspace.root.path]
        process.currentDirectoryURL = run.outside
        var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("LORAJOBS_") }
        environment["LORAJOBS_RETRY_SECONDS"] = "0.1"
        process.environment = environment
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        defer {
            if process.isRunning { kill(process.processIdentifier, SIGKILL) }
            process.waitUntilExit()
        }
        try await untilDrained(by: process.processIdentifier) { !process.isRunning }
        kill(process.processIdentifier, SIGTERM)
        while process.isRunning { try await Task.sleep(for: .milliseconds(5)) }
        guard process.terminationStatus == 0 else {
            throw Stuck(description: "the daemon ended with \(process.terminationStatus)")
        }
    }

    /// Waits until the daemon has begun, no file waits to be taken or filed, and no job that may run has not ended.
    private func untilDrained(by pid: Int32, _ hasEnded: () -> Bool) async throws {
        var queue: JobQueue?
        defer { try? queue?.close() }
        var left = "the queue could not be opened"
        // So many looks, some half a minute of them: a machine that stands still meanwhile is no daemon that is stuck.
        for _ in 0..<10_000 {
            if hasEnded() { throw Stuck(description: "the daemon ended by itself") }
            if queue == nil { queue = try? JobQueue.openReadOnly(run.workspace.database) }
            if let queue {
                let daemon = try queue.read { try Int32.fetchOne($0, sql: "SELECT pid FROM daemon") }
                left = daemon == pid ? try whatIsLeft(queue) : "the daemon has not begun"
                if left.isEmpty { return }
            }
            try await Task.sleep(for: .milliseconds(3))
        }
        throw Stuck(description: "the queue did not drain: \(left)")
    }

    private func whatIsLeft(_ queue: JobQueue) throws -> String {
        let workspace = run.workspace
        let waiting = try InboxEntry.list(workspace).filter { $0.status == .waiting }.map(\.path)
        if !waiting.isEmpty { return "in the inbox: \(waiting)" }
        // A claimed file that counts as filed will never move: that is for the promises to find.
        let claimed =
            (FileManager.default.enumerator(atPath: workspace.claimed.path)?.compactMap { $0 as? String } ?? [])
            .filter { path in
                guard let claim = InboxName.claim(in: path.split(separator: "/").last.map(String.init) ?? "") else {
                    return false
                }
                return (try? queue.intakeRecord(claim.id.description))?.flatMap(\.filedPath) == nil
            }
        if !claimed.isEmpty { return "claimed: \(claimed)" }
        let unfiled = try queue.unfiledIntake().map(\.originalName)
        if !unfiled.isEmpty { return "not filed: \(unfiled)" }
        let paused = try WorkspaceStatus(of: workspace, queue: queue).pausedQueues
        let jobs = try queue.list().filter { job in
            !(job.state.isFinal || job.state == .held || job.state == .queued && paused.contains(job.queue))
        }
        return jobs.map { "\($0.name) is \($0.state.rawValue): \($0.reason ?? "")" }.joined(separator: ", ")
    }
}

/// Set once.
private final class Flag: @unchecked Sendable {
    private let lock = NSLock()
    private var value = false
    var isSet: Bool { lock.withLock { value } }
    func set() { lock.withLock { value = true } }
}
