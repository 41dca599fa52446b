import Artifacts
import Foundation
import GRDB
import Glibc
import PipelineSpec

@testable import Orchestration
@testable import Training

/// What must be so after any power loss: what was told is still so, and everything fits together.
struct Promises {
    let run: RecordedRun
    /// What had been told when the power failed.
    let told: Set<Told>
    /// Whether the real stages ran again: then the records they leave beside their work differ, such as where a training
    /// went on from.
    var hasRealStages = false

    private var workspace: Workspace { run.workspace }
    private func path(_ url: URL) -> String { InboxEntry.path(url) }

    // MARK: Before the daemon starts

    /// What nothing may repair, because nothing makes it again.
    func brokenBefore() throws -> [String] {
        var broken: [String] = []
        for told in told {
            switch told {
            case .initialised:
                for (name, text) in ExamplePipelines.all
                where FileManager.default.contents(atPath: workspace.pipeline(name).path) != Data(text.utf8) {
                    broken.append("init returned, and the pipeline \(name) is not there")
                }
                if !workspace.exists { broken.append("init returned, and there is no workspace") }
                if (try? WorkspaceSettings(of: workspace))?.roots.isEmpty ?? true {
                    broken.append("init returned, and the allowed root is not in lorajobs.yaml")
                }
            case .checkpoint(let directory, let step):
                let folder = RunDirectory(URL(filePath: directory, directoryHint: .isDirectory)).checkpoint
                let latest = try CheckpointFolder(url: folder).latest(ignored: { _ in })?.state.step ?? 0
                if latest < step { broken.append("a checkpoint of step \(step) was reported, and \(latest) is left") }
            default: break
            }
        }
        return broken
    }

    // MARK: When all is done

    func brokenAfter() throws -> [String] {
        let queue = try JobQueue.openReadOnly(workspace.database)
        defer { try? queue.close() }
        var broken = try queue.integrityProblems()
        broken += try brokenIntake(queue)
        broken += try brokenJobs(queue)
        broken += try brokenStages(queue)
        broken += try brokenStore(queue)
        return broken
    }

    /// Nothing lost, nothing twice, every file where the queue says, every answer whole.
    private func brokenIntake(_ queue: JobQueue) throws -> [String] {
        var broken: [String] = []
        let records = try queue.read { try Row.fetchAll($0, sql: "SELECT * FROM intake ORDER BY claim_id") }
        for drop in run.drops {
            let own = records.filter { $0["bytes"] == drop.bytes }
            if own.count > 1 { broken.append("\(drop.name) was taken \(own.count) times") }
            if own.isEmpty && told.contains(.dropped(drop.name)) { broken.append("\(drop.name) is lost") }
            for row in own where (row["verdict"] == "accepted") != drop.isGood {
                broken.append("\(drop.name) was \(row["verdict"] as String)")
            }
        }
        for row in records {
            let name: String = row["orig_name"], claim: String = row["claim_id"]
            let bytes: Data = row["bytes"]
            if !run.drops.contains(where: { $0.bytes == bytes }) { broken.append("\(name) is not what was dropped") }
            guard let filed: String = row["filed_path"] else {
                broken.append("\(name) is not filed")
                continue
            }
            let file = workspace.root.appending(path: filed).path
            func content(_ ending: String) -> Data? { FileManager.default.contents(atPath: file + ending) }
            if content("") != bytes { broken.append("\(filed) is not the file that was dropped") }
            if row["verdict"] == "rejected" {
                let report = content(".error.json").flatMap { try? JSONDecoder().decode(JSONValue.self, from: $0) }
                if report?["valid"] != .bool(false) { broken.append("\(filed).error.json is no report") }
                if content(".error.txt")?.last != UInt8(ascii: "\n") {
                    broken.append("\(filed).error.txt is not whole")
                }
            } else {
                let receipt = content(".receipt.json").flatMap { try? JSONDecoder().decode(JSONValue.self, from: $0) }
                guard case .array(let jobs) = receipt?["jobs"] ?? .null, case .string(let job) = jobs.first?["id"]
                else {
                    broken.append("\(filed).receipt.json is no receipt")
                    continue
                }
                if job != row["job_id"] { broken.append("the receipt of \(claim) names another job") }
            }
        }
        var filed = 0
        for folder in [workspace.accepted, workspace.rejected] {
            filed += files(below: folder).count { $0.hasSuffix(".yaml") }
        }
        if filed != records.count { broken.append("\(filed) files are filed, and \(records.count) were taken") }
        let claimed = files(below: workspace.claimed).filter { $0.hasSuffix(".yaml") }
        if !claimed.isEmpty { broken.append("still claimed: \(claimed)") }
        return broken
    }

    private func files(below folder: URL) -> [String] {
        FileManager.default.enumerator(atPath: folder.path)?.compactMap { $0 as? String } ?? []
    }

