import Artifacts
import CLinux
import Foundation
import Glibc
import PipelineSpec

extension Inbox {
    /// A file in `claimed/`.
    struct Claim {
        var id: String
        /// The name it was dropped under.
        var name: String
        var tenant: String
        var path: String
    }

    // MARK: Claim

    /// Renames files into `claimed/`, and makes that durable at once for all of them.
    ///
    /// - Returns: Those that are there now. The others are gone, have changed since they were looked at, or cannot be
    ///   moved.
    mutating func claim(_ batch: [Candidate]) throws -> [Claim] {
        var claims: [Claim] = []
        var touched: Set<String> = []
        for candidate in batch {
            do {
                var status = stat()
                guard lstat(candidate.path, &status) == 0, FileIdentity(status) == candidate.identity else { continue }
                let id = candidate.claim?.description ?? ULID().description
                let name = InboxName.claim(in: candidate.name)?.name ?? candidate.name
                let home = claimedFolder(candidate.tenant)
                if candidate.tenant != InboxEntry.defaultTenant {
                    try make(home, in: claimedFolder(InboxEntry.defaultTenant), mode: 0o700)
                }
                let claimed = "\(home)/\(id)__\(name)"
                guard clinux_rename_noreplace(candidate.path, claimed) == 0 else {
                    // Gone: its writer has taken it back.
                    if errno == ENOENT { continue }
                    throw OrchestrationError(system: "claim", candidate.path, errno)
                }
                touched.formUnion([home, candidate.folder])
                try Failpoint.intakeClaimed.hit()
                claims.append(Claim(id: id, name: name, tenant: candidate.tenant, path: claimed))
            } catch {
                try setBack(candidate.path, candidate.path, error)
            }
        }
        do {
            for folder in touched.sorted() { try AtomicFile.syncFolder(folder) }
            try Failpoint.intakeClaimFlushed.hit()
        } catch {
            try setBack(claims.map { ($0.id, $0.path) }, error)
            return []
        }
        return claims
    }

    func claimedFolder(_ tenant: String) -> String {
        let claimed = InboxEntry.path(workspace.claimed)
        return tenant == InboxEntry.defaultTenant ? claimed : "\(claimed)/\(tenant)"
    }

    /// What lies in `claimed/`, but for what was set back.
    ///
    /// Files named otherwise are not the intake's.
    func begunClaims() throws -> [Claim] {
        let claimed = InboxEntry.path(workspace.claimed)
        let tenants = try InboxEntry.names(in: claimed).filter {
            InboxEntry.isTenant($0) && InboxEntry.isFolder("\(claimed)/\($0)")
        }
        return try ([InboxEntry.defaultTenant] + tenants).flatMap { tenant in
            let folder = claimedFolder(tenant)
            return try InboxEntry.names(in: folder).compactMap { fileName -> Claim? in
                guard let (id, name) = InboxName.claim(in: fileName), setbacks[id.description] == nil else {
                    return nil
                }
                return Claim(id: id.description, name: name, tenant: tenant, path: "\(folder)/\(fileName)")
            }
        }
    }

    // MARK: Record

    /// Reads and judges claimed files, and records them in one transaction.
    ///
    /// A file that cannot be read stays claimed and is tried again later.
    mutating func record(_ claims: ArraySlice<Claim>) throws {
        if claims.isEmpty { return }
        let recorded = try queue.recorded(among: claims.map(\.id))
        let filed = try queue.recorded(among: claims.map(\.id).filter(recorded.contains), areFiled: true)
        for claim in claims where filed.contains(claim.id) {
            // Put there by a person: what this id stands for lies elsewhere, and was done.
            try setBack(claim.id, claim.path, OrchestrationError(.wrongState, "\(claim.id) was taken and filed before"))
        }
        var rights = DropRights(configuration)
        var judged: [JudgedFile] = []
        for claim in claims where !recorded.contains(claim.id) {
            do {
                let read = try ManifestFile.read(claim.path, limit: configuration.maximumManifestBytes)
                try Failpoint.intakeRead.hit()
                let file = ClaimedFile(
                    claimID: claim.id, tenant: claim.tenant, originalName: claim.name, bytes: read.bytes,
                    digest: Digest.sha256(read.bytes), size: read.size, ownerID: read.ownerID)
                let judgement: Result<Submission, InvalidFile> =
                    if let finding = rights.refusal(of: read.ownerID, tenant: claim.tenant) {
                        .failure(InvalidFile([finding]))
                    } else {
                        switch read.content {
                        case .bytes(let bytes): configuration.resolve(bytes, claim.tenant)
                        case .refused(let finding): .failure(InvalidFile([finding]))
                        }
                    }
                try Failpoint.intakeJudged.hit()
                judged.append(JudgedFile(file, judgement))
            } catch {
                // A person took it away before it was recorded: then it never was here.
                if (error as? OrchestrationError)?.code == .notFound { continue }
                try setBack(claim.id, claim.path, error)
            }
        }
        if judged.isEmpty { return }
        do {
            _ = try queue.record(judged)
            try Failpoint.intakeRecorded.hit()
        } catch {
            try setBack(judged.map { ($0.file.claimID, $0.file.originalName) }, error)
        }
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
        var inbox = Inbox(configuration, queue)
        if let record = try queue.intakeRecord(file.claimID) { try inbox.file([record]) }
        return verdict
    }
}
