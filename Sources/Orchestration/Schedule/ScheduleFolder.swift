import Artifacts
package import Foundation
import Glibc
package import PipelineSpec

/// A file of `Jobs/schedules` that was read and judged.
package struct ScheduleEntry: Sendable {
    /// The file's name without its ending: what the schedule is called.
    package let id: String
    package let url: URL
    package let bytes: Data
    let ownerID: UInt32
    package let file: ScheduleFile

    /// Of the bytes: a file that is written again without a change is the same.
    var digest: String { Digest.sha256(bytes) }

    /// What is wrong with it; empty when nothing is.
    package var findings: [Finding] {
        if case .failure(let invalid) = file.manifest { invalid.findings } else { [] }
    }

    /// Its manifest for one occurrence.
    package func submission(at occurrence: Occurrence) throws -> Submission {
        var submission = try Submission(file.manifest.get())
        if let key = submission.manifest.run.idempotencyKey {
            submission.manifest.run.idempotencyKey = ScheduleFile.idempotencyKey(key, at: occurrence)
        }
        return submission
    }
}

/// `Jobs/schedules`: its files, and the reports beside them.
package struct ScheduleFolder: Sendable {
    /// What identifies the content of a file without reading it.
    struct Identity: Equatable {
        var device: UInt
        var inode: UInt
        var size: Int
        var modified: [Int]
        var changed: [Int]

        /// When the file became what it is, in milliseconds since 1970.
        var changedMilliseconds: Int64 { Int64(changed[0]) * 1000 + Int64(changed[1] / 1_000_000) }
    }

    /// A name in the folder, before the file is looked into.
    struct Candidate {
        var name: String
        var id: String
        /// A file with another ending that comes first and has the same name otherwise.
        var shadow: String?
        var identity: Identity
    }

    private let folder: URL
    private let maximumBytes: Int

    package init(_ workspace: Workspace, maximumBytes: Int = 1 << 20) {
        folder = workspace.schedules
        self.maximumBytes = maximumBytes
    }

    /// Every file, read anew, sorted by name.
    ///
    /// - Parameter read: What judges the bytes.
    package func entries(_ read: (Data) -> ScheduleFile) throws -> [ScheduleEntry] {
        try candidates().compactMap { try entry($0, read) }
    }

    /// The files that are schedules by their names, sorted.
    func candidates() throws -> [Candidate] {
        let path = InboxEntry.path(folder)
        guard InboxEntry.isFolder(path) else { return [] }
        var first: [String: String] = [:]
        return try InboxEntry.names(in: path).compactMap { name in
            guard let id = Self.id(name) else { return nil }
            var status = stat()
            guard lstat("\(path)/\(name)", &status) == 0, status.st_mode & S_IFMT != S_IFDIR else { return nil }
            defer { first[id] = first[id] ?? name }
            return Candidate(
                name: name, id: id, shadow: first[id],
                identity: Identity(
                    device: UInt(status.st_dev), inode: UInt(status.st_ino), size: Int(status.st_size),
                    modified: [status.st_mtim.tv_sec, status.st_mtim.tv_nsec],
                    changed: [status.st_ctim.tv_sec, status.st_ctim.tv_nsec]))
        }
    }

    /// The name of the schedule in a file; `nil` for editors' files, reports and whatever is no schedule.
    private static func id(_ name: String) -> String? {
        guard InboxName(name) != .ignored, reported(name) == nil else { return nil }
        for ending in [".yaml", ".yml", ".json"] where name.hasSuffix(ending) {
            return String(name.dropLast(ending.count))
        }
        return nil
    }

    /// The file that a report is about.
    private static func reported(_ name: String) -> String? {
        for ending in [".error.json", ".error.txt"] where name.hasSuffix(ending) {
            return String(name.dropLast(ending.count))
        }
        return nil
    }

    /// Reads and judges a file; `nil` when it is gone.
    ///
    /// - Throws: `changed` when it is being written.
    func entry(_ candidate: Candidate, _ read: (Data) -> ScheduleFile) throws -> ScheduleEntry? {
        let url = folder.appending(path: candidate.name)
        let content: ManifestFile
        do {
            content = try ManifestFile.read(url.path(percentEncoded: false), limit: maximumBytes)
        } catch let error as OrchestrationError where error.code == .notFound {
            return nil
        }
        func refused(_ finding: Finding) -> ScheduleFile {
            ScheduleFile(definition: nil, manifest: .failure(InvalidFile([finding])))
        }
        let file: ScheduleFile
        if case .refused(let reason) = InboxName(candidate.name) {
            file = refused(Finding(.invalidValue, "\(reason); rename the file"))
        } else if let other = candidate.shadow {
            file = refused(
                Finding(
                    .conflict, "\(other) is a schedule of the same name", hint: "rename one of the two, or remove it"))
        } else {
            switch content.content {
            case .bytes(let bytes): file = read(bytes)
            case .refused(let finding): file = refused(finding)
            }
        }
        return ScheduleEntry(
            id: candidate.id, url: url, bytes: content.bytes, ownerID: content.ownerID, file: file)
    }

    // MARK: Reports

    /// Writes what is wrong with a file beside it, for people and for programs.
    func report(_ findings: [Finding], on entry: ScheduleEntry) throws {
        let report = ValidationReport(findings)
        let text = report.text(
            file: entry.url.lastPathComponent, source: entry.bytes,
            consequence: entry.file.definition == nil
                ? "It does not fire until it is mended." : "It is tried again at its next time.")
        try AtomicFile.write(
            Data((report.json.text() + "\n").utf8), to: beside(entry.url.lastPathComponent, ".error.json"))
        try AtomicFile.write(Data(text.utf8), to: beside(entry.url.lastPathComponent, ".error.txt"))
    }

    /// Removes the reports on a file that is sound.
    func removeReport(on name: String) throws {
        for ending in [".error.json", ".error.txt"] {
            let path = beside(name, ending).path(percentEncoded: false)
            if unlink(path) != 0, errno != ENOENT { throw OrchestrationError(system: "remove", path, errno) }
        }
    }

    /// Files that have a report and are not there any more.
    func orphans() throws -> Set<String> {
        let path = InboxEntry.path(folder)
        guard InboxEntry.isFolder(path) else { return [] }
        let names = try InboxEntry.names(in: path)
        return Set(names.compactMap(Self.reported).filter { Self.id($0) != nil }).subtracting(names)
    }

    private func beside(_ name: String, _ ending: String) -> URL { folder.appending(path: name + ending) }
}
