import Foundation
import Glibc
import PipelineSpec

/// Who may drop into the folder of a tenant: its owner and mode say so, as they do for any folder.
struct DropRights {
    /// A folder of the inbox.
    struct Folder {
        var owner: UInt32
        var group: UInt32
        var mode: UInt32

        init(owner: UInt32, group: UInt32, mode: UInt32) {
            self.owner = owner
            self.group = group
            self.mode = mode
        }

        /// `nil` when there is none.
        init?(_ path: String) {
            var status = stat()
            guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
            self.init(owner: status.st_uid, group: status.st_gid, mode: status.st_mode)
        }

        /// Whether a user may drop here: the folder's owner; a member of its group where the group may write; anyone
        /// where all may write and the sticky bit keeps them from each other's files.
        func admits(_ user: UInt32, isMember: (_ user: UInt32, _ group: UInt32) -> Bool) -> Bool {
            user == owner || mode & UInt32(S_IWOTH) != 0 && mode & UInt32(S_ISVTX) != 0
                || mode & UInt32(S_IWGRP) != 0 && isMember(user, group)
        }
    }

    private let configuration: OrchestrationConfiguration
    private var folders: [String: Folder?] = [:]
    private var members: [[UInt32]: Bool] = [:]

    /// The rights as they are now; each folder and each user is looked up once.
    init(_ configuration: OrchestrationConfiguration) { self.configuration = configuration }

    /// Why a tenant's file is refused for its owner; `nil` when the owner may drop it.
    mutating func refusal(of user: UInt32, tenant: String) -> Finding? {
        if user == 0 || user == geteuid() { return nil }
        // Users named in the settings may drop beside those whom the folder lets in.
        if let named = configuration.tenants[tenant], !named.owners.isEmpty, named.admits(user) { return nil }
        let path = tenant == InboxEntry.defaultTenant ? "inbox" : "inbox/\(tenant)"
        let folder: Folder?
        if let known = folders[tenant] {
            folder = known
        } else {
            folder = Folder(InboxEntry.path(configuration.workspace.jobs) + "/" + path)
            folders.updateValue(folder, forKey: tenant)
        }
        let isAdmitted =
            folder?.admits(user) { user, group in
                if let known = members[[user, group]] { return known }
                let isMember = UserDirectory.isMember(user, of: group)
                members[[user, group]] = isMember
                return isMember
            } ?? false
        if isAdmitted { return nil }
        let owner = folder.map { ", which belongs to \(UserDirectory.name(of: $0.owner))" } ?? ""
        return Finding(
            .ownerNotAllowed, "\(UserDirectory.name(of: user)) may not drop into Jobs/\(path)\(owner)",
            hint: "its owner may let you in: by its group and mode, or under tenants in lorajobs.yaml")
    }
}

/// Users and groups as the system knows them.
enum UserDirectory {
    /// A user's name, or `user 1001` for one without.
    static func name(of user: UInt32) -> String { entry(user)?.name ?? "user \(user)" }

    /// Whether a group is a user's first group or one of the others.
    static func isMember(_ user: UInt32, of group: UInt32) -> Bool {
        guard let (name, first) = entry(user) else { return false }
        var count: Int32 = 64
        while count <= 65_536 {
            var groups = [gid_t](repeating: 0, count: Int(count))
            let room = count
            if getgrouplist(name, first, &groups, &count) >= 0 { return groups.prefix(Int(count)).contains(group) }
            count = max(count, room * 2)
        }
        return first == group
    }

    private static func entry(_ user: UInt32) -> (name: String, group: UInt32)? {
        var buffer = [CChar](repeating: 0, count: 16_384)
        var entry = passwd()
        var found: UnsafeMutablePointer<passwd>?
        guard getpwuid_r(user, &entry, &buffer, buffer.count, &found) == 0, found != nil, let name = entry.pw_name else {
            return nil
        }
        return (String(cString: name), entry.pw_gid)
    }
}
