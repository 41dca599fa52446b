package import Foundation
import Glibc
package import PipelineSpec

/// A file that lies in the inbox, and why it has not been taken.
package struct InboxEntry: Sendable, Equatable {
    package enum Status: Sendable, Equatable {
        /// Will be taken as soon as it is complete.
        case waiting
        /// An editor's or a copying program's own.
        case ignored
        /// Never taken, never deleted.
        case refused(reason: String)
    }

    /// Its path below the inbox.
    package var path: String
    package var tenant: String
    package var status: Status

    /// What people put into the inbox itself.
    package static let defaultTenant = "default"

    /// Everything in the inbox, without looking into any file.
    package static func list(_ workspace: Workspace) throws -> [InboxEntry] {
        var entries: [InboxEntry] = []
        for folder in try folders(workspace) {
            for name in try names(in: folder.path) {
                let relative = folder.tenant == defaultTenant ? name : "\(folder.tenant)/\(name)"
                if folder.tenant == defaultTenant, isTenant(name), isFolder("\(folder.path)/\(name)") { continue }
                let status: Status =
                    if isFolder("\(folder.path)/\(name)") {
                        name.hasPrefix(".") ? .ignored : .refused(reason: "a folder whose name cannot be a tenant's")
                    } else {
                        switch InboxName(name) {
                        case .manifest: .waiting
                        case .ignored: .ignored
                        case .refused(let reason): .refused(reason: reason)
                        }
                    }
                entries.append(InboxEntry(path: relative, tenant: folder.tenant, status: status))
            }
        }
        return entries
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

    static func isTenant(_ name: String) -> Bool {
        name.wholeMatch(of: #/[A-Za-z0-9][A-Za-z0-9_-]{0,63}/#) != nil && name != defaultTenant
    }

    static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }
}
