package import Foundation
package import PipelineSpec

/// Garbage collection. What is needed is what aliases and their histories, pins, the rules of retention and unfinished
/// jobs say; the rest goes to `trash/` first, and from there days later.
extension ArtifactStore {
    var trash: URL { root.appending(path: "trash", directoryHint: .isDirectory) }

    /// What may go now. Nothing is changed.
    ///
    /// Of a name whose log cannot be read all versions stay: nobody can say what its aliases have pointed at. See
    /// ``historyFaults()``.
    package func garbage(
        _ policy: RetentionPolicy, leases: StoreLeases = StoreLeases(), now: Date = Date()
    ) throws -> [Garbage] {
        var found: [Garbage] = []
        for collection in ArtifactCollection.allCases {
            for name in try names(in: collection) where !leases.names.contains(name) {
                do {
                    found += try unneededVersions(of: name, in: collection, policy, now)
                } catch let error as ArtifactError where error.code == .damaged {
                    continue
                }
            }
        }
        found += try StageCache(self).unneeded(policy, leases: leases, now: now)
        found += try unneededBlobs()
        found += try expiredTrash(policy, now)
        return found
    }

    /// Removes one thing that ``garbage(_:leases:now:)`` has found, when that still holds.
    ///
    /// - Parameter throughTrash: Without, it is gone at once.
    /// - Returns: Whether it was removed; not so when somebody uses it by now.
    package func remove(
        _ garbage: Garbage, _ policy: RetentionPolicy, leases: StoreLeases = StoreLeases(), throughTrash: Bool = true,
        now: Date = Date()
    ) throws -> Bool {
        try exclusively {
            let current: [Garbage]
            switch garbage.kind {
            case .version:
                guard let (collection, reference) = Self.versionSubject(garbage.subject) else { return false }
                current = try unneededVersions(of: reference.name, in: collection, policy, now)
            case .cachedOutput: current = try StageCache(self).unneeded(policy, leases: leases, now: now)
            case .blob: current = try unneededBlobs(only: garbage.url)
            case .trash: current = throughTrash ? try expiredTrash(policy, now) : [garbage]
            case .run: return false
            }
            guard current.contains(where: { $0.subject == garbage.subject && $0.kind == garbage.kind }) else {
                return false
            }
            // A blob has lain in the trash with its last version.
            if garbage.kind == .trash || garbage.kind == .blob {
                try FileTree.remove(garbage.url)
                return true
            }
            // Who reads a version, as an export does, holds a lock on its folder.
            let reader = try OpenFile(garbage.url.path, O_RDONLY | O_NOFOLLOW)
            guard try reader.tryLock() else { return false }
            if garbage.kind == .version, let (collection, reference) = Self.versionSubject(garbage.subject),
                case .version(let number) = reference.selector
            {
                // Before it goes: a crash in between leaves a folder that is to go, not a version that was lost.
                try versionLog(of: reference.name, in: collection).append(
                    LogEntry(
                        event: .removed, time: Timestamp.text(now), version: number, reason: garbage.reason))
                try Failpoint.collectLogged.hit()
            }
            try discard(garbage.url, throughTrash: throughTrash, now: now)
            try Failpoint.collectMoved.hit()
            return true
        }
    }

    /// Removes versions that the log says are removed, where a crash came in between.
    ///
    /// The caller holds the lock.
    func finishRemovals(of name: String, in collection: ArtifactCollection, now: Date) throws {
        let entries = try versionLog(of: name, in: collection).entries()
        for number in try numbers(of: name, in: collection) where entries.removal(of: number) != nil {
            try discard(versionFolder(number, of: name, in: collection), throughTrash: true, now: now)
        }
    }

    /// Moves a file or folder of the store to the trash of today, or removes it.
    ///
    /// - Returns: Where it lies now.
    @discardableResult
    func discard(_ url: URL, throughTrash: Bool = true, now: Date = Date()) throws -> URL {
        let parent = url.deletingLastPathComponent()
        let day = trash.appending(path: now.formatted(.iso8601.year().month().day()), directoryHint: .isDirectory)
        try FileTree.makeFolder(day)
        let target = day.appending(path: "\(parent.lastPathComponent)-\(url.lastPathComponent)-\(ULID())")
        // A sealed folder cannot be moved: its `..` would have to be written.
        if let status = try FileTree.status(url), FileTree.isFolder(status) { try FileTree.setMode(0o755, url) }
        try FileTree.rename(url, to: target)
        try OpenFile.syncFolder(day)
        try OpenFile.syncFolder(parent)
        if !throughTrash { try FileTree.remove(target) }
        return target
    }

    // MARK: What is not needed

