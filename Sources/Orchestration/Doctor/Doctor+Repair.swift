import Artifacts
import CLinux
import Foundation
import Glibc
import PipelineSpec

extension Doctor {
    /// Repairs what loses nothing: files what was taken and not filed, writes lost receipts and reports again, brings
    /// the store's logs up to its folders, puts cached outputs that do not verify into the trash, and removes what
    /// interrupted writers left.
    ///
    /// - Parameter announce: Called with each repair before it is made.
    /// - Returns: How many repairs were made.
    /// - Throws: `busy` while a daemon runs, which does most of this by itself; `damagedDatabase` when the queue must
    ///   be rebuilt first.
    package func repair(announce: (String) throws -> Void) throws -> Int {
        let lock = try DaemonLock(workspace)
        defer { withExtendedLifetime(lock) {} }
        try lock.write(
            DaemonLock.Note(pid: getpid(), startedAt: now, intakePaused: "it is repaired", isWatching: false))
        var count = 0
        func make(_ what: String, _ body: () throws -> Void) throws {
            try announce(what)
            try body()
            count += 1
        }
        try workspace.create()
        try LostQueue.check(workspace)
        let hasQueue = access(workspace.database.path, F_OK) == 0
        if hasQueue, let problem = try QueueHealth(workspace).problems().first {
            throw OrchestrationError.damaged(workspace.database.path, problem)
        }
        let store = ArtifactStore(workspace.artifacts)
        // First, since whoever files or follows reads the logs.
        let unreadable = try store.historyFaults().filter { $0.kind == .unreadable }
        if !unreadable.isEmpty {
            let known = try hasQueue ? storeEvents() : []
            try make(
                "write the store's log anew, and keep it as it was in Artifacts/quarantine: "
                    + unreadable.map(\.description).joined(separator: "; ")
                    + "; what people have said there (rejections, pins) is to be said again"
            ) { try store.mendHistory(knowing: known, now: now) }
        }
        let claimed = try claimedFiles()
        if hasQueue || !claimed.isEmpty {
            let queue = try JobQueue.open(workspace).taken(by: getpid(), cores: configuration.cores)
            var inbox = Inbox(configuration, queue)
            let unfiled = try queue.unfiledIntake()
            if !claimed.isEmpty || !unfiled.isEmpty {
                try make("finish \(max(claimed.count, unfiled.count)) claimed files") { try inbox.finishBegun() }
            }
            let violations = try Invariants(workspace, readsContent: false).violations().filter(\.isRepairable)
            if violations.contains(where: { $0.invariant == .order }) {
                try make("count anew which jobs wait for what, and which goes next") { try queue.recount() }
            }
            let lost = violations.filter { $0.invariant == .files }.map(\.subject)
            for record in try queue.intakeRecords(Set(lost).sorted()) {
                try make("file \(record.claimID)__\(record.originalName) again, with its receipt or report") {
                    try inbox.refile(record)
                }
            }
            let open = try queue.openDecisions()
            if !open.isEmpty {
                let words = open.map { "\($0.alias) of \($0.name)" }.joined(separator: ", ")
                try make("let the store follow what was decided: \(words)") {
                    _ = try GateDecisions.follow(queue, store)
                }
            }
            try queue.close()
        }
        let faults = try store.historyFaults().filter(\.isMendedByNextWrite)
        if !faults.isEmpty {
            try make("write into the log: \(faults.map(\.description).joined(separator: "; "))") {
                try store.mendHistory()
            }
        }
        let cache = StageCache(workspace.artifacts)
        if readsContent {
            let mendable = try store.mendable(store.verify())
            if !mendable.isEmpty {
                let subjects = Set(mendable.map(\.subject)).sorted().joined(separator: ", ")
                try make("put whole copies in the place of damaged files of \(subjects)") { try store.mend(mendable) }
            }
        }
        if readsContent, try !isAnyWorkerAlive() {
            for key in Set(try cache.verify().map(\.subject)).sorted() {
                try make(
                    "move the damaged cached output \(key) to Artifacts/trash; its stage runs again when it is wanted"
                ) {
                    try cache.discard(key)
                }
            }
        }
        for path in try staleTemporaries() {
            try make("remove \(workspace.relativePath(URL(filePath: path))), which an interrupted writer left") {
                guard unlink(path) == 0 || errno == ENOENT else {
                    throw OrchestrationError(system: "remove", path, errno)
                }
            }
        }
        let scratch = InboxEntry.path(workspace.artifacts) + "/tmp"
        if InboxEntry.isFolder(scratch), try !InboxEntry.names(in: scratch).isEmpty {
            try make("remove from Artifacts/tmp what no process works in") { try store.sweepTemporary() }
        }
        return count
    }

    private func storeEvents() throws -> [KnownEvent] {
        let queue = try JobQueue.openReadOnly(workspace.database)
        defer { try? queue.close() }
        return try queue.storeEvents()
    }

    /// A stage may be reading a cached output at this moment.
    private func isAnyWorkerAlive() throws -> Bool {
        try RecoveredFiles.folders(in: InboxEntry.path(workspace.runs)).contains { job in
            try RecoveredFiles.folders(in: job).contains {
                try WorkerProcess.isLockHeld(RunDirectory(URL(filePath: $0, directoryHint: .isDirectory)))
            }
        }
    }
}

extension Inbox {
    /// Files a recorded manifest anew, from where it lies or from the bytes the queue has kept.
    fileprivate mutating func refile(_ record: JobQueue.IntakeRecord) throws {
        let name = "\(record.claimID)__\(record.originalName)"
        let claimed = claimedFolder(record.tenant)
        guard mkdir(claimed, 0o700) == 0 || errno == EEXIST else {
            throw OrchestrationError(system: "make the folder", claimed, errno)
        }
        for path in try filedPlaces(of: name) {
            guard clinux_rename_noreplace(path, "\(claimed)/\(name)") == 0 else {
                throw OrchestrationError(system: "take back", path, errno)
            }
            try AtomicFile.syncFolder(claimed)
        }
        try file([record])
    }

    private func filedPlaces(of name: String) throws -> [String] {
        try [workspace.accepted, workspace.rejected].flatMap { try RecoveredFiles.folders(in: InboxEntry.path($0)) }
            .map { "\($0)/\(name)" }
            .filter {
                var status = stat()
                return lstat($0, &status) == 0
            }
    }
}
