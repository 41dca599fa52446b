import Artifacts
import CLinux
import Foundation
import Glibc
import Logging
import PipelineSpec

/// Takes manifests out of the inbox: claim, record, file, each step repeatable after a crash.
///
/// The folder listing is the truth; events only say which files were renamed in, and are therefore whole. What is
/// complete is taken in batches, so that many files share the commits and the flushes that make each durable, and so
/// that the daemon gets to its other work between two of them.
struct Inbox {
    /// A complete file, as it was when it was looked at.
    struct Candidate {
        var folder: String
        var tenant: String
        var name: String
        var identity: FileIdentity
        /// The id its name carries, where that is still free.
        var claim: ULID?

        var path: String { "\(folder)/\(name)" }
    }

    private struct Sighting {
        var identity: FileIdentity
        /// On `CLOCK_BOOTTIME`.
        var since: Double
        /// Whether an event said that it was renamed in.
        var isMovedIn = false
        /// What its end lacks, as far as can be told; `nil` until it was looked at.
        var end: FileEnd?
    }

    let configuration: OrchestrationConfiguration
    let queue: JobQueue
    /// Files and claims that could not be dealt with, and when they may be tried again on `CLOCK_BOOTTIME`.
    var setbacks: [String: Double] = [:]
    private var sightings: [String: Sighting] = [:]
    /// Files and claims that the log has spoken of.
    private var complaints: Set<String> = []
    /// Complete files that no batch had room for yet, the next one last.
    private var ready: [Candidate] = []
    private var listedAt = 0.0
    private var movedIn: Set<String> = []
    /// Folders whose names are known to be durable.
    private var madeFolders: Set<String> = []
    /// Why nothing is taken at the moment.
    private(set) var pausedReason: String?

    var workspace: Workspace { configuration.workspace }

    init(_ configuration: OrchestrationConfiguration, _ queue: JobQueue) {
        self.configuration = configuration
        self.queue = queue
    }

    /// Finishes what was begun, then takes one batch of the files that are complete.
    ///
    /// - Parameter movedIn: Paths of files known to have been renamed into a folder of the inbox.
    /// - Returns: In how many seconds there may be something to take, without any event; 0 when there is now.
    mutating func scan(movedIn: Set<String>) throws -> Double? {
        self.movedIn.formUnion(movedIn)
        let free = configuration.freeBytes(workspace.jobs)
        if free < configuration.diskFloor {
            pausedReason = "disk full: \(free >> 20) MiB free, \(configuration.diskFloor >> 20) MiB needed"
            return nil
        }
        do {
            let now = clinux_boottime()
            setbacks = setbacks.filter { $0.value > now }
            // What an earlier scan, or an earlier daemon, had begun.
            let begun = try begunClaims()
            let limit = configuration.intakeBatch
            try record(begun.prefix(limit))
            try fileRecorded()
            var next: Double?
            if ready.isEmpty || now - listedAt >= 2 { next = try look(now, reserved: Set(begun.map(\.id))) }
            if !ready.isEmpty {
                try record(try claim(nextBatch())[...])
                try fileRecorded()
            }
            pausedReason = nil
            if !ready.isEmpty || begun.count > limit { return 0 }
            return setbacks.values.reduce(next) { min($0 ?? .infinity, max(0.01, $1 - now)) }
        } catch  where OrchestrationError.isDiskFull(error) {
            pausedReason = "disk full: \(error)"
            return nil
        }
    }

    /// Postpones one file that cannot be dealt with: it does not stop the others.
    ///
    /// - Throws: The error itself, when it concerns all files.
    mutating func setBack(_ key: String, _ path: String, _ error: any Error) throws {
        if OrchestrationError.isDiskFull(error) || OrchestrationError.endsDaemon(error) { throw error }
        let code = (error as? OrchestrationError)?.code
        if code != .changed { complain(key, "cannot take a file", path, "\(error)") }
        setbacks[key] = clinux_boottime() + (code == .changed ? configuration.settle : configuration.setback)
    }

    /// Postpones all files of a step that they share.
    mutating func setBack(_ files: [(key: String, path: String)], _ error: any Error) throws {
        for file in files { try setBack(file.key, file.path, error) }
    }

    /// Makes a folder inside another where there is none, and makes that durable.
    mutating func make(_ folder: String, in parent: String, mode: mode_t) throws {
        if mkdir(folder, mode) == 0 {
            madeFolders.remove(folder)
        } else if errno != EEXIST {
            throw OrchestrationError(system: "make the folder", folder, errno)
        }
        // One that is there already may have been made by a process that died before it could sync it.
        if madeFolders.contains(folder) { return }
        try AtomicFile.syncFolder(parent)
        madeFolders.insert(folder)
    }

    /// Says something of a file, once.
    private mutating func complain(_ key: String, _ message: Logger.Message, _ path: String, _ reason: String) {
        if complaints.count > 10_000 { complaints = [] }
        guard complaints.insert(key).inserted else { return }
        configuration.logger.warning(message, metadata: ["file": "\(path)", "reason": "\(reason)"])
    }

