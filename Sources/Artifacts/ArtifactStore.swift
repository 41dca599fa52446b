package import Foundation
import PipelineSpec

/// The folder `Artifacts/`: immutable versions of adapters and models, and the aliases that point at them.
///
/// The folder is the truth. Whatever appears in it appears by one rename, so a reader needs no lock and a crash leaves
/// nothing visible or something whole. Writers, of any process, exclude each other by `flock` on `.lock`.
package struct ArtifactStore: Sendable {
    /// The folder itself, as an absolute URL.
    package let root: URL

    package init(_ root: URL) { self.root = root.absoluteURL }

    var temporary: URL { root.appending(path: "tmp", directoryHint: .isDirectory) }
    var blobs: URL { root.appending(path: "blobs/sha256", directoryHint: .isDirectory) }

    /// The folder of all versions of one name.
    func folder(of name: String, in collection: ArtifactCollection) -> URL {
        root.appending(path: collection.rawValue).appending(path: name, directoryHint: .isDirectory)
    }

    func versionLog(of name: String, in collection: ArtifactCollection) -> VersionLog {
        VersionLog(url: folder(of: name, in: collection).appending(path: "log.jsonl"))
    }

    /// Runs `body` while no other writer, in this process or another, changes the store.
    func exclusively<Result>(_ body: () throws -> Result) throws -> Result {
        try FileTree.makeFolder(root)
        let lock = try OpenFile(root.appending(path: ".lock").path, O_RDWR | O_CREAT, mode: 0o644)
        try lock.lock()
        return try body()
    }

    /// Removes what interrupted writers left under `tmp/`; what a live process works in stays.
    ///
    /// - Returns: the names of what was removed.
    @discardableResult
    package func sweepTemporary() throws -> [String] {
        try ScratchFolder.sweep(temporary)
    }

    // MARK: Reading

    /// The names in a collection that have a version, sorted.
    package func names(in collection: ArtifactCollection = .adapters) throws -> [String] {
        try FileTree.names(in: root.appending(path: collection.rawValue)).filter {
            try ArtifactNaming.isArtifact($0) && !numbers(of: $0, in: collection).isEmpty
        }
    }

    /// The newest version of each name, sorted by name; with `all`, every version, newest first within a name.
    ///
    /// One damaged version does not hide the others: see ``Version/record``.
    package func list(_ collection: ArtifactCollection = .adapters, all: Bool = false) throws -> [Version] {
        try names(in: collection).flatMap { name in
            let versions = try numbers(of: name, in: collection).reversed()
            return try readableVersions(
                all ? Array(versions) : Array(versions.prefix(1)), of: name, in: collection)
        }
    }

    /// Every version of a name, newest first.
    ///
    /// - Throws: `noSuchArtifact`, with names that are near.
    package func versions(of name: String, in collection: ArtifactCollection = .adapters) throws -> [Version] {
        try readableVersions(existingNumbers(of: name, in: collection).reversed(), of: name, in: collection)
    }

    /// The history of a name, oldest entry first.
    ///
    /// - Throws: `noSuchArtifact` when it was never published.
    package func log(of name: String, in collection: ArtifactCollection = .adapters) throws -> [LogEntry] {
        let entries = try versionLog(of: name, in: collection).entries()
        if entries.isEmpty { _ = try existingNumbers(of: name, in: collection) }
        return entries
    }

    /// What can be read of the history of a name, oldest entry first; none for a name that there is not.
    package func history(of name: String, in collection: ArtifactCollection = .adapters) throws -> [LogEntry] {
        try versionLog(of: name, in: collection).readableEntries()
    }

    /// What each alias of a name points at, except `latest`.
    ///
    /// An alias whose version is gone is among them.
    package func aliases(of name: String, in collection: ArtifactCollection = .adapters) throws -> [String: Int] {
        let folder = folder(of: name, in: collection)
        var aliases: [String: Int] = [:]
        for entry in try FileTree.names(in: folder) where ArtifactNaming.isAlias(entry) {
            guard let target = FileTree.symlinkTarget(folder.appending(path: entry)) else { continue }
            aliases[entry] = ArtifactNaming.version(target)
        }
        return aliases
    }

    /// The version a reference means at this moment.
    ///
    /// - Throws: `noSuchArtifact`, `noSuchVersion` or `noSuchAlias`, saying what there is instead; `damaged` when the
    ///   version's record cannot be read.
    package func resolve(
        _ reference: ArtifactReference, in collection: ArtifactCollection = .adapters
    ) throws -> Version {
        let name = reference.name
        let numbers = try existingNumbers(of: name, in: collection)
        let number: Int
        switch reference.selector {
        case .preferred:
            let production = try aliases(of: name, in: collection)[ArtifactReference.production]
            number = production ?? numbers[numbers.count - 1]
        case .version(let wanted):
            number = wanted
        case .alias(ArtifactReference.latest, let back):
            guard back < numbers.count else {
                throw ArtifactError(
                    .noSuchAlias,
                    "\(reference) does not exist: \(name) has \(numbers.count) "
                        + (numbers.count == 1 ? "version" : "versions"))
            }
            number = numbers[numbers.count - 1 - back]
        case .alias(let alias, let back):
            number = try value(of: alias, back: back, of: name, in: collection)
        case .digest(let digest):
            guard let match = try versions(of: name, in: collection).first(where: { $0.digest == digest }) else {
                throw ArtifactError(
                    .noSuchVersion, "no version of \(name) has the digest \(digest); it has \(describe(numbers))")
            }
            number = match.number
        }
        guard numbers.contains(number) else {
            let pointer = reference.selector == .version(number) ? "" : "\(reference) points at version \(number): "
            throw ArtifactError(
                .noSuchVersion, "\(pointer)there is no \(name):\(number); \(name) has \(describe(numbers))")
        }
        return try version(number, of: name, in: collection)
    }

    // MARK: Parts

    /// The version numbers on disk, ascending.
    func numbers(of name: String, in collection: ArtifactCollection) throws -> [Int] {
        let folder = folder(of: name, in: collection)
        return try FileTree.names(in: folder).compactMap { entry in
            guard let number = ArtifactNaming.version(entry) else { return nil }
            return try FileTree.isFolder(at: folder.appending(path: entry)) ? number : nil
        }.sorted()
    }

    func existingNumbers(of name: String, in collection: ArtifactCollection) throws -> [Int] {
        let numbers = ArtifactNaming.isArtifact(name) ? try self.numbers(of: name, in: collection) : []
        guard numbers.isEmpty else { return numbers }
        let known = try names(in: collection)
        let near = NearNames.nearest(to: name, among: known)
        let hint =
            if !near.isEmpty {
                "did you mean \(near.joined(separator: " or "))?"
            } else if known.isEmpty {
                "the store has no \(collection.rawValue) yet"
            } else {
                "there are \(known.prefix(8).joined(separator: ", "))" + (known.count > 8 ? " and others" : "")
            }
        throw ArtifactError(.noSuchArtifact, "there is no \(collection.noun) named \"\(name)\"; \(hint)")
    }

    /// A version that is on disk.
    ///
    /// - Throws: `damaged` when its record cannot be read or is another version's.
    func version(_ number: Int, of name: String, in collection: ArtifactCollection) throws -> Version {
        let url = versionFolder(number, of: name, in: collection)
        let record = try self.record(at: url)
        guard record.name == name, record.version == number else {
            throw ArtifactError(
                .damaged,
                "\(url.path) says it is \(record.name):\(record.version); folders of the store must not be "
                    + "renamed or copied by hand, so move it away", path: url.path)
        }
        return try version(
            number, of: name, in: collection, digest: record.digest, created: record.created, attempt: record.attempt,
            record: record.all)
    }

    /// The record of a version, or `nil` when it is damaged.
    func readableRecord(_ number: Int, of name: String, in collection: ArtifactCollection) throws -> StoredRecord? {
        do {
            let record = try self.record(at: versionFolder(number, of: name, in: collection))
            return record.name == name && record.version == number ? record : nil
        } catch let error as ArtifactError where error.code == .damaged {
            return nil
        }
    }

    func versionFolder(_ number: Int, of name: String, in collection: ArtifactCollection) -> URL {
        folder(of: name, in: collection).appending(path: "\(number)", directoryHint: .isDirectory)
    }

    /// Versions as their records tell, or for damaged ones as the log does.
    ///
    /// What neither knows was never published.
    private func readableVersions(
        _ wanted: [Int], of name: String, in collection: ArtifactCollection
    ) throws -> [Version] {
        try wanted.compactMap { number in
            if let record = try readableRecord(number, of: name, in: collection) {
                return try version(
                    number, of: name, in: collection, digest: record.digest, created: record.created,
                    attempt: record.attempt, record: record.all)
            }
            // Collected since it was seen.
            let folder = versionFolder(number, of: name, in: collection)
            guard access(folder.path(percentEncoded: false), F_OK) == 0 else { return nil }
            let entries = try versionLog(of: name, in: collection).readableEntries()
            guard let entry = entries.publication(of: number), let digest = entry.digest, let attempt = entry.attempt,
                let created = Timestamp.date(entry.time)
            else { return nil }
            return try version(
                number, of: name, in: collection, digest: digest, created: created, attempt: attempt, record: .null)
        }
    }

    private func version(
        _ number: Int, of name: String, in collection: ArtifactCollection, digest: String, created: Date,
        attempt: String, record: JSONValue
    ) throws -> Version {
        var names = try aliases(of: name, in: collection).filter { $0.value == number }.map(\.key)
        if try numbers(of: name, in: collection).last == number { names.append(ArtifactReference.latest) }
        return Version(
            collection: collection, name: name, number: number, digest: digest,
            url: versionFolder(number, of: name, in: collection), aliases: names.sorted(), created: created,
            attemptID: attempt, record: record)
    }

    func record(at version: URL) throws -> StoredRecord {
        let file = version.appending(path: Version.recordFile)
        let data: Data
        do {
            data = try FileTree.read(file)
        } catch let error as ArtifactError where error.code == .notFound {
            throw ArtifactError(
                .damaged,
                "\(file.path) is missing, so nothing vouches for this version; restore the file, or move the "
                    + "folder away", path: file.path)
        }
        return try StoredRecord(data, path: file.path)
    }

    /// What an alias points at, or pointed at `back` moves ago.
    private func value(
        of alias: String, back: Int, of name: String, in collection: ArtifactCollection
    ) throws -> Int {
        let aliases = try aliases(of: name, in: collection)
        if back == 0, let number = aliases[alias] { return number }
        var values = try versionLog(of: name, in: collection).entries().values(of: alias)
        if values.last.map({ $0 != aliases[alias] }) ?? (aliases[alias] != nil) { values.append(aliases[alias]) }
        guard back > 0, !values.isEmpty else {
            let others = (aliases.keys + [ArtifactReference.latest]).sorted().joined(separator: ", ")
            throw ArtifactError(.noSuchAlias, "\(name) has no alias \"\(alias)\"; it has \(others)")
        }
        guard back < values.count, let number = values[values.count - 1 - back] else {
            throw ArtifactError(
                .noSuchAlias,
                "\(name)@\(alias)~\(back) does not exist: the alias has been set \(values.count) "
                    + (values.count == 1 ? "time" : "times"))
        }
        return number
    }

    /// `versions 1 to 4, 7`.
    private func describe(_ numbers: [Int]) -> String {
        var ranges: [ClosedRange<Int>] = []
        for number in numbers {
            if let last = ranges.last, last.upperBound + 1 == number {
                ranges[ranges.count - 1] = last.lowerBound...number
            } else {
                ranges.append(number...number)
            }
        }
        let words = ranges.suffix(8).map {
            $0.count == 1
                ? "\($0.lowerBound)"
                : $0.count == 2
                    ? "\($0.lowerBound), \($0.upperBound)"
                    : "\($0.lowerBound) to \($0.upperBound)"
        }
        return (numbers.count == 1 ? "version " : "versions ") + words.joined(separator: ", ")
    }
}
