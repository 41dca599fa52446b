package import Foundation
package import PipelineSpec

extension ArtifactStore {
    /// Publishes what a stage asked for: ``publish(folder:in:name:attemptID:now:)`` of a folder below `out`.
    package func publish(
        _ publication: Publication, from out: URL, attemptID: String, now: Date = Date()
    ) throws -> Version {
        guard let collection = ArtifactCollection(rawValue: publication.collection) else {
            throw ArtifactError(
                .invalidFolder,
                "\"\(publication.collection)\" is no collection of the store; there are adapters and models")
        }
        let parts = publication.folder.split(separator: "/", omittingEmptySubsequences: false)
        guard !publication.folder.hasPrefix("/"), !parts.contains("..") else {
            throw ArtifactError(
                .invalidFolder, "the folder to publish, \"\(publication.folder)\", must be below out/",
                path: publication.folder)
        }
        let folder = out.appending(path: publication.folder)
        guard try FileTree.isFolder(at: folder) else {
            throw ArtifactError(
                .invalidFolder, "the folder to publish, \(folder.path), is not there", path: folder.path)
        }
        return try publish(
            folder: folder, in: collection, name: publication.name, attemptID: attemptID, now: now)
    }

    /// Makes a folder the next version of a name.
    ///
    /// The content is copied, so the folder may be removed afterwards. A `lorajobs.json` in it becomes the version's
    /// record; the store adds `name`, `version`, `attempt`, `digest`, `created` and `files`. Publishing the same
    /// attempt under the same name again returns the version there is, also when a crash came in between. When this
    /// returns, the version survives a power failure.
    ///
    /// - Throws: `invalidName`; `invalidFolder` when a file is missing or is a symlink; `noSuchVersion` when the
    ///   attempt's version has been removed since; `noSpace`.
    package func publish(
        folder: URL, in collection: ArtifactCollection, name: String, attemptID: String, now: Date = Date()
    ) throws -> Version {
        try ArtifactNaming.checkArtifact(name)
        // Settled first without reading a large folder: most repeats end here.
        if let existing = try exclusively({ try published(attemptID, name: name, in: collection) }) { return existing }

        let paths = try FileTree.files(below: folder).filter { $0 != Version.recordFile }
        if let needed = collection.identifyingFile ?? (paths.isEmpty ? "config.json" : nil), !paths.contains(needed) {
            throw ArtifactError(
                .invalidFolder, "\(folder.path) is no \(collection.noun): it holds no \(needed)", path: folder.path)
        }
        let submitted = try submittedRecord(folder.appending(path: Version.recordFile))
        let scratch = try ScratchFolder(in: temporary)
        var files: [String: FileRecord] = [:]
        for path in paths {
            files[path] = try addBlob(scratch: scratch.url) { copy in
                try Digest.copy(folder.appending(path: path), to: copy, mode: FileTree.allowed(0o444))
            }
        }

        return try exclusively {
            if let existing = try published(attemptID, name: name, in: collection) { return existing }
            let home = self.folder(of: name, in: collection)
            try FileTree.makeFolder(home)
            let number = try nextNumber(of: name, in: collection)
            let record = StoredRecord(
                adding: submitted, name: name, version: number, attempt: attemptID,
                digest: identity(of: files, in: collection), created: now, files: files)
            let assembled = scratch.url.appending(path: "version", directoryHint: .isDirectory)
            try assemble(record, at: assembled, scratch: scratch.url)
            try Failpoint.versionFlushed.hit()

            let url = versionFolder(number, of: name, in: collection)
            guard try FileTree.renameWithoutReplacing(assembled, to: url) else {
                throw ArtifactError(
                    .io, "\(url.path) came into being while it was published; another program writes into the store",
                    path: url.path)
            }
            // A rename changes two folders; the other one is synced before the version is logged.
            try OpenFile.syncFolder(scratch.url)
            try Failpoint.versionRenamed.hit()
            try complete(number, of: name, in: collection, entries: versionLog(of: name, in: collection).entries())
            return try version(number, of: name, in: collection)
        }
    }

    /// The highest number ever given, whether its version still exists or not, plus one.
    private func nextNumber(of name: String, in collection: ArtifactCollection) throws -> Int {
        // Anything with a number for a name counts, even if it is no folder.
        let present = try FileTree.names(in: folder(of: name, in: collection)).compactMap { ArtifactNaming.version($0) }
        let logged = try versionLog(of: name, in: collection).entries().compactMap(\.version)
        return max(present.max() ?? 0, logged.max() ?? 0) + 1
    }

    /// The version an attempt has made of a name, after completing what a crash may have interrupted.
    ///
    /// The caller holds the lock.
    private func published(
        _ attemptID: String, name: String, in collection: ArtifactCollection
    ) throws -> Version? {
        guard try FileTree.isFolder(at: folder(of: name, in: collection)) else { return nil }
        try completeInterrupted(name, in: collection)
        let entry = try versionLog(of: name, in: collection).entries().first {
            $0.event == .published && $0.attempt == attemptID
        }
        guard let number = entry?.version else { return nil }
        guard try numbers(of: name, in: collection).contains(number) else {
            throw ArtifactError(
                .noSuchVersion,
                "this attempt was published as \(name):\(number), which has been removed since; run the "
                    + "job again to make a new version")
        }
        return try version(number, of: name, in: collection)
    }

