import Artifacts
import Foundation
import Orchestration
import PipelineSpec

/// What `status` shows: a workspace and its jobs at one moment.
struct StatusReport: Sendable {
    /// An adapter that is in production.
    struct Production: Sendable {
        var reference: String
        var created: Date
        /// Whether it was found damaged.
        var isDamaged = false
    }

    private var workspace: WorkspaceStatus
    /// Files in the inbox that will never be taken.
    private var inboxRefused = 0
    private var production: [Production] = []
    /// Versions that gates have held for somebody to judge.
    private var held: [GateDecision] = []
    private var jobs: [JobStatus] = []
    /// What is wrong with `lorajobs.yaml`; `nil` when it is sound.
    private var settingsFault: String?

    /// Looks at a workspace, whether a daemon runs or not, and whether it has a queue yet or not.
    ///
    /// - Parameter opened: The queue, when the caller has it open already.
    init(_ workspace: Workspace, _ filter: JobFilter, queue opened: JobQueue? = nil) throws {
        let queue = try opened ?? QueueAccess.reading(workspace)
        self.workspace = try WorkspaceStatus(of: workspace, queue: queue)
        inboxRefused = try InboxEntry.list(workspace).count { if case .refused = $0.status { true } else { false } }
        production = try Self.production(workspace)
        do {
            _ = try WorkspaceSettings(of: workspace)
        } catch let error as InvalidFile {
            settingsFault = ValidationReport(error.findings).summary
        } catch {
            settingsFault = "\(error)"
        }
        guard let queue else {
            if let id = filter.ids.first {
                throw try QueueAccess.pendingFailure(id, in: workspace) ?? JobLookup.failure(id, among: [])
            }
            return
        }
        held = try queue.versionsAwaitingApproval(in: ArtifactStore(workspace.artifacts))
        var filter = filter
        filter.ids = try filter.ids.map { try JobLookup.id($0, in: queue) }
        jobs = try queue.list(
            filter, isDiskLow: self.workspace.diskLow != nil, isDaemonDown: self.workspace.daemon == nil)
    }

    private static func production(_ workspace: Workspace) throws -> [Production] {
        let store = ArtifactStore(workspace.artifacts)
        return try store.names(in: .adapters).compactMap { name in
            guard try store.aliases(of: name, in: .adapters)[ArtifactReference.production] != nil else { return nil }
            let reference = ArtifactReference(name: name, selector: .alias(ArtifactReference.production, back: 0))
            do {
                let version = try store.resolve(reference, in: .adapters)
                return Production(
                    reference: version.reference, created: version.created,
                    isDamaged: try store.knownDamage(of: name)[version.number] != nil)
            } catch is ArtifactError {
                // Its record cannot be read; the log still knows it. The queue is shown whatever has become of it.
                let number = try store.aliases(of: name)[ArtifactReference.production]
                return try store.versions(of: name).first { $0.number == number }.map {
                    Production(reference: $0.reference, created: $0.created, isDamaged: true)
                }
            }
        }
    }

    /// The progress files of what runs: they change without the queue's doing.
    var progressFiles: [URL] { jobs.compactMap(\.progressFile) }

    // MARK: For programs

    /// The object of `--json`, without its schema.
    var json: [String: JSON] {
        [
            "daemon": .object([
                "running": .bool(workspace.daemon != nil), "pid": .optional(workspace.daemon.map { Int($0.pid) }),
                "started": .optional(workspace.daemon?.startedAt),
                "watching": workspace.daemon.map { .bool($0.isWatching) } ?? .null,
                "intake_paused": .optional(workspace.daemon?.intakePaused),
            ]),
            "inbox": .object(["waiting": .integer(workspace.inboxBacklog), "refused": .integer(inboxRefused)]),
            "rejected_since_yesterday": .integer(workspace.rejectedSinceYesterday),
            "paused_queues": .array(workspace.pausedQueues.map { .string($0) }),
            "disk_low": .optional(workspace.diskLow), "settings_fault": .optional(settingsFault),
            "next_schedule": workspace.nextSchedule.map {
                .object([
                    "name": .string($0.schedule), "occurrence": .string($0.occurrence.description),
                    "at": .optional($0.occurrence.date),
                ])
            } ?? .null,
            "counts": .object(
                Dictionary(uniqueKeysWithValues: workspace.jobCounts.map { ($0.rawValue, .integer($1)) })),
            "production": .array(
                production.map {
                    .object([
                        "adapter": .string($0.reference), "created": .optional($0.created),
                        "damaged": .bool($0.isDamaged),
                    ])
                }),
            "awaiting_approval": .array(held.map { .object(Self.json($0)) }),
            "jobs": .array(jobs.map { .object(Self.json($0)) }),
        ]
    }

    /// A version that waits for somebody's word.
    static func json(_ held: GateDecision) -> [String: JSON] {
        [
            "adapter": .string("\(held.name):\(held.version)"), "alias": .string(held.alias),
            "since": .optional(held.time), "reason": .string(held.reason),
        ]
    }

    /// A job as every `--json` shows it.
    static func json(_ job: JobStatus) -> [String: JSON] {
        [
            "id": .string(job.id), "name": .string(job.name), "tenant": .string(job.tenant),
            "queue": .string(job.queue),
            "priority": .integer(job.priority), "state": .string(job.state.rawValue), "stage": .optional(job.stage),
            "progress": .number(job.progress), "step": .optional(job.event?.step), "loss": .optional(job.event?.loss),
            "tokens_per_second": .optional(job.event?.tokensPerSecond), "elapsed_seconds": .optional(job.elapsed),
            "eta_seconds": .optional(job.eta), "eta_source": .optional(job.etaSource?.word),
            "reason": .optional(job.reason), "adapter": .optional(job.adapter),
            "gate": .optional(job.gate),
            "created": .optional(job.createdAt), "started": .optional(job.startedAt),
            "finished": .optional(job.finishedAt), "retry_of": .optional(job.retryOf),
            "sweep": .optional(job.sweep), "trial_values": .optional(job.trialValues),
            "owner": .string(JobQueue.name(of: job.ownerID)),
            "memory_bytes": .optional(job.memoryBytes.map { Int($0) }),
        ]
    }

