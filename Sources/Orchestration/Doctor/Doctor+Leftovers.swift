import Artifacts
import Foundation
import Glibc
import PipelineSpec

/// Checks of what should have gone on, or gone away.
extension Doctor {
    private static let day = 86_400.0

    func inbox(_ report: Report) throws {
        var waiting = 0
        for entry in try InboxEntry.list(workspace) {
            let path = InboxEntry.path(workspace.inbox) + "/\(entry.path)"
            guard let age = age(of: path) else { continue }
            let name = PrintableText.line(entry.path, limit: 200)
            switch entry.status {
            case .waiting:
                waiting += 1
                if age > 600 {
                    report.warning(
                        "\(name) has waited for \(Int(age / 60)) minutes",
                        advice: "start a daemon, or see why: lorajobs inbox ls")
                }
            case .refused(let reason):
                if age > 3600 { report.warning("\(name) is never taken: \(reason)", advice: "rename it, or remove it") }
            case .claimed: break
            case .ignored:
                if age > Self.day, !Self.isOurs((path as NSString).lastPathComponent) {
                    report.warning(
                        "\(name) is a temporary file more than a day old",
                        advice: "a program that copies was interrupted: copy it again, and remove this")
                }
            }
        }
        report.otherwise(waiting == 0 ? "nothing waits" : "\(waiting) files wait to be taken")
    }

    func claimed(_ report: Report) throws {
        let files = try claimedFiles()
        if !files.isEmpty, try DaemonLock.holder(of: workspace) == nil {
            report.warning(
                "\(files.count) files were claimed and are not filed, and no daemon runs",
                advice: "the next daemon goes on with them, or: lorajobs doctor --repair")
        }
        report.otherwise("nothing lies between the inbox and its verdict for long")
    }

    func claimedFiles() throws -> [String] {
        let claimed = InboxEntry.path(workspace.claimed)
        guard InboxEntry.isFolder(claimed) else { return [] }
        return try ([claimed] + RecoveredFiles.folders(in: claimed)).flatMap { folder in
            try InboxEntry.names(in: folder).filter { InboxName.claim(in: $0) != nil }.map { "\(folder)/\($0)" }
        }
    }

    func runs(_ report: Report) throws {
        let folders = try RecoveredFiles.folders(in: InboxEntry.path(workspace.runs)).map {
            ($0 as NSString).lastPathComponent
        }
        var known: Set<String> = []
        // What a rebuild reads is not to be removed before it.
        var isIncomplete = true
        if access(workspace.database.path, F_OK) == 0, try QueueHealth(workspace).isSound {
            let queue = try JobQueue.openReadOnly(workspace.database)
            known = try queue.jobIDs()
            try queue.close()
            isIncomplete = try Invariants(workspace, readsContent: false).violations().contains(where: \.needsRebuild)
        }
        for job in folders where !known.contains(job) {
            report.warning(
                "Jobs/runs/\(PrintableText.line(job, limit: 100)) is of a job that the queue does not know",
                advice: isIncomplete
                    ? "keep it: lorajobs doctor --rebuild reads it" : "remove it when nothing in it is wanted")
        }
        report.otherwise("\(folders.count) folders, each of a job of the queue")
    }

    func temporaries(_ report: Report) throws {
        let files = try staleTemporaries()
        if !files.isEmpty {
            report.warning(
                "\(files.count) temporary files of interrupted writers, such as \(workspace.relativePath(URL(filePath: files[0])))",
                advice: "lorajobs doctor --repair")
        }
        let scratch = InboxEntry.path(workspace.artifacts) + "/tmp"
        let left =
            try InboxEntry.isFolder(scratch)
            ? InboxEntry.names(in: scratch).filter { age(of: "\(scratch)/\($0)").map { $0 > Self.day } ?? false } : []
        if !left.isEmpty {
            report.warning(
                "\(left.count) folders of interrupted writers in Artifacts/tmp", advice: "lorajobs doctor --repair")
        }
        report.otherwise("nothing is left over")
    }

    /// What ``AtomicFile`` makes for a moment, and a writer that was killed leaves behind, once nobody can be at it.
    func staleTemporaries() throws -> [String] {
        var folders = try InboxEntry.folders(workspace).map(\.path)
        folders += [workspace.jobs, workspace.schedules, workspace.pipelines, workspace.root].map(InboxEntry.path)
        for home in [workspace.accepted, workspace.rejected] {
            folders += try RecoveredFiles.folders(in: InboxEntry.path(home))
        }
        return try folders.filter(InboxEntry.isFolder).flatMap { folder in
            try InboxEntry.names(in: folder).filter(Self.isOurs).map { "\(folder)/\($0)" }
                .filter { age(of: $0).map { $0 > Self.day } ?? false }
        }
    }

    /// `.name.<ULID>.tmp`, or `.<ULID>.receipt.json.tmp`.
    private static func isOurs(_ name: String) -> Bool {
        guard name.hasPrefix("."), name.hasSuffix(".tmp") else { return false }
        return name.split(separator: ".").contains { ULID($0) != nil }
    }

    /// Seconds since a file was changed last; `nil` when it is gone.
    private func age(of path: String) -> Double? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        return now.timeIntervalSince1970 - Double(status.st_ctim.tv_sec)
    }
}
