import Artifacts
import Foundation
import Glibc
import Logging
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// A workspace in a temporary folder, with a stage executable that is a script: it keeps the protocol of a run
/// directory and does what `plan.json` in the workspace says for each kind of stage.
final class TestWorkspace: Sendable {
    private let folder: TemporaryFolder?
    let workspace: Workspace

    /// The workspace another process has made.
    init(existing path: String) {
        folder = nil
        workspace = Workspace(root: URL(filePath: path, directoryHint: .isDirectory))
    }

    init(in place: URL = FileManager.default.temporaryDirectory) throws {
        let folder = try TemporaryFolder(in: place)
        self.folder = folder
        workspace = Workspace(root: folder.url)
        try workspace.create()
        try FileManager.default.createDirectory(at: root("data"), withIntermediateDirectories: true)
        try FileManager.default.createDirectory(at: root("base"), withIntermediateDirectories: true)
        try Data("{\"text\":\"a\"}\n".utf8).write(to: root("data/a.jsonl"))
        try Data("{\"model_type\":\"fake\"}".utf8).write(to: root("base/config.json"))
        try Data("weights".utf8).write(to: root("base/model.safetensors"))
        try Data("tokens".utf8).write(to: root("base/tokenizer.json"))
        try Data(Self.script.utf8).write(to: root("stage.sh"))
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: root("stage.sh").path)
    }

    /// Ends workers that a failed test has left.
    deinit {
        guard folder != nil, let names = try? FileManager.default.contentsOfDirectory(atPath: "/proc") else { return }
        let script = root("stage.sh").path
        for name in names {
            guard let pid = Int32(name), let bytes = FileManager.default.contents(atPath: "/proc/\(name)/cmdline")
            else {
                continue
            }
            let words = bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
            if words.contains(script), getsid(pid) == pid { WorkerProcess.signalGroup(pid, SIGKILL) }
        }
    }

    func root(_ path: String) -> URL { workspace.root.appending(path: path) }

    /// What the stages of a kind do, as shell, with `$1` the run directory.
    func behave(_ kind: String, _ shell: String) throws {
        try Data(shell.utf8).write(to: root("\(kind).behaviour"))
    }

    /// The script: takes the lock, runs the behaviour for its kind, and writes the result it left in `$result`.
    private static let script = """
        #!/bin/bash
        # stage.sh stage RUNDIR
        shift
        cd "$1" || exit 70
        root="$(cd "$(dirname "$0")" && pwd)"
        exec 9>worker.lock
        flock -n 9 || exit 75
        field() { sed -n 's/.*"'"$1"'":"\\([^"]*\\)".*/\\1/p' request.json | head -1; }
        kind="$(field uses)"
        id="$(field attemptID)"
        attempt="$(sed -n 's/.*"attempt":\\([0-9]*\\).*/\\1/p' request.json)"
        field resumeFrom > resumed.txt
        number="${OPENBLAS_NUM_THREADS}${OMP_NUM_THREADS}"
        [ "$number" = 11 ] || exit 70
        echo "$kind $id" >> "$root/started.txt"
        publications='[]'
        plain='{"schema":1}'
        metrics='{}'
        code=0
        finish() {
          printf '{"schema":1,"attemptID":"%s","exitCode":%d,"metrics":%s,"publications":%s,"peakRSSBytes":1024,"cpuSeconds":0.5}' \
            "$id" "$code" "$metrics" "$publications" > result.tmp
          mv result.tmp result.json
          exit $code
        }
        fail() { printf '{"schema":1,"attemptID":"%s","exitCode":%d,"failure":{"code":"%s","message":"%s"},"metrics":{},"publications":[],"peakRSSBytes":0,"cpuSeconds":0}' \
            "$id" "$1" "$2" "$3" > result.tmp; mv result.tmp result.json; exit "$1"; }
        echo "$kind $(field cacheKey)" > "out/$kind.txt"
        if [ -f "$root/$kind.behaviour" ]; then . "$root/$kind.behaviour"; fi
        if [ "$kind" = package ]; then
          mkdir -p out/adapter
          echo "weights of ${weights:-$id}" > out/adapter/adapter_model.safetensors
          echo '{}' > out/adapter/adapter_config.json
          echo "${record:-$plain}" > out/adapter/lorajobs.json
          publications='[{"collection":"adapters","name":"'"$(field name)"'","folder":"adapter"}]'
        fi
        finish

        """

    static let descriptors = [
        StageDescriptor(
            kind: "tokenize", version: 1, manifestKeys: ["data"], inputs: [.data, .tokenizer], requires: []),
        StageDescriptor(
            kind: "train", version: 1, manifestKeys: ["adapter", "train"], inputs: [.base], requires: ["tokenize"]),
        StageDescriptor(
            kind: "score", version: 1, manifestKeys: ["evaluate.metrics"], inputs: [.base],
            requires: ["tokenize", "train"]),
        StageDescriptor(kind: "merge", version: 1, manifestKeys: ["merge"], inputs: [.base], requires: ["train"]),
        StageDescriptor(kind: "package", version: 1, manifestKeys: ["name"], inputs: [], requires: ["train"]),
    ]

    static func stages(_ manifest: JobManifest) -> [StagePlan] {
        func plan(_ name: String, _ needs: [String], when: String? = nil) -> StagePlan {
            StagePlan(
                name: name, kind: name, needs: needs, condition: when, timeoutSeconds: manifest.run.timeoutSeconds,
                retries: manifest.run.retries)
        }
        return [
            plan("tokenize", []), plan("train", ["tokenize"]), plan("merge", ["train"], when: "merge"),
            plan("package", ["train", "merge"]),
        ]
    }

    /// A manifest of the job named on the first line, with `key: value` lines below it; a line that is `bad` is a
    /// finding.
    ///
    /// Real manifests are PipelineSpec's matter.
    func resolve(_ bytes: Data, _ tenant: String) -> Result<Submission, InvalidFile> {
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        guard let first = lines.first, first.hasPrefix("name: ") else {
            return .failure(InvalidFile([Finding(.missingKey, at: nil, "there is no name")]))
        }
        if lines.last == "half" { return .failure(InvalidFile([Finding(.truncated, "ends in the middle")])) }
        var manifest = JobManifest(name: String(first.dropFirst(6)), base: .folder(root("base").path))
        manifest.data.train = [root("data").path + "/*.jsonl"]
        manifest.run.threads = 1
        var (seeds, trainsWinner) = ([UInt64](), false)
        var metric = JobManifest.Metric.loss
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
            let value = parts.count > 1 ? parts[1] : ""
            switch parts[0] {
            case "seed": manifest.train.seed = UInt64(value) ?? 0
            case "retries": manifest.run.retries = Int(value) ?? 0
            case "timeout": manifest.run.timeoutSeconds = Double(value) ?? 1
            case "threads": manifest.run.threads = Int(value) ?? 1
            case "priority": manifest.run.priority = Int(value) ?? 0
            case "hold": manifest.run.hold = true
            case "at": manifest.run.notBefore = Double(value)
            case "after": manifest.run.after.append(value)
            case "key": manifest.run.concurrencyKey = value
            case "conflict": manifest.run.onConflict = JobManifest.OnConflict(rawValue: value) ?? .coalesce
            case "queue": manifest.run.queue = value
            case "sample": manifest.data.sample = Double(value)
            case "matrix": seeds = value.split(separator: " ").compactMap { UInt64($0) }
            case "then": trainsWinner = true
            case "metric": metric = JobManifest.Metric(rawValue: value) ?? .loss
            case "wall", "by":
                var budget = manifest.run.budget ?? JobManifest.Budget()
                budget.timeZone = "UTC"
                if parts[0] == "wall" { budget.wallSeconds = Double(value) }
                let digits = value.split(separator: ":").compactMap { Int($0) }
                if parts[0] == "by", digits.count == 2 { budget.endMinute = digits[0] * 60 + digits[1] }
                manifest.run.budget = budget
            case "once": manifest.run.idempotencyKey = value
            case "gate":
                var gate = JobManifest.Gate()
                gate.alias = value
                manifest.gate = gate
            case "merge": manifest.merge = JobManifest.Merge()
            default: return .failure(InvalidFile([Finding(.unknownKey, "unknown key \(parts[0])")]))
            }
        }
        var submission = Submission(manifest: manifest, stages: Self.stages(manifest), origins: Data("{}".utf8))
        if !seeds.isEmpty {
            let trials = seeds.map { seed in
                var trial = manifest
                trial.train.seed = seed
                return SweepPlan.Trial(manifest: trial, origins: submission.origins)
            }
            var stages = Array(submission.stages.prefix(2))
            if metric != .loss {
                stages.append(
                    StagePlan(
                        name: "score", kind: "score", needs: ["train"], timeoutSeconds: manifest.run.timeoutSeconds,
                        retries: 0))
            }
            submission.sweep = SweepPlan(
                keys: ["train.seed"], trials: trials, stages: stages, trainsWinner: trainsWinner, metric: metric)
            submission.manifest = trials[0].manifest
        }
        return .success(submission)
    }

    func configuration() -> OrchestrationConfiguration {
        var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        if ProcessInfo.processInfo.environment["LORAJOBS_TEST_LOG"] != nil { logger = Logger(label: "test") }
        var configuration = OrchestrationConfiguration(
            workspace: workspace, stageCommand: [root("stage.sh").path, "stage"], descriptors: Self.descriptors,
            numericsVersion: 1, resolve: { [self] in resolve($0, $1) },
            roots: PathRoots([workspace.root.path]), logger: logger)
        configuration.settle = 0.2
        configuration.pollInterval = 0.05
        configuration.retry.firstPause = 0.05
        configuration.grace = 0.5
        configuration.cores = 2
        configuration.watcher = nil
        configuration.diskFloor = 1 << 20
        return configuration
    }

    func queue() throws -> JobQueue { try JobQueue.open(workspace.database) }

    /// Renames a manifest into the inbox.
    @discardableResult
    func submit(_ text: String, tenant: String? = nil, name: String = "job.yaml") throws -> String {
        try InboxEntry.drop(Data(text.utf8), name: name, tenant: tenant, in: workspace)
    }

    /// Kinds of the stage processes that were started, in order.
    func started() -> [String] {
        guard let text = try? String(contentsOf: root("started.txt"), encoding: .utf8) else { return [] }
        return text.split(separator: "\n").map { String($0.split(separator: " ")[0]) }
    }

    func status(_ id: String) throws -> JobStatus {
        var filter = JobFilter()
        filter.ids = [id]
        let queue = try JobQueue.openReadOnly(workspace.database)
        return try #require(try queue.list(filter).first)
    }

    /// Waits until a job has ended.
    func end(of id: String) async throws -> JobStatus {
        try await eventually("job \(id) ends") { (try? status(id).state.isFinal) ?? false }
        return try status(id)
    }

    /// Waits until a stage's process runs, and gives its id.
    func runningPID(_ id: String, stage: String) async throws -> Int32 {
        func attempt() throws -> JobDetail.Attempt? {
            try JobQueue.openReadOnly(workspace.database).show(id).stages.first { $0.name == stage }?.attempts.last
        }
        try await eventually("\(stage) runs") {
            (try? attempt())?.flatMap { $0.state == .running ? $0.pid : nil } != nil
        }
        return try #require(try attempt()?.pid)
    }

    var versions: [Int] {
        get throws { try ArtifactStore(workspace.artifacts).versions(of: "tone").map(\.number) }
    }

    func files(_ url: URL, ending: String = "") -> [String] {
        let found = FileManager.default.enumerator(atPath: url.path)?.compactMap { $0 as? String } ?? []
        return found.filter { $0.hasSuffix(ending) }.sorted()
    }
}

/// Runs a daemon while `body` does, and ends it in any case.
func withDaemon<T>(
    _ configuration: OrchestrationConfiguration, _ body: (Daemon) async throws -> T
) async throws -> T {
    let daemon = Daemon(configuration)
    let task = Task { try await daemon.run() }
    do {
        let value = try await body(daemon)
        daemon.stop()
        try await task.value
        return value
    } catch {
        daemon.stop()
        _ = await task.result
        throw error
    }
}

/// Looks until it is true; fails the test after a minute, which no assertion about time is: it only ends a hang.
func eventually(_ what: String, _ condition: () throws -> Bool) async throws {
    for _ in 0..<3000 {
        if try condition() { return }
        try await Task.sleep(for: .milliseconds(20))
    }
    Issue.record("never happened: \(what)")
    throw NeverHappened(what: what)
}

struct NeverHappened: Error { let what: String }