    // MARK: For people

    /// The lines above the jobs, and the jobs.
    func text(_ terminal: Terminal, now: Date = Date()) -> String {
        header(terminal, now).map { $0 + "\n" }.joined() + "\n" + table(terminal)
    }

    private func header(_ terminal: Terminal, _ now: Date) -> [String] {
        var lines: [(String, String)] = []
        if let daemon = workspace.daemon {
            let age = Durations.text(max(0, now.timeIntervalSince(daemon.startedAt)))
            lines.append(("daemon", "running for \(age), process \(daemon.pid)"))
            if let reason = daemon.intakePaused {
                lines.append(("intake", terminal.paint("paused: \(PrintableText.line(reason, limit: 200))", .red)))
            }
        } else {
            lines.append(("daemon", terminal.paint("not running", .yellow) + "; start it with: lorajobs daemon"))
        }
        if let settingsFault {
            let text = PrintableText.line("lorajobs.yaml is wrong, \(settingsFault)", limit: 300)
            lines.append(("settings", terminal.paint(text, .red)))
        }
        if let diskLow = workspace.diskLow, workspace.daemon?.intakePaused == nil {
            lines.append(("disk", terminal.paint(PrintableText.line(diskLow, limit: 200), .red)))
        }
        if !workspace.pausedQueues.isEmpty {
            lines.append(
                ("queues", terminal.paint("paused: \(workspace.pausedQueues.joined(separator: ", "))", .yellow)))
        }
        if workspace.inboxBacklog + inboxRefused > 0 {
            var words: [String] = []
            if workspace.inboxBacklog > 0 { words.append("\(workspace.inboxBacklog) waiting") }
            if inboxRefused > 0 { words.append("\(inboxRefused) that cannot be taken: lorajobs inbox ls") }
            lines.append(("inbox", words.joined(separator: ", ")))
        }
        if workspace.rejectedSinceYesterday > 0 {
            let count = terminal.paint("\(workspace.rejectedSinceYesterday) since yesterday", .red)
            lines.append(("rejected", "\(count); why: lorajobs inbox errors"))
        }
        if let next = workspace.nextSchedule {
            let wait = Durations.text(max(0, next.occurrence.date.timeIntervalSince(now)))
            lines.append(("schedule", "next \(next.schedule) at \(next.occurrence.localTime), in \(wait)"))
        }
        for decision in held.suffix(3) {
            let reason = PrintableText.line(decision.reason, limit: 120)
            let version = "\(decision.name):\(decision.version)"
            lines.append(
                (
                    "approval",
                    "\(terminal.paint(version, .yellow)) waits: \(reason); lorajobs adapters promote \(version)"
                ))
        }
        if held.count > 3 { lines.append(("", "and \(held.count - 3) more")) }
        for entry in production.sorted(by: { $0.created > $1.created }).prefix(5) {
            let age = Durations.text(now.timeIntervalSince(entry.created))
            let damage =
                entry.isDamaged
                ? ", " + terminal.paint("damaged", .red) + ": lorajobs adapters verify \(entry.reference)" : ""
            lines.append(("production", "\(entry.reference), \(age) old\(damage)"))
        }
        if production.count > 5 { lines.append(("", "and \(production.count - 5) more")) }
        return lines.map { DisplayWidth.pad($0.0, to: 10) + "  " + $0.1 }
    }

    private func table(_ terminal: Terminal) -> String {
        guard !jobs.isEmpty else {
            let older = workspace.jobCounts.values.reduce(0, +)
            if older == 0, workspace.inboxBacklog > 0 { return "no jobs yet\n" }
            return older == 0
                ? "no jobs yet; begin with: lorajobs new NAME --base DIR --data FILE\n"
                : "no jobs to show; all \(older) of them: lorajobs status --all\n"
        }
        var table = Table("ID ~NAME QUEUE STATE STAGE >PROGRESS >ELAPSED >ETA ~REASON")
        for job in jobs {
            let progress = job.state == .running || job.state == .succeeded
            table.add([
                Table.Cell(job.id), Table.Cell(job.name), Table.Cell(job.queue),
                Table.Cell(job.state.rawValue, Self.color(job.state)), Table.Cell(job.stage ?? ""),
                Table.Cell(progress ? Amounts.percent(job.progress, isDone: job.state == .succeeded) : ""),
                Table.Cell(job.elapsed.map(Durations.text) ?? ""), Table.Cell(job.eta.map(Durations.text) ?? ""),
                Table.Cell(Self.remark(job)),
            ])
        }
        return table.text(terminal)
    }

    /// Why a job waits, how it ended, and what it made.
    private static func remark(_ job: JobStatus) -> String {
        [job.adapter, job.trialValues, job.reason].compactMap { $0 }.joined(separator: " ")
    }

    static func color(_ state: JobState) -> Terminal.Color? {
        switch state {
        case .running: .cyan
        case .succeeded: .green
        case .failed: .red
        case .retryWait, .held: .yellow
        case .cancelled, .skipped: .dim
        case .waiting, .queued: nil
        }
    }
}
