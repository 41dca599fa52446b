package import Foundation

extension ArtifactStore {
    /// Copies a version to a folder of its own, with plain writable files, comparing digests on the way.
    ///
    /// The record stays among the files: PEFT reads only what it knows. The folder appears whole or not at all.
    ///
    /// - Parameters:
    ///   - destination: a path that does not exist, or an empty folder.
    ///   - convert: makes of the copied files, in a folder, what is to appear instead, in another one that is empty.
    /// - Throws: what ``resolve(_:in:)`` throws; `destinationExists`; `damaged`, naming the file; what `convert` throws.
    @discardableResult
    package func export(
        _ reference: ArtifactReference, in collection: ArtifactCollection = .adapters, to destination: URL,
        converting convert: ((_ version: Version, _ files: URL, _ target: URL) throws -> Void)? = nil
    ) throws -> Version {
        let version = try resolve(reference, in: collection)
        // As long as it is read, it is not collected.
        let reader = try OpenFile(version.url.path, O_RDONLY | O_DIRECTORY)
        try reader.lockShared()
        let destination = destination.standardizedFileURL.absoluteURL
        if let status = try FileTree.status(destination) {
            let isEmpty = try FileTree.isFolder(status) && FileTree.names(in: destination).isEmpty
            guard isEmpty else {
                throw ArtifactError(
                    .destinationExists, "\(destination.path) exists; export to a new or empty folder",
                    path: destination.path)
            }
        }
        let parent = destination.deletingLastPathComponent()
        try FileTree.makeFolder(parent)
        let partial = parent.appending(path: ".\(destination.lastPathComponent).\(UUID().uuidString.lowercased())")
        do {
            if let convert {
                let files = parent.appending(path: partial.lastPathComponent + ".files")
                defer { try? FileTree.remove(files) }
                try copy(version, to: files)
                try FileTree.makeFolder(partial)
                try convert(version, files, partial)
                try FileTree.syncFolders(partial)
            } else {
                try copy(version, to: partial)
            }
            // An empty folder makes way; one that was filled meanwhile does not.
            guard rmdir(destination.path) == 0 || errno == ENOENT || errno == ENOTEMPTY || errno == EEXIST else {
                throw ArtifactError.system("replace", destination.path, errno)
            }
            guard try FileTree.renameWithoutReplacing(partial, to: destination) else {
                throw ArtifactError(
                    .destinationExists,
                    "\(destination.path) came into being during the export; nothing was written to it",
                    path: destination.path)
            }
        } catch {
            // The first failure is the one to report.
            try? FileTree.remove(partial)
            throw error
        }
        try OpenFile.syncFolder(parent)
        return version
    }

    private func copy(_ version: Version, to folder: URL) throws {
        var expected = try record(at: version.url).files
        let logged = try versionLog(of: version.name, in: version.collection).entries()
            .publication(of: version.number)
        let recordDigest = try logged?.record ?? Digest.sha256(of: version.url.appending(path: Version.recordFile))
        expected[Version.recordFile] = FileRecord(size: 0, digest: recordDigest)
        for (path, file) in expected.sorted(by: { FileTree.precedes($0.key, $1.key) }) {
            let target = folder.appending(path: path)
            try FileTree.makeFolder(target.deletingLastPathComponent())
            let source = version.url.appending(path: path)
            let copied: FileRecord
            do {
                copied = try Digest.copy(source, to: target, mode: FileTree.allowed(0o644))
            } catch let error as ArtifactError where error.code == .notFound && error.path == source.path {
                throw ArtifactError(
                    .damaged, "\(version.reference) is damaged: \(path) is missing; export another version",
                    path: source.path)
            }
            guard copied.digest == file.digest else {
                throw ArtifactError(
                    .damaged,
                    "\(version.reference) is damaged: \(path) has the digest \(copied.digest) instead of "
                        + "\(file.digest); export another version", path: source.path)
            }
        }
        try FileTree.syncFolders(folder)
    }
}
