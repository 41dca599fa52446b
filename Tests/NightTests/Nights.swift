import Artifacts
import Foundation
import Logging
import PipelineSpec
import Stages
import Synchronization
import TestSupport
import Testing

@testable import Orchestration

/// A workspace whose nights pass one after the other, by a clock that the test sets, with real training of a tiny base.
///
/// Every night a manifest comes in, its job is driven to its end in this process, and everything that the workspace says of
/// itself is compared.
final class Nights {
    let workspace: Workspace
    private let folder: TemporaryFolder
    private let base: URL
    private let clock: Clock
    /// Of the night that begins next, from 1.
    private(set) var number = 0
    private(set) var queue: JobQueue
    private let configuration: OrchestrationConfiguration
    let name = "tone"
    /// Of the training data as the night found them.
    private var pinned = ""

    private final class Clock: Sendable {
        /// From today, so that no file is younger than the night that made it.
        let milliseconds = Atomic<Int64>(Int64(Date().timeIntervalSince1970 * 1000))
        var now: Int64 { milliseconds.load(ordering: .relaxed) }
    }

    /// - Returns: `nil` after saying that the test is skipped.
    init?(test: String = #function) throws {
        guard let base = try TestData.folder("models/stories260K", test: test) else { return nil }
        self.base = base
        folder = try TemporaryFolder()
        workspace = Workspace(
            root: folder.url.resolvingSymlinksInPath().appending(path: "ws", directoryHint: .isDirectory))
        try workspace.create()
        try FileManager.default.createDirectory(at: workspace.pipelines, withIntermediateDirectories: true)
        try Data(
            """
            version: 1
            name: finetune
            stages:
              tokenize: {uses: tokenize}
              train: {uses: train, needs: [tokenize]}
              evaluate: {uses: evaluate, needs: [train]}
              package: {uses: package, needs: [evaluate]}

            """.utf8
        ).write(to: workspace.pipelines.appending(path: "finetune.yaml"))
        let settings = try WorkspaceSettings(Data("roots: [\(base.path)]\n".utf8))
        let resolver = ManifestResolver(workspace: workspace, settings: settings, kinds: StageRegistry.descriptors)
        let logger = Logger(label: "night") { _ in SwiftLogNoOpLogHandler() }
        var configuration = OrchestrationConfiguration(
            workspace: workspace, stageCommand: [], descriptors: Array(StageRegistry.descriptors.values),
            numericsVersion: Numerics.version,
            resolve: { bytes, _ in
                do { return .success(try Submission(resolver.resolve(bytes))) } catch let error as InvalidFile {
                    return .failure(error)
                } catch {
                    return .failure(InvalidFile([Finding(.syntax, "\(error)")]))
                }
            }, roots: resolver.roots, logger: logger)
        configuration.launcher = StageLauncher()
        configuration.launchers = [StageLauncher()]
        configuration.pollInterval = 0.01
        configuration.diskFloor = 1 << 20
        self.configuration = configuration
        let clock = Clock()
        self.clock = clock
        queue = try JobQueue.open(workspace.database, now: { clock.now }).taken(by: getpid(), cores: 2)
    }

    var store: ArtifactStore { ArtifactStore(workspace.artifacts) }

