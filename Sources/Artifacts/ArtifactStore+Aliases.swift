package import Foundation
import PipelineSpec

extension ArtifactStore {
    /// Points an alias at a version, and logs the move with its reason.
    ///
    /// A move to where the alias already points changes nothing.
    ///
    /// The version is read and compared with its digests first, so that an alias never points at damaged content.
    ///
    /// - Returns: what the alias pointed at before, or `nil` when it is new.
    /// - Throws: `invalidName`; `noSuchArtifact`, `noSuchVersion` or `noSuchAlias` from resolving; `damaged`.
    @discardableResult
    package func setAlias(
        _ alias: String, to reference: ArtifactReference, in collection: ArtifactCollection = .adapters,
        reason: String, now: Date = Date()
    ) throws -> Int? {
        try ArtifactNaming.checkAlias(alias)
        let version = try resolve(reference, in: collection)
        try check(version, for: alias)
        let scratch = try ScratchFolder(in: temporary)
        let made = scratch.url.appending(path: alias)
        guard symlink("\(version.number)", made.path) == 0 else {
            throw ArtifactError.system("make the link", made.path, errno)
        }
        try Failpoint.aliasMade.hit()
        return try exclusively {
            // It may have been removed while it was read.
            guard try numbers(of: version.name, in: collection).contains(version.number) else {
                throw ArtifactError(
                    .noSuchVersion, "\(version.reference) was removed just now; \(alias) stays as it is")
            }
            try completeInterrupted(version.name, in: collection)
            try logUnloggedMoves(of: version.name, in: collection, except: alias, now: now)
            let home = folder(of: version.name, in: collection)
            let log = versionLog(of: version.name, in: collection)
            let current = try aliases(of: version.name, in: collection)[alias]
            let logged = try log.entries().values(of: alias).last ?? nil
            if current != version.number {
                if current != logged {
                    // Someone moved it by hand: that goes into the history before it is moved on.
                    try logUnloggedMoves(of: version.name, in: collection, except: nil, now: now)
                }
                try FileTree.rename(made, to: home.appending(path: alias))
                try OpenFile.syncFolder(scratch.url)
                try OpenFile.syncFolder(home)
                try Failpoint.aliasRenamed.hit()
            } else if logged == current {
                return current
            }
            // Where the last writer died between moving and logging, this is the entry it still owes.
            let previous = current == version.number ? logged : current
            try log.append(
                LogEntry(
                    event: .aliasMoved, time: Timestamp.text(now), version: version.number, alias: alias,
                    previous: previous, reason: reason))
            try Failpoint.aliasLogged.hit()
            return previous
        }
    }

    /// Reads a version before an alias points at it.
    func check(_ version: Version, for alias: String) throws {
        guard let damage = try verify(version).first else { return }
        throw ArtifactError(
            .damaged, "\(alias) stays where it is, because \(version.reference) is damaged: \(damage.message)",
            path: damage.path)
    }

    /// Removes an alias, and logs that with its reason.
    ///
    /// - Throws: `noSuchAlias`, saying which there are.
    package func removeAlias(
        _ alias: String, of name: String, in collection: ArtifactCollection = .adapters, reason: String,
        now: Date = Date()
    ) throws {
        try ArtifactNaming.checkAlias(alias)
        try exclusively {
            _ = try existingNumbers(of: name, in: collection)
            let aliases = try aliases(of: name, in: collection)
            guard let current = aliases[alias] else {
                let others = (aliases.keys + [ArtifactReference.latest]).sorted().joined(separator: ", ")
                throw ArtifactError(.noSuchAlias, "\(name) has no alias \"\(alias)\"; it has \(others)")
            }
            try logUnloggedMoves(of: name, in: collection, except: nil, now: now)
            let home = folder(of: name, in: collection)
            try FileTree.remove(home.appending(path: alias))
            try OpenFile.syncFolder(home)
            try versionLog(of: name, in: collection).append(
                LogEntry(
                    event: .aliasMoved, time: Timestamp.text(now), version: nil, alias: alias, previous: current,
                    reason: reason))
        }
    }

    /// Brings the log up to the symlinks, which are the truth, where a writer died before it logged its move.
    func logUnloggedMoves(
        of name: String, in collection: ArtifactCollection, except: String?, now: Date
    ) throws {
        let log = versionLog(of: name, in: collection)
        let entries = try log.entries()
        let current = try aliases(of: name, in: collection)
        let names = Set(current.keys).union(entries.compactMap(\.alias))
        for alias in names.sorted() where alias != except {
            let logged = entries.values(of: alias).last ?? nil
            guard current[alias] != logged else { continue }
            try log.append(
                LogEntry(
                    event: .aliasMoved, time: Timestamp.text(now), version: current[alias], alias: alias,
                    previous: logged, reason: "found on disk; the move itself was not logged"))
        }
    }
}
