package import Foundation

extension ArtifactStore {
    /// Reads versions and compares every file with its recorded digest.
    ///
    /// It works beside a collector: what is collected while it is read is not damaged.
    ///
    /// - Parameters:
    ///   - reference: one version; `nil` is every version of both collections, every alias, log, blob and cached output.
    ///   - part: the files whose content is read. That the others are there, with their sizes, is seen all the same, and
    ///     logs are read whole.
    package func verify(
        _ reference: ArtifactReference? = nil, in collection: ArtifactCollection = .adapters,
        part: VerifiedPart = .whole
    ) throws -> [Damage] {
        var digests = DigestsByInode(part: part)
        if let reference {
            return try damage(of: resolvedForVerifying(reference, in: collection), in: collection, digests: &digests)
        }
        var found: [Damage] = []
        for collection in ArtifactCollection.allCases {
            for name in try FileTree.names(in: root.appending(path: collection.rawValue))
            where ArtifactNaming.isArtifact(name) {
                found += try versionLog(of: name, in: collection).damage(of: name)
                let numbers = try numbers(of: name, in: collection)
                for number in numbers {
                    found += try damage(of: (name, number), in: collection, digests: &digests)
                }
                for (alias, number) in try aliases(of: name, in: collection).sorted(by: { $0.key < $1.key })
                // A version that was published since the numbers were read is there.
                where try !numbers.contains(number)
                    && !FileTree.isFolder(at: versionFolder(number, of: name, in: collection))
                {
                    let path = folder(of: name, in: collection).appending(path: alias).path
                    found.append(
                        Damage(
                            problem: .dangling, subject: "\(name)@\(alias)", path: path,
                            message: "\(path) points at version \(number), which does not exist",
                            advice: "lorajobs adapters promote \(name):N --to \(alias)"))
                }
            }
        }
        for name in try FileTree.names(in: blobs) {
            let url = blobs.appending(path: name)
            found += try FileCheck.unlessCollected(url) {
                guard try digests.digest(of: url, expected: "sha256:" + name) != "sha256:" + name else { return [] }
                return [
                    Damage(
                        problem: .changed, subject: "sha256:" + name, path: url.path,
                        message: "the content of \(url.path) is not what its name says",
                        advice: "lorajobs adapters verify puts it away", file: try FileTree.identity(url))
                ]
            }
        }
        return try found + StageCache(self).verify(part: part)
    }

    /// The damage of one version.
    package func verify(_ version: Version) throws -> [Damage] {
        var digests = DigestsByInode()
        return try damage(of: (version.name, version.number), in: version.collection, digests: &digests)
    }

    /// Like `resolve`, but a version with an unreadable record is what verifying is for.
    private func resolvedForVerifying(
        _ reference: ArtifactReference, in collection: ArtifactCollection
    ) throws -> (String, Int) {
        if case .version(let number) = reference.selector,
            try numbers(of: reference.name, in: collection).contains(number)
        {
            return (reference.name, number)
        }
        let version = try resolve(reference, in: collection)
        return (version.name, version.number)
    }

    private func damage(
        of version: (name: String, number: Int), in collection: ArtifactCollection, digests: inout DigestsByInode
    ) throws -> [Damage] {
        let url = versionFolder(version.number, of: version.name, in: collection)
        return try FileCheck.unlessCollected(url) {
            try differences(of: version, at: url, in: collection, digests: &digests)
        }
    }

    private func differences(
        of version: (name: String, number: Int), at url: URL, in collection: ArtifactCollection,
        digests: inout DigestsByInode
    ) throws -> [Damage] {
        let subject = "\(version.name):\(version.number)"
        let recordFile = url.appending(path: Version.recordFile)
        let logged = try versionLog(of: version.name, in: collection).readableEntries().publication(of: version.number)
        let record: StoredRecord
        do {
            record = try self.record(at: url)
        } catch let error as ArtifactError where error.code == .damaged {
            let isThere = try FileTree.status(recordFile) != nil
            return [
                Damage(
                    problem: isThere ? .unreadable : .missing, subject: subject, path: recordFile.path,
                    message: error.message, expected: logged?.record)
            ]
        }
        var expected = record.files
        var found: [Damage] = []
        if let digest = logged?.record {
            expected[Version.recordFile] = FileRecord(
                size: Int64(try FileTree.status(recordFile)?.st_size ?? 0), digest: digest)
        }
        found += try FileCheck.differences(
            below: url, from: expected, ignoring: [Version.recordFile], subject: subject, digests: &digests)
        return found
    }
}

