import Foundation
import Orchestration
import PipelineSpec
import TestSupport

/// The runs that are recorded.
enum Scenario: String, CaseIterable, Sendable {
    case intake, job, verbs

    func record() async throws -> RecordedRun {
        switch self {
        case .intake: try await Self.recordIntake()
        case .job: try await Self.recordJob()
        case .verbs: try await Self.recordVerbs()
        }
    }

    /// The small base that the demo adapts, which the repository holds.
    private static var base: URL { TestData.packageRoot.appending(path: "Jobs/demo/base") }

    private static func manifest(_ run: RecordedRun, _ name: String, hold: Bool = false, priority: Int = 0) -> String {
        """
        name: \(name)
        base: \(base.path)
        data: {train: \(run.outside.path)/data/play.txt, max_length: 32}
        adapter: {rank: 2}
        train: {steps: 3, batch_size: 2}
        run: {threads: 1, hold: \(hold), priority: \(priority)}

        """
    }

    private static func makeWorkspace(_ run: RecordedRun) async throws {
        let text = (1...300).map { "line \($0) of a text from which a small model learns \($0 * 7919 % 101)" }
        let folder = run.outside.appending(path: "data")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data(text.joined(separator: "\n").utf8).write(to: folder.appending(path: "play.txt"))
        try await run.run(
            "init", run.workspace.root.path, "--allow-root", base.path, "--allow-root", folder.path,
            telling: .initialised)
    }

    private static func queue(_ run: RecordedRun) throws -> JobQueue? {
        guard FileManager.default.fileExists(atPath: run.workspace.database.path) else { return nil }
        return try? JobQueue.openReadOnly(run.workspace.database)
    }

    private static func jobs(_ run: RecordedRun) throws -> [JobStatus] {
        guard let queue = try queue(run) else { return [] }
        defer { try? queue.close() }
        return try queue.list()
    }

    private static func filed(_ run: RecordedRun) -> Int {
        [run.workspace.accepted, run.workspace.rejected].reduce(0) { count, folder in
            let files = FileManager.default.enumerator(atPath: folder.path)?.compactMap { $0 as? String } ?? []
            return count + files.count { $0.hasSuffix(".yaml") }
        }
    }

    private static func isFiled(_ run: RecordedRun) throws -> Bool {
        guard let queue = try queue(run) else { return false }
        defer { try? queue.close() }
        return try filed(run) == run.drops.count && queue.unfiledIntake().isEmpty
    }

    /// Files that are taken: from the producer's folder and from `submit`, good and bad, of two tenants; some lie there
    /// before the daemon starts and some come while it works.
    private static func recordIntake() async throws -> RecordedRun {
        let run = try RecordedRun("intake")
        try await makeWorkspace(run)
        _ = try await run.submit(run.manifest("first.yaml", manifest(run, "first", hold: true)))
        try run.produce(run.manifest("second.yaml", manifest(run, "second", hold: true)))
        try run.produce(run.manifest("bad.yaml", "name: bad\nlearning_rte: 3\n", isGood: false))
        try run.produce(run.manifest("third.yaml", manifest(run, "third", hold: true)), tenant: "acme")
        try await run.startDaemon()
        try await run.until("what lay there is filed") { try isFiled(run) }
        _ = try await run.submit(run.manifest("fourth.yaml", manifest(run, "fourth", hold: true)))
        try await run.until("what came later is filed") { try isFiled(run) }
        for job in try jobs(run) { try run.note(.state(job: job.id, "held", adapter: nil)) }
        try await run.endDaemon()
        try run.finish()
        return run
    }

    /// A job from its drop to its adapter, with the real stages, and the moves of an alias.
    private static func recordJob() async throws -> RecordedRun {
        let run = try RecordedRun("job")
        try await makeWorkspace(run)
        try await run.startDaemon()
        let id = try await run.submit(run.manifest("tone.yaml", manifest(run, "tone")))
        try await run.until("the job has ended") { try jobs(run).first?.state.isFinal == true }
        guard let job = try jobs(run).first, job.state == .succeeded, job.adapter == "tone:1" else {
            throw RecordedRun.Failed(description: "the job did not succeed: \(try jobs(run))")
        }
        try run.note(.state(job: id, "succeeded", adapter: "tone:1"))
        try await run.endDaemon()
        let store = run.workspace.artifacts.path
        func subject(_ arguments: String..., telling told: Told) async throws {
            switch arguments.count {
            case 2:
                try await run.run(
                    "unalias", store, "tone", arguments[1], program: "power-loss-subject", telling: told)
            default:
                try await run.run(
                    "alias", store, "tone", arguments[1], arguments[2], program: "power-loss-subject", telling: told)
            }
        }
        try await subject("alias", "production", "1", telling: .alias("tone", "production", version: 1))
        try await subject("alias", "candidate", "1", telling: .alias("tone", "candidate", version: 1))
        try await subject("unalias", "candidate", telling: .alias("tone", "candidate", version: nil))
        try run.finish()
        return run
    }

    /// What the verbs have answered, with no daemon to repeat it.
    private static func recordVerbs() async throws -> RecordedRun {
        let run = try RecordedRun("verbs")
        try await makeWorkspace(run)
        var ids: [String] = []
        for name in ["a", "b", "c"] {
            ids.append(try await run.submit(run.manifest("\(name).yaml", manifest(run, name, hold: true))))
        }
        try await run.startDaemon()
        try await run.until("all are filed") { try isFiled(run) }
        try await run.endDaemon()
        try await run.run("queue", "pause", "default", telling: .paused(queue: "default"))
        try await run.run("cancel", ids[0], telling: .state(job: ids[0], "cancelled", adapter: nil))
        try await run.run("prioritize", ids[1], "7", telling: .prioritised(job: ids[1], 7))
        try await run.run("release", ids[2])
        try await run.run("hold", ids[2], telling: .state(job: ids[2], "held", adapter: nil))
        let new = try await run.run("retry", ids[0])
        guard let id = new.firstMatch(of: /\b01[0-9A-Z]{24}\b/) else { throw RecordedRun.Failed(description: new) }
        try run.note(.retried(job: ids[0], new: String(id.0)))
        try run.finish()
        return run
    }
}
