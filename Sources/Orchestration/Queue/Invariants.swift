import Artifacts
import Foundation
import GRDB
import Glibc
package import PipelineSpec

/// Checks the rules that hold in a workspace at every moment, with a daemon at work or without.
package struct Invariants: Sendable {
    private let workspace: Workspace
    /// Whether every byte of the store is read and compared with its digest, or only what folders and logs say.
    private let readsContent: Bool
    /// The present; a test looks from later.
    var now = Date()

    /// - Parameter readsContent: Also reads every version and every cached output: exact, and as slow as the disk.
    package init(_ workspace: Workspace, readsContent: Bool = true) {
        self.workspace = workspace
        self.readsContent = readsContent
    }

    /// Everything that is wrong, in the order of the invariants; empty in a sound workspace.
    ///
    /// - Throws: When the database or a folder cannot be read at all.
    package func violations() throws -> [Violation] {
        var found: [Violation] = []
        if access(workspace.database.path, F_OK) == 0 {
            let queue = try JobQueue.openReadOnly(workspace.database)
            let damage = try queue.integrityProblems()
            // What a damaged database says of the rest is worth nothing.
            guard damage.isEmpty else {
                return damage.map {
                    Violation(
                        invariant: .database, subject: workspace.relativePath(workspace.database), message: $0,
                        isRepairable: false)
                }
            }
            // The store before the queue: a version that appears in between is of an attempt that is still live.
            let versions = try publishedVersions()
            let rows = try queue.read { db in
                try queue.violations(db) + outputs(db) + producers(db, versions) + files(db)
                    + decisions(queue, db)
            }
            try queue.close()
            found += rows
        }
        found += try claims()
        found += try history()
        return found.sorted { $0.invariant.order < $1.invariant.order }
    }

    // MARK: The store

    private func history() throws -> [Violation] {
        let store = ArtifactStore(workspace.artifacts)
        var found = try store.historyFaults().map { fault in
            let isAlias = [.aliasMoved, .aliasDangling].contains(fault.kind)
            return Violation(
                invariant: isAlias ? .aliases : .versions, subject: fault.subject, message: fault.description,
                isRepairable: fault.isMendable)
        }
        guard readsContent else { return found }
        // Dangling aliases and broken logs are above already.
        let damage = try store.verify().filter { $0.problem != .dangling && !$0.isOfLog }
        let mendable = try store.mendable(damage)
        // A cached output may always be made again.
        found += damage.map {
            Violation(
                invariant: $0.isCachedOutput ? .outputs : .versions, subject: $0.subject, message: $0.message,
                isRepairable: $0.isCachedOutput || mendable.contains($0))
        }
        return found
    }

    private func publishedVersions() throws -> [Version] {
        let store = ArtifactStore(workspace.artifacts)
        return try ArtifactCollection.allCases.flatMap { try store.list($0, all: true) }
    }

    /// Versions whose attempt the queue knows, and knows to have come to nothing.
    private func producers(_ db: Database, _ versions: [Version]) throws -> [Violation] {
        try versions.compactMap { version in
            let state = try String.fetchOne(
                db, sql: "SELECT state FROM attempt WHERE id = ?", arguments: [version.attemptID])
            guard let state, !["starting", "running", "succeeded"].contains(state) else { return nil }
            return Violation(
                invariant: .versions, subject: version.reference,
                message: "its attempt \(version.attemptID) is \(state)", isRepairable: false)
        }
    }

    /// What gates have decided and the store does not say.
    private func decisions(_ queue: JobQueue, _ db: Database) throws -> [Violation] {
        var found: [Violation] = []
        // A daemon is about to; without one, nobody is.
        if try DaemonLock.holder(of: workspace) == nil {
            found += try queue.openDecisions(db).map {
                Violation(
                    invariant: .aliases, subject: "\($0.name)@\($0.alias)",
                    message: "it was decided about version \($0.version), and the store has not followed",
                    isRepairable: true)
            }
        }
        let store = ArtifactStore(workspace.artifacts)
        for (name, decisions) in Dictionary(grouping: try queue.appliedDecisions(db), by: \.name) {
            for (collection, decisions) in Dictionary(grouping: decisions, by: \.collection) {
                let entries: [LogEntry]
                do {
                    entries = try store.log(of: name, in: collection)
                } catch let error as ArtifactError where [.noSuchArtifact, .damaged].contains(error.code) {
                    // A log that cannot be read is a fault of its history.
                    continue
                }
                let logged = Set(entries.compactMap(\.decision))
                found += decisions.filter { !logged.contains($0.id) }.map {
                    Violation(
                        invariant: .aliases, subject: "\(name)@\($0.alias)",
                        message: "what was decided about version \($0.version) is not in the log any more",
                        isRepairable: false)
                }
            }
        }
        return found
    }

    private func outputs(_ db: Database) throws -> [Violation] {
        let cache = StageCache(workspace.artifacts)
        return try Row.fetchAll(
            db,
            sql: """
                SELECT s.id, s.cache_key, s.output_digest, j.finished_ms
                FROM stage_run AS s JOIN job AS j ON j.id = s.job_id
                WHERE s.state IN ('succeeded','cached')
                """
        ).compactMap { row in
            let id: String = row["id"]
            guard let key: String = row["cache_key"], let digest: String = row["output_digest"] else {
                return Violation(
                    invariant: .outputs, subject: id, message: "it is done and has no output", isRepairable: false)
            }
            let output = try cache.lookup(key)
            let finished: Int64? = row["finished_ms"]
            // One that was collected after its job had ended may have been made again, with another date in it.
            let isRemade =
                finished.map { (output?.metadata.created.timeIntervalSince1970 ?? 0) * 1000 > Double($0) } ?? false
            if let output, output.digest != digest, !isRemade {
                return Violation(
                    invariant: .outputs, subject: id,
                    message: "its output is \(output.digest) now and was \(digest)", isRepairable: true)
            }
            // Of an ended job the cache may forget; of another one the next stage needs it.
            guard output == nil, finished == nil else { return nil }
            return Violation(
                invariant: .outputs, subject: id, message: "its output is gone, and its job is not done",
                isRepairable: false)
        }
    }

    // MARK: Files

    /// Files that were claimed before the daemon that runs now began, and are still not filed.
    private func claims() throws -> [Violation] {
        guard let daemon = try DaemonLock.holder(of: workspace), daemon.intakePaused == nil else { return [] }
        // It finishes what it finds at its start; that may take a while when there is much.
        let limit = min(daemon.startedAt, now.addingTimeInterval(-60))
        return try claimFolders().flatMap { folder in
            try InboxEntry.names(in: folder).compactMap { name in
                var status = stat()
                guard InboxName.claim(in: name) != nil, lstat("\(folder)/\(name)", &status) == 0 else { return nil }
                let claimedAt = Date(timeIntervalSince1970: Double(status.st_ctim.tv_sec))
                guard claimedAt < limit else { return nil }
                return Violation(
                    invariant: .claims, subject: name,
                    message: "it lies in \(folder) since \(claimedAt.formatted(.iso8601)); the daemon's log says why",
                    isRepairable: false)
            }
        }
    }

    /// Compares what was taken with what lies in `claimed`, `accepted` and `rejected`.
    private func files(_ db: Database) throws -> [Violation] {
        var found: [Violation] = []
        func report(_ subject: String, _ message: String, isRepairable: Bool = true) {
            found.append(
                Violation(invariant: .files, subject: subject, message: message, isRepairable: isRepairable))
        }
        var places: [String: [String]] = [:]
        var others: Set<String> = []
        for folder in try claimFolders() + dayFolders(workspace.accepted) + dayFolders(workspace.rejected) {
            for name in try InboxEntry.names(in: folder) {
                guard InboxName(name) == .manifest, let claim = InboxName.claim(in: name),
                    !name.hasSuffix(".receipt.json"), !name.hasSuffix(".error.json")
                else {
                    others.insert("\(folder)/\(name)")
                    continue
                }
                places[claim.id.description, default: []].append("\(folder)/\(name)")
            }
        }
        let rows = try Row.fetchAll(db, sql: "SELECT claim_id, verdict, filed_path FROM intake")
        for row in rows {
            let (id, verdict): (String, String) = (row["claim_id"], row["verdict"])
            let paths = places.removeValue(forKey: id) ?? []
            if paths.count > 1 {
                report(id, "it lies in \(paths.count) places: \(paths.joined(separator: ", "))", isRepairable: false)
            }
            guard let filed: String = row["filed_path"] else { continue }
            let isRejected = verdict == "rejected"
            let home = InboxEntry.path(isRejected ? workspace.rejected : workspace.accepted)
            guard let path = paths.first(where: { $0.hasPrefix(home + "/") }) ?? paths.first else {
                report(id, "\(filed) is gone; the queue has kept its bytes")
                continue
            }
            if !path.hasPrefix(home + "/") { report(id, "it is \(verdict) and lies at \(path)") }
            for ending in isRejected ? [".error.txt", ".error.json"] : [".receipt.json"]
            where !others.contains(path + ending) { report(id, "\(path)\(ending) is missing") }
        }
        for (id, paths) in places {
            // Claimed and not recorded is the way of every file, for a moment.
            for path in paths where !path.hasPrefix(InboxEntry.path(workspace.claimed) + "/") {
                found.append(
                    Violation(
                        invariant: .files, subject: id, message: "the queue knows nothing of \(path)",
                        isRepairable: false, needsRebuild: true))
            }
        }
        return found
    }

    private func claimFolders() throws -> [String] {
        let claimed = InboxEntry.path(workspace.claimed)
        guard InboxEntry.isFolder(claimed) else { return [] }
        return [claimed] + (try folders(in: claimed))
    }

    private func dayFolders(_ url: URL) throws -> [String] {
        let path = InboxEntry.path(url)
        return InboxEntry.isFolder(path) ? try folders(in: path) : []
    }

    private func folders(in path: String) throws -> [String] {
        try InboxEntry.names(in: path).map { "\(path)/\($0)" }.filter(InboxEntry.isFolder)
    }
}

extension Violation.Invariant {
    fileprivate var order: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}