/// Which files' content is read, of all that are recorded: one part of several of about the same size.
///
/// A file is in the same part on every run, by its digest, and a version's file is in that of its blob. Who verifies the
/// next part each night has read all after as many nights as there are parts.
package struct VerifiedPart: Sendable, Equatable {
    /// How many parts there are, and which one it is, from 0.
    package let count: Int
    package let index: Int

    package static let whole = VerifiedPart(count: 1, index: 0)

    private init(count: Int, index: Int) {
        (self.count, self.index) = (count, index)
    }

    /// The part that is a day's turn.
    ///
    /// - Parameter share: more than 0, at most 1; rounded so that the parts are equal.
    package init(share: Double, on day: Date) {
        // A part of a million is a file or two already.
        count = max(1, Int(min(1 / share, 1e6).rounded()))
        let days = Int((day.timeIntervalSince1970 / 86_400).rounded(.down))
        index = ((days % count) + count) % count
    }

    /// - Parameter digest: what is recorded of the file.
    func contains(_ digest: String) -> Bool {
        guard count > 1, let digits = Digest.hexadecimal(of: digest), let number = UInt32(digits.prefix(8), radix: 16)
        else { return true }
        return Int(number) % count == index
    }
}

/// Digests of files by inode: a version's files are links to blobs, and each content is read once.
struct DigestsByInode {
    /// The files that are read; of the others what is expected is believed.
    var part = VerifiedPart.whole
    private var known: [FileInode: String] = [:]

    init(part: VerifiedPart = .whole) { self.part = part }

    /// - Parameter expected: what is recorded.
    mutating func digest(of url: URL, expected: String) throws -> String {
        guard part.contains(expected) else { return expected }
        let file = try OpenFile(url.path, O_RDONLY | O_NOFOLLOW)
        let inode = FileInode(try file.status())
        if let digest = known[inode] { return digest }
        let digest = try Digest.sha256(of: file)
        known[inode] = digest
        return digest
    }
}

/// Compares a folder with what is recorded of it.
enum FileCheck {
    /// Whether every recorded file is there with its size.
    ///
    /// Reads no content.
    static func isComplete(_ folder: URL, _ files: [String: FileRecord]) throws -> Bool {
        try files.allSatisfy { path, file in
            guard let status = try FileTree.status(folder.appending(path: path)) else { return false }
            return FileTree.isRegular(status) && Int64(status.st_size) == file.size
        }
    }

    /// What is found of an entry of the store, or nothing when the entry was collected meanwhile: then files were missing
    /// because all of them were.
    static func unlessCollected(_ entry: URL, _ examine: () throws -> [Damage]) throws -> [Damage] {
        do {
            let found = try examine()
            if try found.isEmpty || FileTree.status(entry) != nil { return found }
        } catch let error as ArtifactError where error.code == .notFound {
            if try FileTree.status(entry) != nil { throw error }
        }
        return []
    }

    /// Everything below `folder` that differs from `files`.
    ///
    /// A file in `ignoring` may also be absent from `files`.
    static func differences(
        below folder: URL, from files: [String: FileRecord], ignoring: Set<String> = [], subject: String,
        digests: inout DigestsByInode
    ) throws -> [Damage] {
        var found: [Damage] = []
        for (path, file) in files.sorted(by: { FileTree.precedes($0.key, $1.key) }) {
            let url = folder.appending(path: path)
            let entry = try FileTree.status(url)
            func damage(_ problem: Damage.Problem, _ text: String) -> Damage {
                Damage(
                    problem: problem, subject: subject, path: url.path, message: text, expected: file.digest,
                    file: entry.map { FileInode($0) })
            }
            guard let status = entry else {
                found.append(damage(.missing, "\(path) of \(subject) is missing: \(url.path)"))
                continue
            }
            guard FileTree.isRegular(status) else {
                found.append(damage(.changed, "\(path) of \(subject) is not a regular file any more: \(url.path)"))
                continue
            }
            guard Int64(status.st_size) == file.size else {
                let sizes = "\(status.st_size) bytes instead of \(file.size)"
                found.append(damage(.changed, "\(path) of \(subject) has \(sizes): \(url.path)"))
                continue
            }
            let digest = try digests.digest(of: url, expected: file.digest)
            if digest != file.digest {
                let digests = "\(digest) instead of \(file.digest)"
                found.append(damage(.changed, "\(path) of \(subject) has the digest \(digests): \(url.path)"))
            }
        }
        for path in try paths(below: folder) where files[path] == nil && !ignoring.contains(path) {
            let url = folder.appending(path: path)
            found.append(
                Damage(
                    problem: .unexpected, subject: subject, path: url.path,
                    message: "\(path) was not published with \(subject): \(url.path)",
                    advice: "move it out of the store"))
        }
        return found
    }

    /// Whatever is not a folder, symlinks too.
    private static func paths(below folder: URL, prefix: String = "") throws -> [String] {
        try FileTree.names(in: folder).flatMap { name in
            let url = folder.appending(path: name)
            return try FileTree.isFolder(at: url) ? paths(below: url, prefix: prefix + name + "/") : [prefix + name]
        }
    }
}
