import Artifacts
import CLinux
import Foundation
import Glibc
import Logging
import PipelineSpec

extension Inbox {
    /// A recorded file whose receipt or report lies under a temporary name.
    private struct Filing {
        var record: JobQueue.IntakeRecord
        var folder: String
        var source: String
        var target: String
        var papers: [(temporary: String, final: String)]
    }

    /// Records and files everything in `claimed/` that can be, and nothing from the inbox.
    mutating func finishBegun() throws {
        let limit = configuration.intakeBatch
        while case let begun = try begunClaims(), !begun.isEmpty {
            try record(begun.prefix(limit))
            try fileRecorded()
            // What is left has been set back, and is not listed any more.
            if begun.count <= limit { break }
        }
        while try !queue.unfiledIntake(excluding: Set(setbacks.keys), limit: 1, byteLimit: Self.batchBytes).isEmpty {
            try fileRecorded()
        }
    }

    /// Files what has been recorded, whoever recorded it.
    mutating func fileRecorded() throws {
        let records = try queue.unfiledIntake(
            excluding: Set(setbacks.keys), limit: configuration.intakeBatch, byteLimit: Self.batchBytes)
        try file(records)
    }

    /// Writes receipts and reports, and moves the files beside them.
    ///
    /// What was done before a crash is done again with the same result. The queue hears of it when all of it is
    /// durable.
    mutating func file(_ records: [JobQueue.IntakeRecord]) throws {
        var written: [Filing] = []
        for record in records {
            do { written.append(try write(record)) } catch { try setBack(record.claimID, record.originalName, error) }
        }
        if written.isEmpty { return }
        var moved: [Filing] = []
        do {
            try flush(written.flatMap { $0.papers.map(\.temporary) })
            moved = try written.filter { try hasMoved($0) }
            if moved.isEmpty { return }
            let folders = Set(moved.flatMap { [$0.folder, claimedFolder($0.record.tenant)] })
            for folder in folders.sorted() where access(folder, F_OK) == 0 { try AtomicFile.syncFolder(folder) }
            try queue.markFiled(moved.map { ($0.record.claimID, workspace.relativePath(URL(filePath: $0.target))) })
            try Failpoint.intakeFiled.hit()
        } catch {
            return try setBack(written.map { ($0.record.claimID, $0.record.originalName) }, error)
        }
        for filing in moved {
            configuration.logger.info(
                "\(filing.record.verdict.word) \(filing.record.originalName)",
                metadata: ["claim": "\(filing.record.claimID)"])
        }
    }

    /// Puts the papers in place and the file beside them; whether that went well.
    private mutating func hasMoved(_ filing: Filing) throws -> Bool {
        do {
            for paper in filing.papers {
                guard rename(paper.temporary, paper.final) == 0 else {
                    throw OrchestrationError(system: "put in place", paper.final, errno)
                }
                try Failpoint.fileRenamed.hit()
            }
            try Failpoint.intakeReported.hit()
            try move(filing)
            try Failpoint.intakeMoved.hit()
            return true
        } catch {
            try setBack(filing.record.claimID, filing.record.originalName, error)
            return false
        }
    }

    /// Writes the receipt or the reports of a file beside the place it will have.
    private mutating func write(_ record: JobQueue.IntakeRecord) throws -> Filing {
        let isRejected = record.verdict.job == nil
        let collection = InboxEntry.path(isRejected ? workspace.rejected : workspace.accepted)
        let folder = "\(collection)/\(record.receivedAt.formatted(.iso8601.year().month().day()))"
        try make(folder, in: collection, mode: 0o755)

        let name = "\(record.claimID)__\(record.originalName)"
        let source = "\(claimedFolder(record.tenant))/\(name)"
        let target = "\(folder)/\(name)"
        let access = PaperAccess(besides: source, or: target, tenant: record.tenant)
        var papers: [(String, Data)] = []
        if case .rejected(let json) = record.verdict {
            let text = try ValidationReport(decoding: json).text(file: record.originalName, source: record.bytes)
            papers = [("error.json", json + Data("\n".utf8)), ("error.txt", Data(text.utf8))]
        } else {
            let receipt = Receipt(
                verdict: record.verdict.word, jobs: record.jobs.map { Receipt.Job(id: $0) },
                file: record.originalName, tenant: record.tenant, received: record.receivedAt.formatted(.iso8601))
            papers = [("receipt.json", try ProtocolJSON.encode(receipt) + Data("\n".utf8))]
        }
        var filing = Filing(record: record, folder: folder, source: source, target: target, papers: [])
        for (ending, data) in papers {
            // Short, since the name with its ending may be as long as a name can be; the same after a crash.
            let temporary = "\(folder)/.\(record.claimID).\(ending).tmp"
            try access.write(data, to: temporary)
            filing.papers.append((temporary, "\(target).\(ending)"))
        }
        return filing
    }