    private static func versionSubject(_ subject: String) -> (ArtifactCollection, ArtifactReference)? {
        let parts = subject.split(separator: "/", maxSplits: 1)
        guard let last = parts.last, let reference = try? ArtifactReference(String(last)) else { return nil }
        return (parts.count > 1 ? .models : .adapters, reference)
    }

    private func unneededVersions(
        of name: String, in collection: ArtifactCollection, _ policy: RetentionPolicy, _ now: Date
    ) throws -> [Garbage] {
        let entries = try versionLog(of: name, in: collection).entries()
        let aliases = try aliases(of: name, in: collection)
        var needed = Set(aliases.values)
        for alias in Set(aliases.keys).union(entries.compactMap(\.alias)) {
            needed.formUnion(entries.values(of: alias).suffix(policy.aliasHistory + 1).compactMap { $0 })
        }
        let present = try numbers(of: name, in: collection)
        for (alias, current) in aliases {
            let ever = Set(entries.values(of: alias).compactMap { $0 } + [current])
            needed.formUnion(try marks(among: ever.intersection(present), entries, of: name, in: collection))
        }
        let dated = present.compactMap { number -> (number: Int, created: Date)? in
            // Without a record nobody knows what it is; without an entry it is being published.
            guard let entry = entries.publication(of: number), let created = Timestamp.date(entry.time) else {
                return nil
            }
            return (number, created)
        }
        needed.formUnion(policy.kept(dated))
        return try dated.compactMap { version in
            guard !needed.contains(version.number), entries.pin(of: version.number) == nil,
                now.timeIntervalSince(version.created) > policy.graceSeconds
            else { return nil }
            let url = versionFolder(version.number, of: name, in: collection)
            let prefix = collection == .adapters ? "" : "\(collection.rawValue)/"
            return Garbage(
                kind: .version, subject: "\(prefix)\(name):\(version.number)", url: url,
                bytes: try FileTree.bytes(below: url, sharedWith: 2),
                reason: "older than what retention keeps, and no alias or pin holds it")
        }
    }

    /// The versions of which one is the best that an alias ever pointed at, on each set: the newest that still counts, and
    /// those that its record names as the best before it. What was rejected since is passed over, and so is a record that
    /// names it.
    private func marks(
        among promoted: Set<Int>, _ entries: [LogEntry], of name: String, in collection: ArtifactCollection
    ) throws -> Set<Int> {
        let counting = promoted.filter { entries.rejection(of: $0) == nil && entries.damage(of: $0) == nil }
        var marks: Set<Int> = []
        for number in counting.sorted(by: >) {
            marks.insert(number)
            guard
                case .array(let sets)? = try readableRecord(number, of: name, in: collection)?.all["evaluation"]?[
                    "sets"]
            else { continue }
            let named = Set(sets.compactMap { $0["strongest"]?.int })
            marks.formUnion(named.intersection(counting))
            // One that is gone for good is not waited for.
            if named.intersection(promoted).isSubset(of: counting) { break }
        }
        return marks
    }

    /// Blobs whose only name is their own. What is being published has a second one.
    private func unneededBlobs(only: URL? = nil) throws -> [Garbage] {
        try (only.map { [$0] } ?? FileTree.names(in: blobs).map { blobs.appending(path: $0) }).compactMap { url in
            guard let status = try FileTree.status(url), FileTree.isRegular(status), status.st_nlink == 1 else {
                return nil
            }
            return Garbage(
                kind: .blob, subject: "sha256:\(url.lastPathComponent)", title: "files of versions that are gone",
                url: url, bytes: Int64(status.st_size),
                reason: "no version has it any more")
        }
    }

    private func expiredTrash(_ policy: RetentionPolicy, _ now: Date) throws -> [Garbage] {
        try FileTree.names(in: trash).flatMap { name -> [Garbage] in
            let url = trash.appending(path: name, directoryHint: .isDirectory)
            // Days; anything else was put there by an older program or by a person, and goes by its own age.
            let isDay = (try? Date(name, strategy: .iso8601.year().month().day())) != nil
            let entries = try isDay ? FileTree.names(in: url).map { url.appending(path: $0) } : [url]
            return try entries.compactMap { entry in
                guard let status = try FileTree.status(entry),
                    now.timeIntervalSince1970 - Double(status.st_ctim.tv_sec) > policy.trashSeconds
                else { return nil }
                return Garbage(
                    kind: .trash, subject: entry.pathComponents.suffix(isDay ? 3 : 2).joined(separator: "/"),
                    title: isDay ? "trash of \(name)" : "trash/\(name)", url: entry,
                    bytes: try FileTree.bytes(below: entry, sharedWith: 1),
                    reason: "it was collected more than \(Int(policy.trashSeconds / 86_400)) days ago")
            }
        }
    }
}
