package import Foundation
package import Logging
package import PipelineSpec

/// What a daemon, or a run in the foreground, is told by the executable: everything it cannot know on this floor.
package struct OrchestrationConfiguration: Sendable {
    package var workspace: Workspace
    /// The command that runs a stage, without the run directory: the executable's absolute path and `stage`.
    package var stageCommand: [String]
    /// Every kind of stage there is.
    package var descriptors: [StageDescriptor]
    /// Raised when results change for equal inputs, whatever the stage.
    package var numericsVersion: Int
    /// Judges the bytes of a manifest of a tenant: a job, or what is wrong.
    ///
    /// Called on the daemon's task.
    package var resolve: @Sendable (_ bytes: Data, _ tenant: String) -> Result<Submission, InvalidFile>
    /// Where inputs must lie.
    package var roots: PathRoots
    /// Judges the bytes of a file in `Jobs/schedules`.
    package var readSchedule: @Sendable (_ bytes: Data) -> ScheduleFile = { _ in
        let finding = Finding(.unsupported, "this daemon reads no schedules")
        return ScheduleFile(definition: nil, manifest: .failure(InvalidFile([finding])))
    }
    package var logger: Logger
    /// How many jobs of each queue run at once at most, from the workspace's settings.
    package var queues: [String: WorkspaceSettings.Queue] = [:]
    /// Weights of tenants and who may drop for them, from the workspace's settings.
    package var tenants: [String: WorkspaceSettings.Tenant] = [:]
    /// When no job runs, from the workspace's settings.
    package var quiet: QuietHours?

    /// Who is told of what, by name, from the workspace's settings.
    package var notify: [String: NoticeTarget] = [:]
    /// The pause after the first try at a delivery that failed, in seconds; each further one is twice as long.
    package var noticePause = 5.0

    /// Threads that may be busy at once.
    package var cores = ProcessInfo.processInfo.activeProcessorCount
    /// Memory that jobs may use in all, in bytes; `nil` is without a limit.
    package var memoryBytes: Int64?
    /// The most memory that a job's stages will use, in bytes, as far as anybody can say.
    package var estimateMemory: @Sendable (JobManifest) -> Int64? = { _ in nil }
    /// What a job's training computes, as far as that can be counted from shapes and from the size of its data.
    package var countWork: @Sendable (JobManifest) -> CountedWork? = { _ in nil }
    /// How long a file that was not renamed in must be unchanged, in seconds.
    package var settle = 2.0
    /// Whether a YAML file that was not renamed in must end in a line `...` before it is taken.
    package var requiresEndMarker = false
    /// How long a copied file that ends in the middle of something must be unchanged before it is rejected, in seconds.
    package var truncationPatience = 60.0
    /// At most so many files are taken before the daemon looks at its other work.
    package var intakeBatch = 256
    /// How long a file that cannot be read or moved is left alone, in seconds.
    package var setback = 2.0
    /// After so many seconds a file that is not taken is spoken of in the log.
    package var warnAfter = 3600.0
    /// Whether reports of jobs may hold some of their data, from the workspace's settings.
    package var reportsExamples = false
    /// Between two looks at the whole inbox while events arrive, in seconds.
    package var scanInterval = 30.0
    /// Between two looks while none can, in seconds; also how soon a change of the database is noticed at the latest.
    package var pollInterval = 0.5
    /// How long a stage may take to stop before it is killed, in seconds.
    package var grace = 30.0
    package var retry = RetryPolicy()
    /// Larger files are refused; in bytes.
    package var maximumManifestBytes = 1 << 20
    /// With less free space than this, nothing is taken and nothing started; in bytes.
    package var diskFloor: Int64 = 256 << 20
    /// `lorajobs-inotify`; `nil` or missing means that the inbox is polled.
    package var watcher: URL?

    /// Every launcher there is: a daemon finds what an earlier one started, with whichever it did.
    var launchers: [any Launcher] = []
    /// The one that starts new attempts.
    var launcher: any Launcher

    /// Milliseconds since 1970; tests set it.
    var now: @Sendable () -> Int64 = JobQueue.wallClock
    /// What is free where a folder lies, in bytes; tests make it up.
    var freeBytes: @Sendable (URL) -> Int64 = { DiskSpace.free(at: $0) }
    /// What a folder lies on; tests make it up.
    var fileSystem: @Sendable (URL) -> FileSystem = { FileSystem(of: $0) }

    package init(
        workspace: Workspace, stageCommand: [String], descriptors: [StageDescriptor], numericsVersion: Int,
        resolve: @escaping @Sendable (_ bytes: Data, _ tenant: String) -> Result<Submission, InvalidFile>,
        roots: PathRoots, logger: Logger = Logger(label: "lorajobs")
    ) {
        self.workspace = workspace
        self.stageCommand = stageCommand
        self.descriptors = descriptors
        self.numericsVersion = numericsVersion
        self.resolve = resolve
        self.roots = roots
        self.logger = logger
        launcher = LocalLauncher(command: stageCommand)
        launchers = LauncherRegistry.launchers(stageCommand)
        watcher = stageCommand.first.map {
            URL(filePath: $0).resolvingSymlinksInPath().deletingLastPathComponent().appending(path: "lorajobs-inotify")
        }
    }

    var isDiskLow: Bool { freeBytes(workspace.jobs) < diskFloor }
}