    /// Moves a file from `claimed/` to its place; it may be there already.
    private func move(_ filing: Filing) throws {
        if clinux_rename_noreplace(filing.source, filing.target) == 0 { return }
        var status = stat()
        switch errno {
        case EEXIST where lstat(filing.source, &status) == 0:
            // Somebody else's file under a name that carries this claim's id: it keeps its content, under another name.
            let aside = "\(filing.folder)/\(ULID()).aside"
            guard rename(filing.target, aside) == 0, rename(filing.source, filing.target) == 0 else {
                throw OrchestrationError(system: "file", filing.source, errno)
            }
        case EEXIST, ENOENT:
            if lstat(filing.target, &status) == 0 { return }
            // Taken away by a person: it is restored from what was recorded.
            let temporary = "\(filing.folder)/.\(filing.record.claimID).tmp"
            let access = PaperAccess(besides: filing.source, or: filing.target, tenant: filing.record.tenant)
            try access.write(filing.record.bytes, to: temporary)
            try flush([temporary])
            guard rename(temporary, filing.target) == 0 else {
                throw OrchestrationError(system: "restore", filing.target, errno)
            }
        default: throw OrchestrationError(system: "file", filing.source, errno)
        }
    }

    /// Makes the content of files durable: of a few one by one, of many by one flush of the file system.
    private func flush(_ paths: [String]) throws {
        if paths.count > 8 {
            let path = InboxEntry.path(workspace.jobs)
            guard clinux_sync_filesystem(path) == 0 else { throw OrchestrationError(system: "sync", path, errno) }
            return try Failpoint.fileFlushed.hit()
        }
        for path in paths {
            let descriptor = Glibc.open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
            guard descriptor >= 0 else { throw OrchestrationError(system: "open", path, errno) }
            defer { close(descriptor) }
            guard fsync(descriptor) == 0 else { throw OrchestrationError(system: "sync", path, errno) }
        }
        try Failpoint.fileFlushed.hit()
    }
}

extension Inbox {
    /// The content of `.receipt.json`.
    struct Receipt: Codable {
        struct Job: Codable { var id: String }
        var schema = 1
        var verdict: String
        var jobs: [Job]
        var file: String
        var tenant: String
        var received: String
    }
}

/// Who may read a receipt or a report: whoever may read the manifest, as far as this process can arrange it.
private struct PaperAccess {
    private var mode: mode_t
    private var owner: (user: uid_t, group: gid_t)?

    /// As the file at one of the paths has it.
    init(besides source: String, or target: String, tenant: String) {
        mode = tenant == InboxEntry.defaultTenant ? 0o644 : 0o640
        var status = stat()
        guard lstat(source, &status) == 0 || lstat(target, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            return
        }
        mode = status.st_mode & 0o444 | 0o600
        owner = (status.st_uid, status.st_gid)
    }

    func write(_ data: Data, to path: String) throws {
        unlink(path)
        let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw OrchestrationError(system: "create", path, errno) }
        defer { close(descriptor) }
        var isReadable = true
        if let owner, fchown(descriptor, owner.user, owner.group) != 0 {
            // Only root gives files away; the group may be one of this user's own.
            isReadable = owner.user == geteuid() || fchown(descriptor, .max, owner.group) == 0 && mode & 0o040 != 0
        }
        // Where neither can be had, the dropper is not kept from the answer: it holds less than the manifest does.
        guard fchmod(descriptor, isReadable ? mode : mode | 0o044) == 0 else {
            throw OrchestrationError(system: "set the mode of", path, errno)
        }
        try data.withUnsafeBytes { bytes in
            var offset = 0
            while offset < bytes.count {
                let count = Glibc.write(descriptor, bytes.baseAddress! + offset, bytes.count - offset)
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { throw OrchestrationError(system: "write", path, errno) }
                offset += count
            }
        }
        try Failpoint.fileWritten.hit()
    }
}