    private func brokenJobs(_ queue: JobQueue) throws -> [String] {
        var broken: [String] = []
        let jobs = try queue.read { try Row.fetchAll($0, sql: "SELECT * FROM job ORDER BY seq") }
        func job(_ id: String) -> Row? { jobs.first { $0["id"] == id } }
        let orphans = try queue.read {
            try Int.fetchOne(
                $0,
                sql: """
                    SELECT (SELECT count(*) FROM job WHERE (claim_id IS NULL) = (retry_of IS NULL))
                      + (SELECT count(*) FROM intake WHERE verdict = 'accepted'
                         AND NOT EXISTS (SELECT 1 FROM job WHERE job.claim_id = intake.claim_id))
                      + (SELECT count(*) FROM job WHERE (finished_ms IS NULL)
                         <> (state NOT IN ('succeeded','failed','cancelled','skipped')))
                    """)
        }
        if orphans != 0 { broken.append("\(orphans ?? -1) jobs or claims have no origin, no job, or no end") }
        for row in jobs {
            let name: String = row["name"], state: String = row["state"]
            if state == "failed" || state == "skipped" {
                broken.append("\(name) \(state): \(row["reason"] as String? ?? "")")
            }
        }
        for told in told {
            switch told {
            case .state(let id, let state, let adapter):
                guard let row = job(id) else {
                    broken.append("job \(id), reported as \(state), is gone")
                    continue
                }
                if row["state"] != state { broken.append("job \(id) was \(state) and is \(row["state"] as String)") }
                if let adapter, row["adapter"] != adapter { broken.append("job \(id) has lost \(adapter)") }
            case .retried(let id, let new):
                if job(new)?["retry_of"] != id { broken.append("\(new), the retry of \(id), is gone") }
            case .prioritised(let id, let priority):
                if job(id)?["priority"] != priority { broken.append("\(id) has lost its priority") }
            case .paused(let name):
                let isPaused = try queue.read {
                    try Bool.fetchOne($0, sql: "SELECT paused FROM queue WHERE name = ?", arguments: [name])
                }
                if isPaused != true { broken.append("the queue \(name) is not paused any more") }
            default: break
            }
        }
        return broken
    }

    /// The output of each stage that has ended is there, and no stage that had ended ran again.
    private func brokenStages(_ queue: JobQueue) throws -> [String] {
        var broken: [String] = []
        let rows = try queue.read {
            try Row.fetchAll(
                $0, sql: "SELECT * FROM stage_run WHERE state IN ('succeeded','cached') AND output_path IS NOT NULL")
        }
        for row in rows {
            let output: String = row["output_path"]
            let digest = try? Digest.directoryDigest(URL(filePath: output, directoryHint: .isDirectory))
            let name: String = row["name"]
            if digest != row["output_digest"] {
                broken.append("the output of \(name) is not what the queue says")
            } else if !hasRealStages, digest != run.outputDigests[name], !Recovery.hasMade(output) {
                broken.append("the output of \(name) is what no stage made")
            }
        }
        for case .stageEnded(let directory) in told {
            let later = try queue.read { db in
                try Int.fetchOne(
                    db,
                    sql: """
                        SELECT count(*) FROM attempt AS a JOIN attempt AS b ON a.stage_id = b.stage_id AND b.n > a.n
                        WHERE rtrim(a.workdir, '/') = ?
                        """, arguments: [directory])
            }
            if later != 0 { broken.append("\(directory) had ended well, and its stage ran again") }
        }
        return broken + (try StageCache(workspace.artifacts).verify().map(\.description))
    }

    /// Each version is whole, numbered without gaps, made once, and is what its aliases and the queue say.
    private func brokenStore(_ queue: JobQueue) throws -> [String] {
        let store = ArtifactStore(workspace.artifacts)
        var broken = try store.verify().map(\.description)
        let adapters = try queue.read {
            try String.fetchAll($0, sql: "SELECT adapter FROM job WHERE adapter IS NOT NULL ORDER BY adapter")
        }
        var versions: [String] = []
        for name in try store.names() {
            let numbers = try store.versions(of: name).map(\.number).sorted()
            versions += numbers.map { "\(name):\($0)" }
            if numbers != Array(1...numbers.count) { broken.append("\(name) has the versions \(numbers)") }
            let log = try store.log(of: name)
            let logged = log.filter { $0.event == .published }.compactMap(\.version)
            if logged.sorted() != numbers { broken.append("the log of \(name) has \(logged), the folder \(numbers)") }
            for version in try store.versions(of: name) {
                let isKnown = version.digest == Recovery.adapterDigest || version.digest == run.adapterDigest
                if !isKnown { broken.append("\(version.reference) holds what nobody made") }
                for file in files(below: version.url) {
                    var status = stat()
                    let full = version.url.appending(path: file).path
                    if lstat(full, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_nlink < 2 {
                        broken.append("\(version.reference) has no blob for \(file)")
                    }
                }
            }
        }
        if versions.sorted() != adapters { broken.append("the store has \(versions), and jobs made \(adapters)") }
        broken += try brokenAliases(store)
        let left = (try? FileManager.default.contentsOfDirectory(atPath: workspace.artifacts.path + "/tmp")) ?? []
        if !left.isEmpty { broken.append("left behind in the store: \(left)") }
        return broken
    }

    /// Where aliases were moved one after the other, the last that was told counts, or one that was under way.
    private func brokenAliases(_ store: ArtifactStore) throws -> [String] {
        var broken: [String] = []
        let moves: [Told] = run.moves.filter { told.contains($0) }
        var last: [String: (artifact: String, version: Int?)] = [:]
        for case .alias(let artifact, let alias, let version) in moves { last[alias] = (artifact, version) }
        for (alias, move) in last {
            // The next move may have happened without being told.
            let later = run.moves.drop { $0 != .alias(move.artifact, alias, version: move.version) }.dropFirst()
            var allowed: [Int?] = [move.version]
            for case .alias(_, alias, let version) in later { allowed.append(version) }
            let now = try store.aliases(of: move.artifact)[alias]
            if !allowed.contains(now) {
                broken.append("\(move.artifact)@\(alias) was set to \(move.version ?? 0) and is \(now ?? 0)")
            }
            let told = try store.log(of: move.artifact).contains {
                $0.event == .aliasMoved && $0.alias == alias && $0.version == move.version
            }
            if !told { broken.append("the move of \(alias) to \(move.version ?? 0) is not in the log") }
        }
        return broken
    }
}
