package import Foundation
import Glibc
package import PipelineSpec

/// A file that lies in the inbox or on its way out of it, and why it has not been taken.
package struct InboxEntry: Sendable, Equatable {
    package enum Status: Sendable, Equatable {
        /// Will be taken as soon as it is complete.
        case waiting
        /// Taken, and not filed yet.
        case claimed
        /// An editor's or a copying program's own.
        case ignored
        /// Never taken, never deleted.
        case refused(reason: String)
    }

    /// Its path below the inbox, or below `claimed`.
    package var path: String
    package var tenant: String
    package var status: Status
    /// Seconds since its content or its name changed; `nil` when that cannot be told.
    package var age: Double?

    /// What people put into the inbox itself.
    package static let defaultTenant = "default"

    /// Everything in the inbox, without looking into any file.
    package static func list(_ workspace: Workspace) throws -> [InboxEntry] {
        var entries: [InboxEntry] = []
        let now = Date().timeIntervalSince1970
        for folder in try folders(workspace) {
            let names: [String]
            do {
                names = try self.names(in: folder.path)
            } catch {
                if folder.tenant == defaultTenant { throw error }
                let reason = "the folder cannot be listed: \(String(cString: strerror(errno)))"
                entries.append(InboxEntry(path: folder.tenant, tenant: folder.tenant, status: .refused(reason: reason)))
                continue
            }
            for name in names {
                let kind = InboxName(name)
                let path = "\(folder.path)/\(name)"
                if folder.tenant == defaultTenant, isTenant(name), isFolder(path) { continue }
                var status = stat()
                let isThere = lstat(path, &status) == 0
                // A name that is no text is spelled otherwise than it is stored, so nothing is known of the file.
                if !isThere && errno == ENOENT && kind == .manifest { continue }
                let isFolder = isThere && status.st_mode & S_IFMT == S_IFDIR
                let word: Status =
                    switch (kind, reason(kind, isFolder: isFolder)) {
                    case (.ignored, _): .ignored
                    case (_, let reason?): .refused(reason: reason)
                    default: .waiting
                    }
                let changed = Double(status.st_ctim.tv_sec) + Double(status.st_ctim.tv_nsec) * 1e-9
                entries.append(
                    InboxEntry(
                        path: folder.tenant == defaultTenant ? name : "\(folder.tenant)/\(name)",
                        tenant: folder.tenant, status: word, age: isThere ? max(0, now - changed) : nil))
            }
        }
        return entries
    }

    /// Files that were taken and are not filed yet: what a crash has left, or what the daemon is about to do.
    package static func claimed(_ workspace: Workspace) throws -> [InboxEntry] {
        let claimed = path(workspace.claimed)
        // The folder is the daemon's own; another user sees nothing there.
        guard access(claimed, R_OK | X_OK) == 0 else { return [] }
        let tenants = try names(in: claimed).filter { isTenant($0) && isFolder("\(claimed)/\($0)") }
        return try ([defaultTenant] + tenants).flatMap { tenant in
            try names(in: tenant == defaultTenant ? claimed : "\(claimed)/\(tenant)").compactMap { name in
                let path = tenant == defaultTenant ? name : "\(tenant)/\(name)"
                var status = stat()
                guard lstat("\(claimed)/\(path)", &status) == 0, status.st_mode & S_IFMT != S_IFDIR else { return nil }
                let age = max(0, Date().timeIntervalSince1970 - Double(status.st_ctim.tv_sec))
                let isOurs = InboxName.claim(in: name) != nil
                return InboxEntry(
                    path: path, tenant: tenant,
                    status: isOurs ? .claimed : .refused(reason: "not the daemon's: it lies in the folder claimed"),
                    age: age)
            }
        }
    }

    /// Why a file is not taken, in words, for the daemon as it fares and the settings as they are.
    ///
    /// - Parameter daemon: What the daemon says of itself; `nil` when none runs.
    package func reason(
        in workspace: Workspace, _ settings: WorkspaceSettings.Inbox, daemon: DaemonLock.Note?
    ) -> String {
        switch status {
        case .refused(let reason): return reason
        case .ignored: return "a temporary file"
        case .claimed: return daemon == nil ? "taken; filed when a daemon runs: lorajobs daemon" : "being filed"
        case .waiting: break
        }
        guard let daemon else { return "until a daemon runs: lorajobs daemon" }
        if let paused = daemon.intakePaused { return "the intake is paused: \(paused)" }
        let file = workspace.inbox.appending(path: path).path(percentEncoded: false)
        if InboxName.claim(in: path.split(separator: "/").last.map(String.init) ?? path) != nil {
            return "about to be taken"
        }
        let age = age ?? 0
        if age < settings.settleSeconds {
            return "until it has not changed for \(Quantity.duration(settings.settleSeconds))"
        }
        switch FileEnd(of: file, maximumBytes: settings.maxBytes, requiresMarker: settings.requireEndMarker) {
        case .whole: return "about to be taken"
        case .unmarked: return "until its last line is \"...\", as inbox.require_end_marker asks for"
        case .cutOff:
            let patience = max(60, settings.settleSeconds * FileEnd.patience)
            return "it ends in the middle of something; rejected when it has not changed for "
                + Quantity.duration(patience)
        }
    }

    /// Why a name is not a manifest's; `nil` for one that is.
    static func reason(_ kind: InboxName, isFolder: Bool) -> String? {
        if isFolder { return "a folder whose name cannot be a tenant's" }
        if case .refused(let reason) = kind { return reason }
        return nil
    }

    /// Drops a manifest: it appears in the inbox whole, under a ULID that becomes the id of its job.
    ///
    /// - Parameters:
    ///   - name: The file's own name; what may not be in an inbox name is replaced.
    ///   - tenant: `nil` is the inbox itself.
    /// - Returns: The id to ask ``JobQueue/verdict(of:)`` for.
    package static func drop(
        _ manifest: Data, name: String, tenant: String? = nil, in workspace: Workspace
    ) throws -> String {
        var folder = workspace.inbox
        if let tenant, tenant != defaultTenant {
            guard isTenant(tenant) else {
                throw OrchestrationError(
                    .invalidInput, "\"\(tenant)\" cannot be a tenant: use up to 64 letters, digits, '_' and '-'")
            }
            folder.append(path: tenant, directoryHint: .isDirectory)
            guard mkdir(folder.path, 0o755) == 0 || errno == EEXIST else {
                throw OrchestrationError(system: "make the folder", folder.path, errno)
            }
            // Whoever made it may not have synced it.
            try AtomicFile.syncFolder(path(workspace.inbox))
        }
        let id = ULID().description
        try AtomicFile.write(manifest, to: folder.appending(path: "\(id)__\(InboxName.accepted(from: name))"))
        return id
    }

    /// The inbox and the folders of the tenants in it.
    static func folders(_ workspace: Workspace) throws -> [(path: String, tenant: String)] {
        let inbox = path(workspace.inbox)
        let tenants = try names(in: inbox).filter { isTenant($0) && isFolder("\(inbox)/\($0)") }
        return [(inbox, defaultTenant)] + tenants.map { ("\(inbox)/\($0)", $0) }
    }

    static func path(_ url: URL) -> String {
        let path = url.path
        return path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    }

    /// Names in a folder, sorted by bytes, so that what was submitted first is taken first.
    static func names(in folder: String) throws -> [String] {
        guard let handle = opendir(folder) else { throw OrchestrationError(system: "list", folder, errno) }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Whether a folder of this name in the inbox names a tenant; `default` is the inbox itself.
    package static func isTenant(_ name: String) -> Bool { InboxName.isTenant(name) && name != defaultTenant }

    static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }
}
