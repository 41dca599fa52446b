import Foundation
import Glibc
import PipelineSpec

/// Checks of what people write and of where it lies.
extension Doctor {
    func settings(_ report: Report) throws {
        let name = workspace.relativePath(workspace.settings)
        do {
            _ = try WorkspaceSettings(of: workspace)
        } catch let error as InvalidFile {
            for finding in error.findings { report.problem("\(name)\(Self.line(finding))", advice: finding.hint) }
        }
        let exists = access(workspace.settings.path, F_OK) == 0
        report.otherwise(exists ? "\(name) is sound" : "there is no \(name); the defaults hold")
    }

    func pipelines(_ report: Report) throws {
        let kinds = Dictionary(configuration.descriptors.map { ($0.kind, $0) }, uniquingKeysWith: { $1 })
        var count = 0
        let folder = InboxEntry.path(workspace.pipelines)
        for file in try InboxEntry.isFolder(folder) ? InboxEntry.names(in: folder) : [] {
            guard file.hasSuffix(".yaml"), InboxName(file) != .ignored else { continue }
            count += 1
            do {
                _ = try PipelineDefinition.load(String(file.dropLast(5)), in: workspace, kinds: kinds)
            } catch let error as InvalidFile {
                for finding in error.findings {
                    report.problem("Pipelines/\(file)\(Self.line(finding))", advice: finding.hint)
                }
            }
        }
        if count == 0 { report.warning("there is no pipeline", advice: "lorajobs init . lays down the examples") }
        report.otherwise("\(count) files in Pipelines, all sound")
    }

    func schedules(_ report: Report) throws {
        let entries = try ScheduleFolder(workspace).entries(configuration.readSchedule)
        for entry in entries {
            for finding in entry.findings {
                report.problem("\(workspace.relativePath(entry.url))\(Self.line(finding))", advice: finding.hint)
            }
        }
        report.otherwise(entries.isEmpty ? "there are none" : "\(entries.count) files in Jobs/schedules, all sound")
    }

    private static func line(_ finding: Finding) -> String {
        (finding.line.map { ", line \($0)" } ?? "") + ": \(finding.message)"
    }

    private var allFolders: [URL] {
        [
            workspace.root, workspace.jobs, workspace.inbox, workspace.claimed, workspace.accepted, workspace.rejected,
            workspace.schedules, workspace.runs, workspace.pipelines, workspace.artifacts,
        ]
    }

    func folders(_ report: Report) throws {
        for url in allFolders {
            let path = InboxEntry.path(url)
            let name = url == workspace.root ? "the workspace" : workspace.relativePath(url)
            var status = stat()
            guard stat(path, &status) == 0 else {
                report.problem(
                    "\(name) cannot be looked at: \(String(cString: strerror(errno)))", advice: "mkdir -p '\(path)'")
                continue
            }
            guard status.st_mode & S_IFMT == S_IFDIR else {
                report.problem("\(name) is no folder", advice: "move it away")
                continue
            }
            if status.st_mode & S_IWOTH != 0, status.st_mode & S_ISVTX == 0 {
                report.problem(
                    "everybody may write to \(name), and remove what others have put there",
                    advice: "chmod o-w '\(path)', or chmod +t '\(path)' for an inbox of many users")
            } else if status.st_mode & (S_IWGRP | S_IWOTH) != 0, url == workspace.claimed {
                report.problem("others may write to \(name), the daemon's own", advice: "chmod 700 '\(path)'")
            } else if url == workspace.claimed, status.st_mode & 0o077 != 0 {
                report.warning("others may read \(name), the daemon's own", advice: "chmod 700 '\(path)'")
            }
            if access(path, W_OK | X_OK) != 0 {
                report.warning(
                    "this user may not write to \(name)", advice: "run the daemon and its verbs as its owner")
            }
        }
        report.otherwise("all \(allFolders.count) are there, and only who should may write")
    }

