package import Foundation

/// What people say of a version: that it must not be promoted, or must be kept.
extension ArtifactStore {
    /// Keeps a version from ever being promoted by a gate, or lets it be again.
    ///
    /// - Returns: Whether that was not so before.
    /// - Throws: As ``resolve(_:in:)``; `inUse` when production, or another alias, points at it.
    @discardableResult
    package func setRejected(
        _ isRejected: Bool, _ reference: ArtifactReference, in collection: ArtifactCollection = .adapters,
        reason: String, now: Date = Date()
    ) throws -> Bool {
        let version = try resolve(reference, in: collection)
        return try exclusively {
            if isRejected,
                let alias = try aliases(of: version.name, in: collection).first(where: { $0.value == version.number })
            {
                throw ArtifactError(
                    .inUse,
                    "\(alias.key) of \(version.name) is version \(version.number); move it first: "
                        + "lorajobs adapters rollback \(version.name) --alias \(alias.key) --reason TEXT")
            }
            let log = versionLog(of: version.name, in: collection)
            if try (log.entries().rejection(of: version.number) != nil) == isRejected { return false }
            try log.append(
                LogEntry(
                    event: isRejected ? .rejected : .accepted, time: Timestamp.text(now), version: version.number,
                    reason: reason))
            return true
        }
    }

    /// Lets `gc` keep a version whatever its age, or not any more.
    ///
    /// - Returns: Whether that was not so before.
    /// - Throws: As ``resolve(_:in:)``.
    @discardableResult
    package func setPinned(
        _ isPinned: Bool, _ reference: ArtifactReference, in collection: ArtifactCollection = .adapters,
        reason: String, now: Date = Date()
    ) throws -> Bool {
        let version = try resolve(reference, in: collection)
        return try exclusively {
            let log = versionLog(of: version.name, in: collection)
            if try (log.entries().pin(of: version.number) != nil) == isPinned { return false }
            try log.append(
                LogEntry(
                    event: isPinned ? .pinned : .unpinned, time: Timestamp.text(now), version: version.number,
                    reason: reason))
            return true
        }
    }

    /// Points an alias at a version that may be promoted.
    ///
    /// - Returns: The version, and what the alias pointed at before.
    /// - Throws: `rejected`; as ``setAlias(_:to:in:reason:now:)``.
    package func promote(
        _ reference: ArtifactReference, alias: String = ArtifactReference.production,
        in collection: ArtifactCollection = .adapters, reason: String, now: Date = Date()
    ) throws -> (version: Version, before: Int?) {
        let version = try promotable(reference, in: collection)
        let exact = ArtifactReference(name: version.name, selector: .version(version.number))
        let before = try setAlias(alias, to: exact, in: collection, reason: reason, now: now)
        return (try resolve(exact, in: collection), before)
    }

    /// Points an alias back at what it pointed at before, past versions that are rejected, damaged or gone.
    ///
    /// - Parameter number: Another version than the one before.
    /// - Returns: The version it points at now, and the one it left.
    /// - Throws: `noSuchAlias` when it never pointed anywhere else; `damaged`; as ``resolve(_:in:)``.
    package func rollBack(
        _ name: String, alias: String = ArtifactReference.production, to number: Int? = nil,
        in collection: ArtifactCollection = .adapters, reason: String, now: Date = Date()
    ) throws -> (now: Version, before: Int?) {
        let target = try number ?? earlierValue(of: alias, of: name, in: collection)
        let reference = ArtifactReference(name: name, selector: .version(target))
        let before = try setAlias(alias, to: reference, in: collection, reason: reason, now: now)
        return (try resolve(reference, in: collection), before)
    }

    /// What ``promote(_:alias:in:reason:now:)`` comes to, as a decision for ``follow(_:)`` that can be written down
    /// before.
    ///
    /// - Returns: The version, and the decision; it moves nothing where the alias is at that version already.
    /// - Throws: As ``promote(_:alias:in:reason:now:)``.
    package func decidePromotion(
        _ reference: ArtifactReference, alias: String, in collection: ArtifactCollection = .adapters, reason: String,
        id: String, now: Date = Date()
    ) throws -> (version: Version, decision: GateDecision) {
        let version = try promotable(reference, in: collection)
        return (version, try decision(.hand, alias, at: version, reason, id, now))
    }

    /// The same of ``rollBack(_:alias:to:in:reason:now:)``.
    package func decideRollBack(
        _ name: String, alias: String, to number: Int?, in collection: ArtifactCollection = .adapters, reason: String,
        id: String, now: Date = Date()
    ) throws -> (version: Version, decision: GateDecision) {
        let target = try number ?? earlierValue(of: alias, of: name, in: collection)
        let version = try resolve(ArtifactReference(name: name, selector: .version(target)), in: collection)
        return (version, try decision(.rollback, alias, at: version, reason, id, now))
    }

    private func decision(
        _ cause: GateDecision.Cause, _ alias: String, at version: Version, _ reason: String, _ id: String, _ now: Date
    ) throws -> GateDecision {
        try ArtifactNaming.checkAlias(alias)
        try check(version, for: alias)
        let from = try exclusively {
            try completeInterrupted(version.name, in: version.collection)
            // Where a link was made by hand, that is history before it is moved on.
            try logUnloggedMoves(of: version.name, in: version.collection, except: nil, now: now)
            return try aliases(of: version.name, in: version.collection)[alias]
        }
        return GateDecision(
            id: id, collection: version.collection, name: version.name, alias: alias, version: version.number,
            digest: version.digest, moves: from != version.number, from: from, outcome: "passed", cause: cause,
            reason: reason, time: now)
    }

    /// A version that nobody has rejected.
    private func promotable(_ reference: ArtifactReference, in collection: ArtifactCollection) throws -> Version {
        let version = try resolve(reference, in: collection)
        if let entry = try versionLog(of: version.name, in: collection).entries().rejection(of: version.number) {
            throw ArtifactError(
                .rejected,
                "\(version.reference) was rejected at \(entry.time): \(entry.reason ?? ""); take that back with: "
                    + "lorajobs adapters reject \(version.reference) --undo")
        }
        return version
    }

    /// The version an alias pointed at before the present one, and that may still be used.
    private func earlierValue(of alias: String, of name: String, in collection: ArtifactCollection) throws -> Int {
        try ArtifactNaming.checkAlias(alias)
        let numbers = Set(try existingNumbers(of: name, in: collection))
        guard let current = try aliases(of: name, in: collection)[alias] else {
            let others = (try aliases(of: name, in: collection).keys + [ArtifactReference.latest]).sorted()
            throw ArtifactError(
                .noSuchAlias, "\(name) has no alias \"\(alias)\"; it has \(others.joined(separator: ", "))")
        }
        let entries = try versionLog(of: name, in: collection).entries()
        var values = entries.values(of: alias)
        // A move that its writer did not live to log.
        if values.last ?? nil != current { values.append(current) }
        // A roll back is a move too: what was rolled back from is no place to go back to.
        var history: [Int] = []
        for case let value? in values {
            if let index = history.lastIndex(of: value) {
                history.removeSubrange((index + 1)...)
            } else {
                history.append(value)
            }
        }
        for value in history.dropLast().reversed()
        where numbers.contains(value) && entries.rejection(of: value) == nil && entries.damage(of: value) == nil {
            return value
        }
        throw ArtifactError(
            .noSuchAlias,
            "\(alias) of \(name) has pointed at nothing usable before version \(current); say where to: --to N")
    }
}