    /// Completes versions whose writer died between showing and logging them.
    ///
    /// The caller holds the lock.
    func completeInterrupted(_ name: String, in collection: ArtifactCollection) throws {
        let entries = try versionLog(of: name, in: collection).entries()
        for number in try numbers(of: name, in: collection) where entries.publication(of: number) == nil {
            // A folder that no writer of ours left, such as one made by hand, keeps its number and is not touched.
            guard try readableRecord(number, of: name, in: collection) != nil else { continue }
            try complete(number, of: name, in: collection, entries: entries)
        }
    }

    /// The steps after a version has its name: it is sealed and logged.
    private func complete(
        _ number: Int, of name: String, in collection: ArtifactCollection, entries: [LogEntry]
    ) throws {
        // Only now, since a folder without write permission cannot be moved to another parent.
        let home = folder(of: name, in: collection)
        let url = versionFolder(number, of: name, in: collection)
        try FileTree.seal(url)
        try OpenFile.syncFolder(home)
        try Failpoint.versionSealed.hit()
        try versionLog(of: name, in: collection).append(
            publication(self.record(at: url), number, of: name, in: collection))
        try Failpoint.versionLogged.hit()
    }

    /// The line of the log by which a version is published.
    func publication(
        _ record: StoredRecord, _ number: Int, of name: String, in collection: ArtifactCollection
    ) throws -> LogEntry {
        let file = versionFolder(number, of: name, in: collection).appending(path: Version.recordFile)
        return LogEntry(
            event: .published, time: Timestamp.text(record.created), version: number, digest: record.digest,
            attempt: record.attempt, record: try Digest.sha256(of: file))
    }

    /// Builds a version's folder under `tmp/`: links to blobs, and the record.
    ///
    /// All of it is flushed.
    private func assemble(_ record: StoredRecord, at folder: URL, scratch: URL) throws {
        try FileTree.makeFolder(folder, isDurable: false)
        var contents = record.files
        let data = record.encoded()
        contents[Version.recordFile] = try addBlob(scratch: scratch) { copy in
            try FileTree.write(data, to: copy, mode: FileTree.allowed(0o444))
            return FileRecord(size: Int64(data.count), digest: Digest.sha256(data))
        }
        // One that has been collected since it was added is added again.
        for file in contents.values { _ = try FileTree.link(kept(file.digest, scratch), to: blob(file.digest)) }
        try OpenFile.syncFolder(blobs)
        try Failpoint.blobsFlushed.hit()
        for (path, file) in contents.sorted(by: { FileTree.precedes($0.key, $1.key) }) {
            let target = folder.appending(path: path)
            try FileTree.makeFolder(target.deletingLastPathComponent(), isDurable: false)
            guard try FileTree.link(kept(file.digest, scratch), to: target) else {
                throw ArtifactError(.io, "\(target.path) exists already", path: target.path)
            }
        }
        try Failpoint.versionAssembled.hit()
        try FileTree.syncFolders(folder)
    }

    /// Where the content of a digest lives.
    func blob(_ digest: String) -> URL {
        blobs.appending(path: Digest.hexadecimal(of: digest) ?? digest)
    }

    /// The second name of a content while its version is made: nobody collects what has two.
    private func kept(_ digest: String, _ scratch: URL) -> URL {
        scratch.appending(path: "kept-\(Digest.hexadecimal(of: digest) ?? digest)")
    }

    /// Adds one file's content, which has a second name in `scratch` from then on.
    ///
    /// `write` makes and flushes it at the path it is given, and says what it wrote.
    private func addBlob(scratch: URL, write: (URL) throws -> FileRecord) throws -> FileRecord {
        let copy = scratch.appending(path: "blob")
        try FileTree.remove(copy)
        let written = try write(copy)
        try Failpoint.blobWritten.hit()
        // What reached the file, not what was meant to.
        guard try Digest.sha256(of: copy) == written.digest else {
            throw ArtifactError(
                .damaged, "what was written to \(copy.path) reads back differently; check the disk, then try again",
                path: copy.path)
        }
        try FileTree.makeFolder(blobs)
        let (blob, kept) = (blob(written.digest), kept(written.digest, scratch))
        while try !FileTree.link(copy, to: blob) {
            do {
                _ = try FileTree.link(blob, to: kept)
            } catch let error as ArtifactError where error.code == .notFound {
                // It was collected this moment.
                continue
            }
            if try Digest.sha256(of: kept) != written.digest {
                // It has rotted. New versions get good bytes; those that share the bad ones stay visible to verify.
                try FileTree.remove(kept)
                _ = try FileTree.link(copy, to: kept)
                try FileTree.rename(copy, to: blob)
            }
            break
        }
        if try FileTree.status(copy) != nil { _ = try FileTree.link(copy, to: kept) }
        try FileTree.remove(copy)
        try Failpoint.blobLinked.hit()
        return written
    }

    private func identity(of files: [String: FileRecord], in collection: ArtifactCollection) -> String {
        if let file = collection.identifyingFile, let record = files[file] { return record.digest }
        return Digest.listing(files.map { ($0.key, $0.value.digest) })
    }

    private func submittedRecord(_ file: URL) throws -> JSONValue {
        guard try FileTree.status(file) != nil else { return .object([:]) }
        guard let value = try? JSONDecoder().decode(JSONValue.self, from: FileTree.read(file)), case .object = value
        else {
            throw ArtifactError(.invalidFolder, "\(file.path) is not a JSON object", path: file.path)
        }
        return value
    }
}
