import CLinux
import Foundation
import Glibc
import Logging
import PipelineSpec

/// What a file system is like, as far as intake and queue care.
enum FileSystem: Sendable, Equatable {
    case local
    /// Events of some writers may not arrive here, such as in a container's layers or behind a program: with its name.
    case unwatchable(String)
    /// Other machines write to it: locks and shared memory do not hold there; with its name.
    case network(String)

    /// The numbers are the `f_type` of statfs(2), from the manual page and linux/magic.h.
    init(type: Int) {
        self =
            switch UInt32(truncatingIfNeeded: type) {
            case 0x6969: .network("NFS")
            case 0x517B, 0xFF53_4D42, 0xFE53_4D42: .network("SMB")
            case 0x00C3_6400: .network("Ceph")
            case 0x5346_414F, 0x6B41_4653: .network("AFS")
            case 0x7375_7245: .network("Coda")
            case 0x0BD0_0BD0: .network("Lustre")
            case 0x4750_4653: .network("GPFS")
            case 0x786F_4256: .network("a VirtualBox shared folder")
            case 0x6573_5546: .unwatchable("FUSE")
            case 0x0102_1997: .unwatchable("9p")
            case 0x794C_7630: .unwatchable("overlay")
            default: .local
            }
    }

    /// That of a folder; one that cannot be examined counts as local.
    init(of folder: URL) { self.init(type: clinux_filesystem_type(folder.path(percentEncoded: false))) }
}

extension OrchestrationConfiguration {
    /// Whether file events tell of every file that comes.
    var hasReliableEvents: Bool { fileSystem(workspace.inbox) == .local }

    /// Checks that a claim, which is a rename, and a lock can work where the workspace lies.
    ///
    /// - Throws: `badConfiguration` with what to do.
    func checkFileSystems() throws {
        var devices: Set<UInt> = []
        for folder in [workspace.inbox, workspace.claimed, workspace.accepted, workspace.rejected] {
            var status = stat()
            guard stat(folder.path, &status) == 0 else {
                throw OrchestrationError(system: "examine", folder.path, errno)
            }
            devices.insert(UInt(status.st_dev))
        }
        let jobs = workspace.jobs.path
        guard devices.count == 1 else {
            throw OrchestrationError(
                .badConfiguration,
                "inbox, claimed, accepted and rejected under \(jobs) must be on one file system: a file is taken by a "
                    + "rename, which does not reach across; mount the whole folder Jobs instead of a part of it")
        }
        // The database and the daemon's lock lie in the folder itself.
        if case .network(let name) = fileSystem(workspace.jobs) {
            throw OrchestrationError(
                .badConfiguration,
                "\(jobs) is on a network file system (\(name)), where neither the daemon's lock nor the queue's database "
                    + "is safe; put the workspace on a local disk, and let other machines copy manifests into its inbox "
                    + "with rsync or sftp")
        }
        switch fileSystem(workspace.inbox) {
        case .local: break
        case .unwatchable(let name), .network(let name):
            logger.notice("the inbox is on \(name), where events may be missing; it is also looked at all the time")
        }
    }
}
