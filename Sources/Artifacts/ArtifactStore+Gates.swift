import Foundation
package import PipelineSpec

/// What gates need of the store: the versions that a new one is measured against, and that it follows what was decided.
extension ArtifactStore {
    /// The version an alias points at, and all that it has ever pointed at and that may still be used.
    package func rivals(
        of name: String, alias: String, in collection: ArtifactCollection = .adapters
    ) throws -> PinnedRivals {
        let folder = folder(of: name, in: collection)
        guard ArtifactNaming.isArtifact(name), try FileTree.status(folder) != nil else {
            return PinnedRivals(alias: alias, champion: nil, promoted: [])
        }
        let numbers = Set(try numbers(of: name, in: collection))
        let entries = try versionLog(of: name, in: collection).entries()
        func pinned(_ number: Int) throws -> PinnedVersion? {
            guard numbers.contains(number), let entry = entries.publication(of: number), let digest = entry.digest
            else {
                return nil
            }
            let url = versionFolder(number, of: name, in: collection)
            return PinnedVersion(number: number, digest: digest, path: url.path(percentEncoded: false))
        }
        let current = try aliases(of: name, in: collection)[alias]
        let ever = Set(entries.values(of: alias).compactMap { $0 } + (current.map { [$0] } ?? []))
        let usable = ever.sorted(by: >).filter { entries.rejection(of: $0) == nil && entries.damage(of: $0) == nil }
        return PinnedRivals(
            alias: alias, champion: try current.flatMap(pinned),
            promoted: try usable.compactMap(pinned))
    }

    /// Why a version may not be promoted by a gate: it was rejected, or its content is that of one that was.
    package func rejection(of version: Version) throws -> String? {
        let entries = try versionLog(of: version.name, in: version.collection).entries()
        for entry in entries {
            guard entry.event == .published, entry.digest == version.digest, let number = entry.version,
                let rejection = entries.rejection(of: number)
            else { continue }
            let subject = number == version.number ? "it" : "its content is that of \(version.name):\(number), which"
            return "\(subject) was rejected\(rejection.reason.map { ": \($0)" } ?? "")"
        }
        return nil
    }

    /// Whether a version that a gate has held is still to be promoted or rejected by somebody.
    package func awaitsApproval(_ decision: GateDecision) throws -> Bool {
        let (name, collection, version) = (decision.name, decision.collection, decision.version)
        guard try FileTree.status(folder(of: name, in: collection)) != nil,
            try numbers(of: name, in: collection).contains(version),
            // What is newer in production was compared with more than this one.
            try aliases(of: name, in: collection)[decision.alias] ?? 0 < version
        else { return false }
        let entries = try versionLog(of: name, in: collection).readableEntries()
        return entries.rejection(of: version) == nil && !entries.values(of: decision.alias).contains(version)
    }

    /// Does what was decided: moves the alias, and writes the log. Done again, it changes nothing.
    ///
    /// - Throws: `noSuchArtifact` when all of the name has gone; what writing throws.
    package func follow(_ decision: GateDecision) throws -> GateDecision.Settlement {
        let scratch = try ScratchFolder(in: temporary)
        return try exclusively {
            let (name, collection) = (decision.name, decision.collection)
            let numbers = try existingNumbers(of: name, in: collection)
            try completeInterrupted(name, in: collection)
            let log = versionLog(of: name, in: collection)
            let entries = try log.entries()
            if entries.contains(where: { $0.decision == decision.id }) { return .applied }
            func note(_ event: LogEntry.Event, previous: Int? = nil) throws {
                try log.append(
                    LogEntry(
                        event: event, time: Timestamp.text(decision.time), version: decision.version,
                        alias: decision.alias, previous: previous, reason: decision.reason, decision: decision.id,
                        gate: decision.cause == .gate ? decision.outcome : nil))
            }
            guard decision.moves else {
                try note(.gated)
                return .applied
            }
            let current = try aliases(of: name, in: collection)[decision.alias]
            let logged = entries.values(of: decision.alias).last ?? nil
            if current != decision.version || logged == decision.version {
                // Where the alias is where it should be and the log says so, somebody else was faster.
                guard current == decision.from, current != decision.version, numbers.contains(decision.version),
                    entries.damage(of: decision.version) == nil
                else { return .superseded }
                let home = folder(of: name, in: collection)
                let made = scratch.url.appending(path: decision.alias)
                guard symlink("\(decision.version)", made.path) == 0 else {
                    throw ArtifactError.system("make the link", made.path, errno)
                }
                try Failpoint.aliasMade.hit()
                try FileTree.rename(made, to: home.appending(path: decision.alias))
                try OpenFile.syncFolder(scratch.url)
                try OpenFile.syncFolder(home)
                try Failpoint.aliasRenamed.hit()
            }
            try note(.aliasMoved, previous: decision.from)
            try Failpoint.aliasLogged.hit()
            return .applied
        }
    }
}