    /// Files for one batch: so many, and not much more than so many bytes.
    private mutating func nextBatch() -> [Candidate] {
        var batch: [Candidate] = []
        var bytes = 0
        while batch.count < configuration.intakeBatch, bytes < Self.batchBytes, let next = ready.popLast() {
            batch.append(next)
            bytes += min(next.identity.size, configuration.maximumManifestBytes)
        }
        return batch
    }

    /// How much content a batch may hold in memory.
    static let batchBytes = 16 << 20

    // MARK: Looking

    /// Lists the folders and sorts out what is complete.
    ///
    /// - Returns: In how many seconds a file that is being written may be complete; `nil` when none is.
    private mutating func look(_ now: Double, reserved: Set<String>) throws -> Double? {
        var next: Double?
        var present: Set<String> = []
        var seen: [Candidate] = []
        for folder in try InboxEntry.folders(workspace) {
            let names: [String]
            do {
                names = try InboxEntry.names(in: folder.path)
            } catch {
                if folder.tenant == InboxEntry.defaultTenant { throw error }
                // One tenant's folder does not close the others'.
                present.insert(folder.path)
                try setBack(folder.path, folder.path, error)
                setbacks[folder.path] = nil
                continue
            }
            for name in names {
                let kind = InboxName(name)
                let path = "\(folder.path)/\(name)"
                if kind == .ignored { continue }
                var status = stat()
                guard lstat(path, &status) == 0 else { continue }
                present.insert(path)
                let identity = FileIdentity(status)
                if folder.tenant == InboxEntry.defaultTenant, identity.isFolder, InboxEntry.isTenant(name) { continue }
                if sightings[path]?.identity != identity {
                    sightings[path] = Sighting(identity: identity, since: now)
                    setbacks[path] = nil
                }
                guard kind == .manifest, !identity.isFolder else {
                    warn(path, now, InboxEntry.reason(kind, isFolder: identity.isFolder))
                    continue
                }
                let claim = InboxName.claim(in: name)?.id
                seen.append(
                    Candidate(folder: folder.path, tenant: folder.tenant, name: name, identity: identity, claim: claim))
            }
        }
        try recognizeSubmitted(&seen, reserved)
        ready = []
        for candidate in seen where setbacks[candidate.path] == nil {
            let wait = completeness(candidate, now)
            if let wait {
                next = min(next ?? .infinity, wait)
            } else {
                ready.append(candidate)
            }
        }
        ready = Self.inTurns(ready).reversed()
        movedIn = []
        sightings = sightings.filter { present.contains($0.key) || setbacks[$0.key] != nil }
        listedAt = now
        return next == .infinity ? nil : next
    }

    /// Tells the files that `submit` has named from copies of those that it had named before.
    ///
    /// The first are whole, since `submit` renames, and keep their id; the others are drops like any.
    private func recognizeSubmitted(_ candidates: inout [Candidate], _ reserved: Set<String>) throws {
        var taken = reserved.union(try queue.recorded(among: candidates.compactMap { $0.claim?.description }))
        for index in candidates.indices {
            guard let claim = candidates[index].claim else { continue }
            if !taken.insert(claim.description).inserted { candidates[index].claim = nil }
        }
    }

    /// In how many seconds to look at a file again; `nil` when it is complete, infinity when only a change can help.
    private mutating func completeness(_ candidate: Candidate, _ now: Double) -> Double? {
        guard var sighting = sightings[candidate.path] else { return 0 }
        if movedIn.contains(candidate.path) {
            sighting.isMovedIn = true
            sightings[candidate.path] = sighting
        }
        if candidate.claim != nil || sighting.isMovedIn, candidate.identity.links == 1 { return nil }
        let age = now - sighting.since
        if age < configuration.settle { return configuration.settle - age }
        if sighting.end == nil {
            sighting.end = FileEnd(of: candidate.path, configuration)
            sightings[candidate.path] = sighting
        }
        switch sighting.end ?? .whole {
        case .whole: return nil
        case .unmarked:
            // Its writer may have died: taking it could run half of it, so it stays until it changes.
            warn(candidate.path, now, "its last line is not \"...\", which inbox.require_end_marker asks for")
            return .infinity
        case .cutOff:
            let patience = max(configuration.settle * FileEnd.patience, configuration.truncationPatience)
            return age < patience ? patience - age : nil
        }
    }

    /// Says once that a file has been lying there for an hour and why.
    private mutating func warn(_ path: String, _ now: Double, _ reason: String?) {
        guard let reason, let sighting = sightings[path], now - sighting.since >= configuration.warnAfter else {
            return
        }
        complain(path, "a file in the inbox is not taken", path, reason)
    }

    /// The first of each tenant, then the second of each, and so on.
    ///
    /// One tenant's thousands do not keep another waiting.
    private static func inTurns(_ candidates: [Candidate]) -> [Candidate] {
        var turn: [String: Int] = [:]
        let ranked = candidates.enumerated().map { index, candidate in
            defer { turn[candidate.tenant, default: 0] += 1 }
            return (rank: turn[candidate.tenant, default: 0], index: index, candidate: candidate)
        }
        if turn.count < 2 { return candidates }
        return ranked.sorted { ($0.rank, $0.index) < ($1.rank, $1.index) }.map(\.candidate)
    }
}
