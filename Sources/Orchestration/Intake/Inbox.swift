import Artifacts
import CLinux
import Foundation
import Glibc
import Logging
import PipelineSpec

/// Takes manifests out of the inbox: claim, record, file, each step repeatable after a crash.
///
/// The folder listing is the truth; events only say which files were renamed in, and are therefore whole.
struct Inbox {
    /// What identifies the content of a file without reading it.
    private struct Identity: Equatable {
        var device: UInt
        var inode: UInt
        var size: Int
        var modified: [Int]
        var changed: [Int]

        init(_ status: stat) {
            device = UInt(status.st_dev)
            inode = UInt(status.st_ino)
            size = Int(status.st_size)
            modified = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
            changed = [status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
        }
    }

    private struct Sighting {
        var identity: Identity
        /// On `CLOCK_BOOTTIME`.
        var since: Double
        var isLogged = false
    }

    private let configuration: OrchestrationConfiguration
    private let queue: JobQueue
    private var sightings: [String: Sighting] = [:]
    /// Why nothing is taken at the moment.
    private(set) var pausedReason: String?

    private var workspace: Workspace { configuration.workspace }

    init(_ configuration: OrchestrationConfiguration, _ queue: JobQueue) {
        self.configuration = configuration
        self.queue = queue
    }

    /// Checks that a claim, which is a rename, can work.
    static func check(_ workspace: Workspace) throws {
        var devices: Set<UInt> = []
        for folder in [workspace.inbox, workspace.claimed, workspace.accepted, workspace.rejected] {
            var status = stat()
            guard stat(folder.path, &status) == 0 else {
                throw OrchestrationError(system: "examine", folder.path, errno)
            }
            devices.insert(UInt(status.st_dev))
        }
        guard devices.count == 1 else {
            throw OrchestrationError(
                .io, "inbox, claimed, accepted and rejected under \(workspace.jobs.path) must be on one file system")
        }
    }

    /// Finishes what was begun, then takes every file that is complete.
    ///
    /// - Parameter movedIn: Names known to have been renamed into a folder of the inbox.
    /// - Returns: In how many seconds a file that is being written may have settled; `nil` when none is.
    mutating func scan(movedIn: Set<String>) throws -> Double? {
        let free = configuration.freeBytes(workspace.jobs)
        if free < configuration.diskFloor {
            pausedReason = "disk full: \(free >> 20) MiB free, \(configuration.diskFloor >> 20) MiB needed"
            return nil
        }
        do {
            try finishClaims()
            let next = try takeSettled(movedIn)
            pausedReason = nil
            return next
        } catch  where OrchestrationError.isDiskFull(error) {
            pausedReason = "disk full: \(error)"
            return nil
        }
    }

    // MARK: Settling

    private mutating func takeSettled(_ movedIn: Set<String>) throws -> Double? {
        let now = clinux_boottime()
        var next: Double?
        var present: Set<String> = []
        let folders = try InboxEntry.folders(workspace)
        var owners: [String: Int] = [:]
        var candidates: [(folder: String, tenant: String, name: String)] = []
        for folder in folders {
            for name in try InboxEntry.names(in: folder.path) where InboxName(name) == .manifest {
                owners[name, default: 0] += 1
                candidates.append((folder.path, folder.tenant, name))
            }
        }
        for (folder, tenant, name) in candidates {
            let path = "\(folder)/\(name)"
            var status = stat()
            guard lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFDIR else { continue }
            present.insert(path)
            let identity = Identity(status)
            if sightings[path]?.identity != identity { sightings[path] = Sighting(identity: identity, since: now) }
            let age = now - (sightings[path]?.since ?? now)
            // An event names the file, not the folder: of two with one name, either may be meant.
            let isWhole =
                status.st_nlink == 1
                && (InboxName.claim(in: name) != nil || movedIn.contains(name) && owners[name] == 1)
            if !isWhole {
                var settle = configuration.settle
                if age >= settle {
                    // Looked at once more when its writer goes on: that changes its identity.
                    if configuration.requiresEndMarker && !hasEndMarker(path) { continue }
                    if age < settle * 5 && looksTruncated(path, tenant) { settle *= 5 }
                }
                guard age >= settle else {
                    next = min(next ?? .infinity, settle - age)
                    continue
                }
            }
            do {
                try take(folder, name, tenant)
                sightings[path] = nil
            } catch  where OrchestrationError.isDiskFull(error) || OrchestrationError.endsDaemon(error) {
                throw error
            } catch {
                // One file that cannot be taken does not stop the others.
                if sightings[path]?.isLogged == false {
                    configuration.logger.error(
                        "cannot take a file", metadata: ["file": "\(path)", "error": "\(error)"])
                    sightings[path]?.isLogged = true
                }
            }
        }
        sightings = sightings.filter { present.contains($0.key) }
        return next
    }

