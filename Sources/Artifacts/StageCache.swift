package import Foundation
package import PipelineSpec

/// Outputs of stages by cache key, under `Artifacts/cache/`: what was computed once is not computed again.
package struct StageCache: Sendable {
    private let store: ArtifactStore

    /// The cache of the store at `root`.
    package init(_ root: URL) {
        self.store = ArtifactStore(root)
    }

    init(_ store: ArtifactStore) {
        self.store = store
    }

    /// What is remembered of the run that made an output.
    package struct Metadata: Codable, Sendable, Equatable {
        /// The kind of stage (`uses`).
        package var kind: String
        package var created: Date
        package var attemptID: String
        /// As in the stage's result.
        package var metrics: [String: Double]
        /// What the run published.
        package var published: [PublishedVersion]
        /// What the run took; `nil` in what an earlier program kept.
        package var cost: StageCost?

        package init(
            kind: String, created: Date, attemptID: String, metrics: [String: Double] = [:],
            published: [PublishedVersion] = [], cost: StageCost? = nil
        ) {
            self.kind = kind
            self.created = created
            self.attemptID = attemptID
            self.metrics = metrics
            self.published = published
            self.cost = cost
        }
    }

    /// A version, as a cache entry remembers it.
    package struct PublishedVersion: Codable, Sendable, Equatable {
        package var collection: ArtifactCollection
        package var name: String
        package var version: Int
        package var digest: String

        package init(collection: ArtifactCollection, name: String, version: Int, digest: String) {
            self.collection = collection
            self.name = name
            self.version = version
            self.digest = digest
        }

        package init(_ version: Version) {
            self.init(
                collection: version.collection, name: version.name, version: version.number, digest: version.digest)
        }
    }

    /// An output that can stand in for a run.
    package struct CachedOutput: Sendable, Equatable {
        package let key: String
        /// The read-only folder, in place of the run's `out/`.
        package let folder: URL
        /// ``Digest/directoryDigest(_:)`` of the folder.
        package let digest: String
        package let metadata: Metadata
    }

    /// The output of a key, if there is one and its files are there with their sizes.
    ///
    /// Contents are not read: ``verify(_:)`` does that. An entry that is not whole counts as none, and the next
    /// ``store(key:folder:metadata:)`` replaces it.
    ///
    /// - Parameter key: a digest, as ``Digest`` writes it.
    package func lookup(_ key: String) throws -> CachedOutput? {
        let entry = try entry(key)
        guard let description = try description(entry), description.key == key,
            try FileCheck.isComplete(Self.output(entry), description.files)
        else { return nil }
        touch(entry)
        return CachedOutput(
            key: key, folder: Self.output(entry), digest: description.digest, metadata: description.metadata)
    }

    /// What is remembered of the run that made an output, by its folder; `nil` for a folder that is no entry's.
    package func metadata(ofOutput folder: URL) throws -> Metadata? {
        let entry = folder.standardizedFileURL.deletingLastPathComponent()
        let known = cache.appending(path: entry.lastPathComponent).standardizedFileURL
        return entry.path == known.path ? try description(entry)?.metadata : nil
    }

    /// Keeps the output of a run.
    ///
    /// The files are shared with `folder` by hard links where the file system allows, so nothing large is copied, and
    /// lose the right to be written in both places.
    ///
    /// When the key has an output already, because another run was faster, that one is kept and returned.
    ///
    /// - Parameters:
    ///   - key: a digest, as ``Digest`` writes it.
    ///   - folder: the run's `out/`, which nobody writes to any more, and whose files are on the disk: their writer has
    ///     flushed them before it said that it was done.
    /// - Throws: `invalidFolder` for a symlink in the folder; `noSpace`.
    @discardableResult
    package func store(key: String, folder: URL, metadata: Metadata) throws -> CachedOutput {
        if let existing = try lookup(key) { return existing }
        let paths = try FileTree.files(below: folder)
        let scratch = try ScratchFolder(in: store.temporary)
        let assembled = scratch.url.appending(path: "entry", directoryHint: .isDirectory)
        let output = Self.output(assembled)
        try FileTree.makeFolder(output, isDurable: false)
        var files: [String: FileRecord] = [:]
        for path in paths {
            let target = output.appending(path: path)
            try FileTree.makeFolder(target.deletingLastPathComponent(), isDurable: false)
            try FileTree.linkOrCopy(folder.appending(path: path), to: target)
            try FileTree.setMode(0o444, target)
            let file = try OpenFile(target.path, O_RDONLY)
            let digest = try Digest.sha256(of: file)
            files[path] = FileRecord(size: Int64(try file.status().st_size), digest: digest)
        }
        try Failpoint.entryAssembled.hit()
        var description = Description(
            key: key, digest: Digest.listing(files.map { ($0.key, $0.value.digest) }), metadata: metadata, files: files)
        description.metadata.created = Timestamp.rounded(metadata.created)
        try FileTree.write(
            JSONSum.lines.added(to: Self.encoder.encode(description)), to: Self.descriptionFile(assembled), mode: 0o444)
        try FileTree.syncFolders(assembled)
        try FileTree.seal(output)
        try Failpoint.entryFlushed.hit()

        let entry = try entry(key)
        try FileTree.makeFolder(cache)
        var attempt = 0
        while try !FileTree.renameWithoutReplacing(assembled, to: entry) {
            // Someone else's, or an entry that is not whole: then it makes way, and is removed with the scratch folder.
            if let existing = try lookup(key) { return existing }
            attempt += 1
            let old = scratch.url.appending(path: "old-\(attempt)")
            do {
                try FileTree.rename(entry, to: old)
            } catch let error as ArtifactError where error.code == .notFound {
                continue
            }
        }
        try OpenFile.syncFolder(scratch.url)
        try OpenFile.syncFolder(cache)
        try Failpoint.entryRenamed.hit()
        return CachedOutput(
            key: key, folder: Self.output(entry), digest: description.digest, metadata: description.metadata)
    }

    /// Reads an entry, or all of them, and compares every file with its digest.
    ///
    /// - Parameter part: the files whose content is read.
    package func verify(_ key: String? = nil, part: VerifiedPart = .whole) throws -> [Damage] {
        let entries = try key.map { [try entry($0)] } ?? FileTree.names(in: cache).map { cache.appending(path: $0) }
        var digests = DigestsByInode(part: part)
        var found: [Damage] = []
        for entry in entries {
            let key = "sha256:" + entry.lastPathComponent
            let own = try FileCheck.unlessCollected(entry) {
                if let description = try description(entry), description.key == key {
                    return try FileCheck.differences(
                        below: Self.output(entry), from: description.files, subject: key, digests: &digests)
                }
                let path = Self.descriptionFile(entry).path
                return [
                    Damage(
                        problem: .unreadable, subject: key, path: path,
                        message: "\(path) does not describe the cached output beside it; the stage will run again")
                ]
            }
            found += own.map {
                var damage = Damage(
                    problem: $0.problem, subject: key, path: $0.path, message: $0.message,
                    advice: "lorajobs doctor --repair; the stage runs again when its output is wanted")
                damage.isCachedOutput = true
                return damage
            }
        }
        return found
    }

    /// Moves an entry to `trash/`; the stage runs again when its output is wanted.
    ///
    /// - Returns: where it lies now; `nil` when there was none.
    @discardableResult
    package func discard(_ key: String) throws -> URL? {
        let entry = try entry(key)
        guard try FileTree.isFolder(at: entry) else { return nil }
        return try store.discard(entry)
    }

    /// Entries beyond the cache's size, the least recently used first, that no job works with.
    func unneeded(_ policy: RetentionPolicy, leases: StoreLeases, now: Date) throws -> [Garbage] {
        guard let limit = policy.cacheBytes else { return [] }
        var entries: [(garbage: Garbage, used: Double)] = []
        var total: Int64 = 0
        for name in try FileTree.names(in: cache) {
            let url = cache.appending(path: name, directoryHint: .isDirectory)
            guard let used = try FileTree.status(url)?.st_mtim.tv_sec else { continue }
            let bytes = try FileTree.bytes(below: url, sharedWith: 1)
            total += bytes
            let key = "sha256:" + name
            guard !leases.cacheKeys.contains(key), now.timeIntervalSince1970 - Double(used) > policy.graceSeconds else {
                continue
            }
            let garbage = Garbage(
                kind: .cachedOutput, subject: key,
                title: try description(url).map { "\($0.metadata.kind) of a forgotten job" }, url: url, bytes: bytes,
                reason: "the cache is larger than \(Quantity.size(limit)), and it was not used for longest")
            entries.append((garbage, Double(used)))
        }
        var unneeded: [Garbage] = []
        for entry in entries.sorted(by: { $0.used < $1.used }) {
            if total <= Int64(limit) { break }
            total -= entry.garbage.bytes
            unneeded.append(entry.garbage)
        }
        return unneeded
    }

    /// Notes that an entry is used, so that it is not collected soon.
    private func touch(_ entry: URL) {
        // Of a store that may only be read nothing is collected by this user either.
        utimensat(AT_FDCWD, entry.path, nil, 0)
    }

    // MARK: An entry on disk

    /// What `entry.json` holds.
    private struct Description: Codable {
        var key: String
        var digest: String
        var metadata: Metadata
        var files: [String: FileRecord]

        enum CodingKeys: String, CodingKey, CaseIterable {
            case key, digest, metadata, files
        }
    }

    private var cache: URL { store.root.appending(path: "cache", directoryHint: .isDirectory) }

    private func entry(_ key: String) throws -> URL {
        guard let digits = Digest.hexadecimal(of: key) else {
            throw ArtifactError(.invalidName, "\"\(key)\" is no cache key: one is sha256: and 64 digits 0-9 a-f")
        }
        return cache.appending(path: digits, directoryHint: .isDirectory)
    }

    private static func output(_ entry: URL) -> URL { entry.appending(path: "out", directoryHint: .isDirectory) }
    private static func descriptionFile(_ entry: URL) -> URL { entry.appending(path: "entry.json") }

    /// What an entry says of itself; `nil` when it is absent or cannot be understood.
    private func description(_ entry: URL) throws -> Description? {
        let data: Data
        do {
            data = try FileTree.read(Self.descriptionFile(entry))
        } catch let error as ArtifactError where error.code == .notFound {
            return nil
        }
        // A file from another time or a torn disk: the output is computed again, which is always right.
        let members = Description.CodingKeys.allCases.map(\.rawValue)
        guard JSONSum.lines.isRight(in: data) || JSONSum.isOlder(data, members: members) else { return nil }
        return try? Self.decoder.decode(Description.self, from: data)
    }

    private static var encoder: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .custom { date, encoder in
            var container = encoder.singleValueContainer()
            try container.encode(Timestamp.text(date))
        }
        return encoder
    }

    private static var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .custom { decoder in
            let container = try decoder.singleValueContainer()
            let text = try container.decode(String.self)
            guard let date = Timestamp.date(text) else {
                throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(text) is no date")
            }
            return date
        }
        return decoder
    }
}