extension OrchestrationConfiguration {
    /// The usual configuration: manifests are judged by a resolver, whose workspace, roots and settings hold.
    ///
    /// - Parameters:
    ///   - estimateMemory: As ``estimateMemory``.
    ///   - countWork: As ``countWork``.
    ///   - fittingChange: What to change in a manifest so that its estimate is at most so many bytes, in words.
    package init(
        _ resolver: ManifestResolver, stageCommand: [String], numericsVersion: Int,
        estimateMemory: @escaping @Sendable (JobManifest) -> Int64? = { _ in nil },
        fittingChange: @escaping @Sendable (JobManifest, Int64) -> String? = { _, _ in nil },
        countWork: @escaping @Sendable (JobManifest) -> CountedWork? = { _ in nil },
        logger: Logger = Logger(label: "lorajobs")
    ) {
        let capacity = Capacity(resolver.settings)
        @Sendable func misfits(_ manifest: JobManifest, _ memory: Int64?) -> [Finding] {
            capacity.findings(for: manifest, memoryBytes: memory) { fittingChange(manifest, $0) }
        }
        self.init(
            workspace: resolver.workspace, stageCommand: stageCommand, descriptors: Array(resolver.kinds.values),
            numericsVersion: numericsVersion,
            resolve: { bytes, _ in
                do {
                    let resolved = try resolver.resolve(bytes)
                    let memory = estimateMemory(resolved.manifest)
                    var misfits = misfits(resolved.manifest, memory)
                    let trials = resolved.sweep?.trials.map { estimateMemory($0.manifest) } ?? []
                    if let largest = trials.indices.max(by: { trials[$0] ?? 0 < trials[$1] ?? 0 }),
                        let trial = resolved.sweep?.trials[largest]
                    {
                        misfits = capacity.findings(for: trial.manifest, memoryBytes: trials[largest]) {
                            fittingChange(trial.manifest, $0)
                        }
                    }
                    guard misfits.isEmpty else { return .failure(InvalidFile(resolved.warnings + misfits)) }
                    var submission = try Submission(
                        resolved, memoryBytes: memory, work: countWork(resolved.manifest))
                    if var sweep = submission.sweep {
                        for index in sweep.trials.indices {
                            sweep.trials[index].memoryBytes = trials[index]
                            sweep.trials[index].work = countWork(sweep.trials[index].manifest)
                        }
                        submission.sweep = sweep
                    }
                    return .success(submission)
                } catch let error as InvalidFile {
                    return .failure(error)
                } catch {
                    return .failure(InvalidFile([Finding(.init(rawValue: "unreadable"), "\(error)")]))
                }
            }, roots: resolver.roots, logger: logger)
        settle = resolver.settings.inbox.settleSeconds
        requiresEndMarker = resolver.settings.inbox.requireEndMarker
        maximumManifestBytes = resolver.settings.inbox.maxBytes
        reportsExamples = resolver.settings.report.examples
        queues = resolver.settings.queues
        tenants = resolver.settings.tenants
        notify = resolver.settings.noticeTargets(in: resolver.workspace)
        cores = capacity.threads
        memoryBytes = capacity.memoryBytes
        quiet = resolver.settings.quiet
        self.estimateMemory = estimateMemory
        self.countWork = countWork
        readSchedule = { bytes in
            let file = resolver.readSchedule(bytes)
            guard case .success(let resolved) = file.manifest else { return file }
            let misfits = misfits(resolved.manifest, estimateMemory(resolved.manifest))
            if misfits.isEmpty { return file }
            return ScheduleFile(
                definition: file.definition, manifest: .failure(InvalidFile(resolved.warnings + misfits)))
        }
    }
}
