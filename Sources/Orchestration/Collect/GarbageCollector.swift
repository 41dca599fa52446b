package import Artifacts
package import Foundation
import GRDB
import Glibc
package import PipelineSpec

/// Finds and removes what nothing in a workspace needs any more: versions, cached outputs, blobs, run folders.
///
/// It works beside a daemon: what a job that has not ended works with is leased, and what was used lately stays.
package struct GarbageCollector: Sendable {
    private let workspace: Workspace
    private let policy: RetentionPolicy
    private let now: Date

    package init(_ workspace: Workspace, _ policy: RetentionPolicy, now: Date = Date()) {
        self.workspace = workspace
        self.policy = policy
        self.now = now
    }

    /// Everything that may go now, what frees most first within a kind. Nothing is changed.
    package func garbage() throws -> [Garbage] {
        let store = ArtifactStore(workspace.artifacts)
        let found = try named(store.garbage(policy, leases: leases(), now: now) + runs())
        return found.sorted { ($0.kind.order, -$0.bytes, $0.subject) < ($1.kind.order, -$1.bytes, $1.subject) }
    }

    /// Removes what was found, as far as it may still go; versions before the blobs that only they have.
    ///
    /// - Parameters:
    ///   - throughTrash: Without, it does not lie in `Artifacts/trash` first, and what lies there goes too.
    ///   - announce: Called with each thing that was removed.
    /// - Returns: What was removed.
    package func collect(throughTrash: Bool = true, announce: (Garbage) throws -> Void = { _ in }) throws -> [Garbage] {
        let store = ArtifactStore(workspace.artifacts)
        var removed: [Garbage] = []
        var policy = policy
        if !throughTrash { policy.trashSeconds = -1 }
        let collector = GarbageCollector(workspace, policy, now: now)
        // A blob is free once its last version has gone: they are looked for again.
        for kinds in [[Garbage.Kind.version, .cachedOutput, .run], [.trash], [.blob]] {
            for garbage in try collector.garbage() where kinds.contains(garbage.kind) {
                // Asked anew each time: a job may have begun meanwhile.
                let isRemoved =
                    garbage.kind == .run
                    ? try remove(garbage)
                    : try store.remove(garbage, policy, leases: leases(), throughTrash: throughTrash, now: now)
                guard isRemoved else { continue }
                removed.append(garbage)
                try announce(garbage)
            }
        }
        return removed
    }

    // MARK: Jobs

    private func reading<T>(_ body: (JobQueue) throws -> T) throws -> T? {
        guard access(workspace.database.path(percentEncoded: false), F_OK) == 0 else { return nil }
        let queue = try JobQueue.openReadOnly(workspace.database)
        let value = try body(queue)
        try queue.close()
        return value
    }

    /// Says of cached outputs and folders of attempts whose they are, as far as the queue remembers.
    private func named(_ found: [Garbage]) throws -> [Garbage] {
        try reading { queue in
            let stages = try queue.stages(ofKeys: Set(found.filter { $0.kind == .cachedOutput }.map(\.subject)))
            return try found.map { garbage in
                var garbage = garbage
                switch garbage.kind {
                case .cachedOutput: garbage.title = stages[garbage.subject] ?? garbage.title
                case .run:
                    let job = garbage.url.deletingLastPathComponent().deletingLastPathComponent().lastPathComponent
                    garbage.title = try queue.name(ofJob: job).map { "attempts of \($0)" } ?? "attempts of \(job)"
                case .version, .blob, .trash: break
                }
                return garbage
            }
        } ?? found
    }

    private func leases() throws -> StoreLeases { try reading { try $0.storeLeases(workspace) } ?? StoreLeases() }

    /// Checkpoints and outputs of attempts of jobs that ended long ago; what tells of the attempts stays.
    private func runs() throws -> [Garbage] {
        let limit = Int64((now.timeIntervalSince1970 - policy.runSeconds) * 1000)
        let jobs = try reading { try $0.ended(before: limit) } ?? []
        let home = InboxEntry.path(workspace.runs)
        guard InboxEntry.isFolder(home) else { return [] }
        return try InboxEntry.names(in: home).filter(jobs.contains).flatMap { job in
            try RecoveredFiles.folders(in: "\(home)/\(job)").flatMap { attempt in
                try ["checkpoint", "out"].compactMap { name -> Garbage? in
                    let path = "\(attempt)/\(name)"
                    guard InboxEntry.isFolder(path) else { return nil }
                    let url = URL(filePath: path, directoryHint: .isDirectory)
                    return Garbage(
                        kind: .run, subject: workspace.relativePath(url), url: url, bytes: try Self.bytes(below: path),
                        reason: "its job ended more than \(Int(policy.runSeconds / 86_400)) days ago")
                }
            }
        }
    }

    private func remove(_ run: Garbage) throws -> Bool {
        // A retry of the job goes on from its checkpoint; that it has begun shows in the lock of its own attempt only.
        guard
            try !isAnyRetryWaiting(
                of: run.url.deletingLastPathComponent().deletingLastPathComponent().lastPathComponent)
        else { return false }
        try FileManager.default.removeItem(at: run.url)
        return true
    }

    private func isAnyRetryWaiting(of job: String) throws -> Bool {
        try reading { queue in
            try queue.read {
                try Bool.fetchOne(
                    $0,
                    sql: """
                        WITH RECURSIVE line (id) AS (
                          SELECT id FROM job WHERE retry_of = ?
                          UNION SELECT j.id FROM line JOIN job AS j ON j.retry_of = line.id)
                        SELECT EXISTS (SELECT 1 FROM line JOIN job ON job.id = line.id WHERE job.finished_ms IS NULL)
                        """, arguments: [job]) ?? false
            }
        } ?? false
    }

    private static func bytes(below path: String) throws -> Int64 {
        try InboxEntry.names(in: path).reduce(0) { sum, name in
            var status = stat()
            guard lstat("\(path)/\(name)", &status) == 0 else { return sum }
            if status.st_mode & S_IFMT == S_IFDIR { return try sum + bytes(below: "\(path)/\(name)") }
            return sum + (status.st_nlink == 1 ? Int64(status.st_size) : 0)
        }
    }
}