    /// Whether a file that was not renamed in ends in the middle of something; then its writer gets more time.
    private func looksTruncated(_ path: String, _ tenant: String) -> Bool {
        guard let read = try? ManifestFile.read(path, limit: configuration.maximumManifestBytes),
            case .bytes(let bytes) = read.content, case .failure(let invalid) = configuration.resolve(bytes, tenant)
        else { return false }
        return invalid.findings.contains { $0.code == .truncated }
    }

    /// Whether the last line of a YAML file that is not blank is `...`; JSON ends where its braces do.
    private func hasEndMarker(_ path: String) -> Bool {
        guard !path.hasSuffix(".json") else { return true }
        guard let read = try? ManifestFile.read(path, limit: configuration.maximumManifestBytes),
            case .bytes(let bytes) = read.content
        else { return true }
        let lines = bytes.split(separator: UInt8(ascii: "\n"))
        let last = lines.last { $0.contains { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\r") } }
        return last.map { String(decoding: $0, as: UTF8.self).trimmingCharacters(in: .whitespaces) == "..." } ?? false
    }

    // MARK: Claim

    private func take(_ folder: String, _ name: String, _ tenant: String) throws {
        var id = ULID().description
        var original = name
        if let claim = InboxName.claim(in: name) {
            original = claim.name
            // A file that was filed before and is dropped again is a new drop.
            if try queue.intakeRecord(claim.id.description) == nil { id = claim.id.description }
        }
        let home = claimedFolder(tenant)
        if mkdir(home, 0o700) == 0 {
            try AtomicFile.syncFolder(InboxEntry.path(workspace.claimed))
        } else if errno != EEXIST {
            throw OrchestrationError(system: "make the folder", home, errno)
        }
        let claimed = "\(home)/\(id)__\(original)"
        guard clinux_rename_noreplace("\(folder)/\(name)", claimed) == 0 else {
            // Gone: its writer has taken it back.
            if errno == ENOENT { return }
            throw OrchestrationError(system: "claim", "\(folder)/\(name)", errno)
        }
        try Failpoint.intakeClaimed.hit()
        try AtomicFile.syncFolder(home)
        try AtomicFile.syncFolder(folder)
        try Failpoint.intakeClaimFlushed.hit()
        try finish(id, original, tenant)
    }

    private func claimedFolder(_ tenant: String) -> String {
        let claimed = InboxEntry.path(workspace.claimed)
        return tenant == InboxEntry.defaultTenant ? claimed : "\(claimed)/\(tenant)"
    }

    /// What an earlier scan, or an earlier daemon, had begun.
    private func finishClaims() throws {
        let claimed = InboxEntry.path(workspace.claimed)
        let tenants = try InboxEntry.names(in: claimed).filter {
            InboxEntry.isTenant($0) && InboxEntry.isFolder("\(claimed)/\($0)")
        }
        for tenant in [InboxEntry.defaultTenant] + tenants {
            for name in try InboxEntry.names(in: claimedFolder(tenant)) {
                guard let claim = InboxName.claim(in: name) else { continue }
                try guarded(name) { try finish(claim.id.description, claim.name, tenant) }
            }
        }
        // The file itself may be gone: then it is restored from the bytes in the queue.
        for record in try queue.unfiledIntake() { try guarded(record.originalName) { try file(record) } }
    }

    private func guarded(_ name: String, _ body: () throws -> Void) throws {
        do {
            try body()
        } catch  where OrchestrationError.isDiskFull(error) || OrchestrationError.endsDaemon(error) {
            throw error
        } catch {
            configuration.logger.error("cannot finish a claim", metadata: ["file": "\(name)", "error": "\(error)"])
        }
    }

    // MARK: Record

    /// Brings a claimed file to its place, from whatever point it had reached.
    private func finish(_ id: String, _ original: String, _ tenant: String) throws {
        if try queue.intakeRecord(id) == nil {
            let path = "\(claimedFolder(tenant))/\(id)__\(original)"
            let read = try ManifestFile.read(path, limit: configuration.maximumManifestBytes)
            try Failpoint.intakeRead.hit()
            let bytes = read.bytes
            let claimed = ClaimedFile(
                claimID: id, tenant: tenant, originalName: original, bytes: bytes, digest: Digest.sha256(bytes),
                size: read.size, ownerID: read.ownerID)
            let judgement: Result<Submission, InvalidFile> =
                switch read.content {
                case .bytes(let bytes): configuration.resolve(bytes, tenant)
                case .refused(let finding): .failure(InvalidFile([finding]))
                }
            try Failpoint.intakeJudged.hit()
            switch judgement {
            case .success(let submission):
                do {
                    _ = try queue.accept(claimed, submission)
                } catch let refusal as RefusedSubmission {
                    let finding = Finding(
                        Finding.Code(rawValue: refusal.code), pointer: refusal.pointer, refusal.description)
                    _ = try queue.reject(claimed, report: Self.report([finding]))
                }
            case .failure(let invalid):
                _ = try queue.reject(claimed, report: Self.report(invalid.findings))
            }
            try Failpoint.intakeRecorded.hit()
        }
        if let record = try queue.intakeRecord(id), record.filedPath == nil { try file(record) }
    }

    private static func report(_ findings: [Finding]) -> Data {
        Data(ValidationReport(findings).json.text().utf8)
    }

    /// Records a manifest that did not come through the inbox, and files it like one that did.
    static func record(
        _ manifest: Data, name: String, tenant: String, _ submission: Submission,
        _ configuration: OrchestrationConfiguration, _ queue: JobQueue
    ) throws -> IntakeVerdict {
        let file = ClaimedFile(
            claimID: ULID().description, tenant: tenant, originalName: InboxName.accepted(from: name), bytes: manifest,
            digest: Digest.sha256(manifest), size: Int64(manifest.count), ownerID: geteuid())
        let verdict = try queue.accept(file, submission)
        if let record = try queue.intakeRecord(file.claimID) { try Inbox(configuration, queue).file(record) }
        return verdict
    }

    // MARK: File

    /// Writes the receipt or the report, and moves the file beside it.
    private func file(_ record: JobQueue.IntakeRecord) throws {
        let isRejected = record.verdict.job == nil
        let day = record.receivedAt.formatted(.iso8601.year().month().day())
        let folder = InboxEntry.path(isRejected ? workspace.rejected : workspace.accepted) + "/\(day)"
        if mkdir(folder, 0o755) == 0 {
            try AtomicFile.syncFolder(InboxEntry.path(isRejected ? workspace.rejected : workspace.accepted))
        } else if errno != EEXIST {
            throw OrchestrationError(system: "make the folder", folder, errno)
        }
        let name = "\(record.claimID)__\(record.originalName)"
        let target = "\(folder)/\(name)"
        if case .rejected(let report) = record.verdict {
            struct Report: Decodable { var findings: [Finding] }
            let findings = try ProtocolJSON.decode(Report.self, from: report).findings
            let text = ValidationReport(findings).text(file: record.originalName, source: record.bytes)
            try AtomicFile.write(report + Data("\n".utf8), to: URL(filePath: target + ".error.json"))
            try AtomicFile.write(Data(text.utf8), to: URL(filePath: target + ".error.txt"))
        } else {
            let receipt = Receipt(
                verdict: record.verdict.word, jobs: [Receipt.Job(id: record.verdict.job ?? "")],
                file: record.originalName, tenant: record.tenant, received: record.receivedAt.formatted(.iso8601))
            let data = try ProtocolJSON.encode(receipt)
            try AtomicFile.write(data + Data("\n".utf8), to: URL(filePath: target + ".receipt.json"))
        }
        try Failpoint.intakeReported.hit()

        let source = "\(claimedFolder(record.tenant))/\(name)"
        if rename(source, target) == 0 {
            try AtomicFile.syncFolder(folder)
            try AtomicFile.syncFolder(claimedFolder(record.tenant))
        } else if errno == ENOENT {
            var status = stat()
            if lstat(target, &status) != 0 { try AtomicFile.write(record.bytes, to: URL(filePath: target)) }
        } else {
            throw OrchestrationError(system: "file", source, errno)
        }
        try Failpoint.intakeMoved.hit()
        try queue.markFiled(record.claimID, at: workspace.relativePath(URL(filePath: target)))
        try Failpoint.intakeFiled.hit()
        configuration.logger.info(
            "\(record.verdict.word) \(record.originalName)", metadata: ["claim": "\(record.claimID)"])
    }

    /// The content of `.receipt.json`.
    private struct Receipt: Encodable {
        struct Job: Encodable { var id: String }
        var schema = 1
        var verdict: String
        var jobs: [Job]
        var file: String
        var tenant: String
        var received: String
    }
}