    func devices(_ report: Report) throws {
        let home = machine.device(InboxEntry.path(workspace.jobs))
        for url in [workspace.inbox, workspace.claimed, workspace.accepted, workspace.rejected] {
            let device = machine.device(InboxEntry.path(url))
            if device != nil, device != home {
                report.problem(
                    "\(workspace.relativePath(url)) is on another file system than Jobs, so that no file can be renamed there",
                    advice: "keep all of Jobs on one file system")
            }
        }
        if let runs = machine.device(InboxEntry.path(workspace.runs)),
            let store = machine.device(InboxEntry.path(workspace.artifacts)), runs != store
        {
            report.warning(
                "Jobs/runs and Artifacts are on two file systems: every output is copied instead of linked",
                advice: "keep the workspace on one file system where room is short")
        }
        report.otherwise("everything is on one file system")
    }

    func fileSystems(_ report: Report) throws {
        for url in [workspace.jobs, workspace.inbox] {
            let type = machine.fileSystem(InboxEntry.path(url))
            guard let name = Self.distant[type] ?? Self.stacked[type] else { continue }
            let place = workspace.relativePath(url)
            if url == workspace.jobs, Self.distant[type] != nil {
                report.problem(
                    "\(place), where the queue lies, is on \(name): neither its locks nor its log are safe there",
                    advice: "put the workspace on a local file system; drop files there with lorajobs submit")
            } else if url == workspace.inbox || machine.fileSystem(InboxEntry.path(workspace.inbox)) != type {
                report.warning(
                    "\(place) is on \(name), where not every change is announced; the daemon also looks by itself")
            }
        }
        report.otherwise("queue and inbox are on a local file system")
    }

    /// `f_type` of file systems that another machine, or a program, serves.
    private static let distant: [Int: String] = [
        0x6969: "NFS", 0x517B: "SMB", 0xFF53_4D42: "SMB", 0xFE53_4D42: "SMB", 0x5346_414F: "AFS", 0x00C3_6400: "Ceph",
        0x0BD0_0BD0: "Lustre", 0x0102_1997: "9p",
    ]
    private static let stacked: [Int: String] = [0x6573_5546: "FUSE", 0x794C_7630: "overlayfs"]

    func space(_ report: Report) throws {
        let free = configuration.freeBytes(workspace.jobs)
        let text =
            "\(free >> 20) MiB are free, and below \(configuration.diskFloor >> 20) MiB nothing is taken or started"
        if free < configuration.diskFloor {
            report.problem(text, advice: "free some space")
        } else if free < configuration.diskFloor * 4 {
            report.warning(text, advice: "free some space before long")
        }
        report.otherwise(text)
    }

    func daemon(_ report: Report) throws {
        guard let note = try DaemonLock.holder(of: workspace) else {
            return report.otherwise("none runs; start one with: lorajobs daemon")
        }
        let path = workspace.relativePath(workspace.daemonLock)
        if note.pid <= 0 || kill(note.pid, 0) != 0 && errno == ESRCH {
            report.warning(
                "somebody holds \(path), and it does not say who (process \(note.pid) is not there)",
                advice: "find out with: fuser '\(workspace.daemonLock.path)'; in a container, look outside it")
        }
        if let reason = note.intakePaused { report.warning("process \(note.pid) takes no files: \(reason)") }
        report.otherwise("process \(note.pid) since \(note.startedAt.formatted(.iso8601)), holding \(path)")
    }

    func watcher(_ report: Report) throws {
        guard let watcher = configuration.watcher, access(watcher.path, X_OK) == 0 else {
            return report.warning(
                "there is no lorajobs-inotify beside this program, so the inbox is looked at twice a second",
                advice: "install it beside lorajobs")
        }
        report.otherwise(watcher.path)
    }

    func inotify(_ report: Report) throws {
        for (name, least) in [("max_user_watches", 1024), ("max_user_instances", 16), ("max_queued_events", 1024)] {
            guard let limit = machine.inotifyLimit(name) else {
                report.warning("fs.inotify.\(name) is not known: is /proc mounted?")
                continue
            }
            if limit < least {
                report.warning(
                    "fs.inotify.\(name) is \(limit)",
                    advice: "sysctl fs.inotify.\(name)=\(least * 8) (and in /etc/sysctl.d)")
            }
        }
        report.otherwise("the limits of this user suffice")
    }
}