extension Garbage.Kind {
    fileprivate var order: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

extension JobQueue {
    /// What jobs that have not ended work with in the store.
    func storeLeases(_ workspace: Workspace) throws -> StoreLeases {
        try read { db in
            var leases = StoreLeases()
            leases.cacheKeys = Set(
                try String.fetchAll(
                    db,
                    sql: """
                        SELECT s.cache_key FROM stage_run AS s JOIN job AS j ON j.id = s.job_id
                        WHERE j.finished_ms IS NULL AND s.cache_key IS NOT NULL
                        """))
            let specs = try Data.fetchAll(db, sql: "SELECT spec FROM job WHERE finished_ms IS NULL")
            let store = workspace.artifacts.path(percentEncoded: false)
            for spec in specs {
                let manifest = try JSONDecoder().decode(JobManifest.self, from: spec)
                leases.names.insert(manifest.name)
                // `<store>/models/<name>/<version>`
                if manifest.base.path.hasPrefix(store) {
                    let parts = manifest.base.path.dropFirst(store.count).split(separator: "/")
                    if parts.count > 1 { leases.names.insert(String(parts[1])) }
                }
            }
            return leases
        }
    }

    /// `train of tone` by cache key: the stage that last made, or took, each output. Looks at every job.
    func stages(ofKeys keys: Set<String>) throws -> [String: String] {
        if keys.isEmpty { return [:] }
        return try read { db in
            let rows = try Row.fetchCursor(
                db,
                sql: """
                    SELECT s.cache_key AS key, s.name AS stage, j.name AS job
                    FROM stage_run AS s JOIN job AS j ON j.id = s.job_id WHERE s.cache_key IS NOT NULL ORDER BY j.id
                    """)
            var found: [String: String] = [:]
            while let row = try rows.next() {
                let key: String = row["key"]
                if keys.contains(key) { found[key] = "\(row["stage"] as String) of \(row["job"] as String)" }
            }
            return found
        }
    }

    func name(ofJob job: String) throws -> String? {
        try read { try String.fetchOne($0, sql: "SELECT name FROM job WHERE id = ?", arguments: [job]) }
    }

    /// Jobs that ended before a moment, in milliseconds since 1970.
    func ended(before moment: Int64) throws -> Set<String> {
        try read { Set(try String.fetchAll($0, sql: "SELECT id FROM job WHERE finished_ms < ?", arguments: [moment])) }
    }
}