    func write(_ text: String, to path: String) throws {
        let url = workspace.root.appending(path: path)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: url)
    }

    func text(_ path: String) throws -> String {
        try String(contentsOf: workspace.root.appending(path: path), encoding: .utf8)
    }

    // MARK: A night

    /// A job over `data/train.jsonl`, judged by `data/test.jsonl`.
    func manifest(steps: Int = 12, rate: String = "1e-2", train: String = "", gate: String) -> String {
        """
        name: \(name)
        base: \(base.path)
        data: {train: data/train.jsonl, validation: 0%, test: data/test.jsonl, max_length: 128}
        adapter: {rank: 4}
        train: {steps: \(steps), batch_size: 8, learning_rate: \(rate), lr_schedule: constant\(train)}
        evaluate: {retention: data/general.txt}
        gate: \(gate)
        run: {threads: 2}

        """
    }

    /// Lets a night pass: a day later by the clock, the manifest comes in and its job ends.
    ///
    /// - Parameters:
    ///   - crash: The point at which the daemon dies, once; another one starts where it was.
    ///   - meanwhile: Called once while the job runs, after its first stage.
    @discardableResult
    func pass(
        _ manifest: String, crash: Failpoint? = nil, meanwhile: (@Sendable () throws -> Void)? = nil
    ) async throws -> JobStatus {
        number += 1
        pinned = Digest.sha256(Data(try text("data/train.jsonl").utf8))
        clock.milliseconds.add(86_400_000, ordering: .relaxed)
        let submission = try configuration.resolve(Data(manifest.utf8), "default").get()
        let verdict = try Inbox.record(
            Data(manifest.utf8), name: "night-\(number).yaml", tenant: "default", submission, configuration, queue)
        let job = try #require(verdict.job)
        let isArmed = Mutex(crash != nil || meanwhile != nil)
        try queue.start(job)
        if let meanwhile {
            let driver = driver(job)
            try await Failpoint.withHandler({ point in
                let isNow = isArmed.withLock { armed in
                    defer { if point == .attemptSettled { armed = false } }
                    return armed && point == .attemptSettled
                }
                if isNow { try meanwhile() }
            }) { try await driver.run() }
        } else if let crash {
            let driver = driver(job)
            await #expect(throws: FailpointReached.self) {
                try await Failpoint.withHandler({ point in
                    let isNow = isArmed.withLock { armed in
                        defer { if point == crash { armed = false } }
                        return armed && point == crash
                    }
                    if isNow { throw FailpointReached(point) }
                }) { try await driver.run() }
            }
            try restart()
        }
        if try !queue.drivenJob(job).state.isFinal { try await self.driver(job).run() }
        var filter = JobFilter()
        filter.ids = [job]
        let status = try #require(try queue.list(filter).first)
        #expect(status.state == .succeeded, "night \(number): \(status.reason ?? "")")
        try check(status)
        return status
    }

    /// What the next daemon does first.
    private func restart() throws {
        let clock = self.clock
        queue = try JobQueue.open(workspace.database, now: { clock.now }).taken(by: getpid(), cores: 2)
        _ = try store.sweepTemporary()
        _ = try GateDecisions.follow(queue, store)
    }

    private func driver(_ job: String) -> JobDriver {
        JobDriver(job: job, queue: queue, configuration: configuration, shutdown: Shutdown(), wakeup: Wakeup())
    }

    var now: Date { Date(timeIntervalSince1970: Double(clock.now) / 1000) }

    // MARK: What must agree

    /// What production points at.
    var production: Int? { get throws { try store.aliases(of: name)["production"] } }

    var versions: [Int] { get throws { try store.versions(of: name).map(\.number).sorted() } }

    func record(_ number: Int) throws -> JSONValue {
        try store.resolve(ArtifactReference(name: name, selector: .version(number))).record
    }

    /// A number of a version's evaluation: by set, role and metric.
    func value(_ number: Int, _ set: String = "test", _ role: String = "trained", _ metric: String = "loss") throws
        -> Double?
    {
        guard case .array(let sets)? = try record(number)["evaluation"]?["sets"] else { return nil }
        let own = sets.first { $0["name"] == .string(set) }
        switch own?["values"]?[role]?[metric] {
        case .number(let value)?: return value
        case .integer(let value)?: return Double(value)
        default: return nil
        }
    }

    /// Alias, log, lineage and files tell the same, and the queue agrees.
    private func check(_ job: JobStatus) throws {
        let label = "night \(number)"
        var invariants = Invariants(workspace)
        invariants.now = now
        let violations = try invariants.violations()
        #expect(violations.isEmpty, "\(label): \(violations.map(\.description))")
        let log = try store.log(of: name)
        let moves = log.filter { $0.event == .aliasMoved && $0.alias == "production" }
        #expect(try production == moves.last?.version, "\(label)")
        // The symlink itself, as a serving tool reads it.
        let link = workspace.artifacts.appending(path: "adapters/\(name)/production").path
        let target = try? FileManager.default.destinationOfSymbolicLink(atPath: link)
        #expect(target.flatMap { Int($0) } == moves.last?.version, "\(label)")
        for move in moves where move.decision != nil {
            let version = try #require(move.version)
            let entry = try #require(log.first { $0.event == .published && $0.version == version })
            // What was promoted was there before, and its record says why.
            #expect(entry.time <= move.time, "\(label)")
            // Some are collected, perhaps at this moment.
            guard let found = try? record(version) else {
                #expect(try !versions.contains(version), "\(label): version \(version)")
                continue
            }
            #expect(found["gate"]?["outcome"] == "passed", "\(label): version \(version)")
        }
        guard job.reason != "unchanged" else {
            #expect(job.gate == nil, "\(label)")
            return
        }
        let newest = try #require(try versions.last)
        #expect(job.adapter == "\(name):\(newest)", "\(label)")
        let record = try record(newest)
        #expect(record["job"] == .string(job.id), "\(label)")
        let detail = try queue.show(job.id)
        #expect(record["lineage"]?["manifest_digest"] == .string(detail.manifestDigest), "\(label)")
        guard case .array(let files)? = record["lineage"]?["data"]?["train"] else {
            Issue.record("\(label): the lineage names no data")
            return
        }
        #expect(files.first?["digest"] == .string(pinned), "\(label)")
        let decisions = log.filter { $0.decision != nil && $0.version == newest }
        #expect(decisions.count == 1 && decisions.first?.gate == job.gate, "\(label): \(decisions)")
        #expect((try production == newest) == (job.gate == "passed"), "\(label): \(job.reason ?? "")")
    }
}

/// Runs stages in this process, one at a time.
struct StageLauncher: Launcher {
    var name: String { "local" }

    func start(_ request: LaunchRequest) async throws -> any LaunchedWorker {
        let code = StageProcess.run(request.directory)
        return EndedWorker(identity: WorkerIdentity(externalID: request.attemptID), end: WorkerEnd(exit: .code(code)))
    }

    func adopt(_ record: LaunchRecord) async throws -> (any LaunchedWorker)? { nil }
}

private struct EndedWorker: LaunchedWorker {
    let identity: WorkerIdentity
    let end: WorkerEnd?

    func isAlive() async throws -> Bool { false }
    func stop() {}
    func kill() {}
}
