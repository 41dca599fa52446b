package import Foundation

/// The folder everything happens in, and the places in it.
package struct Workspace: Sendable, Hashable {
    /// The folder itself, as an absolute path with symlinks resolved.
    package let root: URL

    /// The workspace at `root`, which need not exist yet.
    package init(root: URL) {
        let path = root.absoluteURL.standardizedFileURL.path(percentEncoded: false)
        let resolved = FilePaths.realPath(path) ?? path
        self.root = URL(filePath: resolved, directoryHint: .isDirectory)
    }

    package var jobs: URL { folder("Jobs") }
    /// Where manifests are dropped; `inbox/<tenant>/` names a tenant.
    package var inbox: URL { folder("Jobs/inbox") }
    /// The daemon's own: files between the inbox and their verdict.
    package var claimed: URL { folder("Jobs/claimed") }
    package var accepted: URL { folder("Jobs/accepted") }
    package var rejected: URL { folder("Jobs/rejected") }
    /// Recurring jobs.
    package var schedules: URL { folder("Jobs/schedules") }
    package var runs: URL { folder("Jobs/runs") }
    /// The queue.
    package var database: URL { root.appending(path: "Jobs/lorajobs.sqlite") }
    /// Locked with `flock` by the daemon for as long as it lives.
    package var daemonLock: URL { root.appending(path: "Jobs/.daemon.lock") }
    package var pipelines: URL { folder("Pipelines") }
    /// The store.
    package var artifacts: URL { folder("Artifacts") }
    /// Optional settings.
    package var settings: URL { root.appending(path: "lorajobs.yaml") }

    /// The pipeline file of a name.
    package func pipeline(_ name: String) -> URL { pipelines.appending(path: "\(name).yaml") }

    /// The folder of one try, counted from 1, at a stage of a job.
    package func run(job: String, stage: String, attempt: Int) -> RunDirectory {
        RunDirectory(runs.appending(path: job).appending(path: "\(stage).\(attempt)", directoryHint: .isDirectory))
    }

    /// `url` relative to the workspace where it lies inside, else its absolute path.
    package func relativePath(_ url: URL) -> String {
        let path = url.absoluteURL.path(percentEncoded: false)
        let base = root.path(percentEncoded: false)
        let trimmed = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        return trimmed.hasPrefix(base) ? String(trimmed.dropFirst(base.count)) : trimmed
    }

    /// The workspace a command works in: `explicit` (`--root`), else `LORAJOBS_ROOT`, else the nearest ancestor
    /// of `folder` that holds `Jobs/inbox`.
    ///
    /// - Throws: ``SpecError`` when there is none; the message says how to make one.
    package static func locate(
        explicit: String? = nil, environment: [String: String] = ProcessInfo.processInfo.environment,
        from folder: URL = URL(filePath: FileManager.default.currentDirectoryPath, directoryHint: .isDirectory)
    ) throws -> Workspace {
        let named = explicit ?? environment["LORAJOBS_ROOT"].flatMap { $0.isEmpty ? nil : $0 }
        if let named {
            let path = FilePaths.absolute(named, in: folder)
            let workspace = Workspace(root: URL(filePath: path, directoryHint: .isDirectory))
            guard workspace.exists else {
                throw SpecError(
                    .noWorkspace,
                    "\(named) is no workspace: it has no Jobs/inbox; make one with: lorajobs init \(named)")
            }
            return workspace
        }
        var candidate = folder.absoluteURL.standardizedFileURL
        while true {
            let workspace = Workspace(root: candidate)
            if workspace.exists { return workspace }
            let parent = candidate.deletingLastPathComponent().standardizedFileURL
            if parent.path(percentEncoded: false) == candidate.path(percentEncoded: false) { break }
            candidate = parent
        }
        throw SpecError(
            .noWorkspace,
            """
            no workspace here: neither this folder nor one above it holds Jobs/inbox; \
            make one with: lorajobs init DIR, or name one with --root or LORAJOBS_ROOT
            """)
    }

    /// Whether the folder holds a `Jobs/inbox`.
    package var exists: Bool {
        var isFolder: ObjCBool = false
        return FileManager.default.fileExists(atPath: inbox.path(percentEncoded: false), isDirectory: &isFolder)
            && isFolder.boolValue
    }

    /// Lays down the folders and the example pipelines, durably. What exists is left as it is.
    ///
    /// - Returns: the paths that were made, relative to the workspace.
    @discardableResult
    package func create() throws -> [String] {
        var made: [String] = []
        let manager = FileManager.default
        for folder in [inbox, claimed, accepted, rejected, schedules, runs, pipelines, artifacts] {
            if manager.fileExists(atPath: folder.path(percentEncoded: false)) { continue }
            // The process's mask says whose they are. What a daemon has claimed is nobody else's to read or touch.
            let permissions: [FileAttributeKey: Any]? = folder == claimed ? [.posixPermissions: 0o700] : nil
            do {
                try manager.createDirectory(
                    at: folder, withIntermediateDirectories: true, attributes: permissions)
            } catch {
                throw SpecError(.io, "cannot make the folder \(folder.path(percentEncoded: false)): \(error)")
            }
            made.append(relativePath(folder) + "/")
        }
        // Also when they were there: who made them may have been interrupted before this point.
        for folder in [jobs, root, root.deletingLastPathComponent()] {
            try AtomicFile.syncFolder(folder.path(percentEncoded: false))
        }
        for (name, text) in ExamplePipelines.all {
            let url = pipeline(name)
            if manager.fileExists(atPath: url.path(percentEncoded: false)) { continue }
            try AtomicFile.write(Data(text.utf8), to: url)
            made.append(relativePath(url))
        }
        return made
    }

    private func folder(_ path: String) -> URL { root.appending(path: path, directoryHint: .isDirectory) }
}
