import Foundation
import Orchestration
import PipelineSpec

/// Follows jobs to their ends: what `wait`, `submit --wait`, `--follow` and `run` have in common.
struct JobWatch: Sendable {
    let workspace: Workspace
    /// Whether progress is shown on standard error.
    var showsProgress = false
    /// When to give up.
    var deadline: ContinuousClock.Instant?
    /// How long no daemon may run before nobody will ever do the job; restarting one takes less.
    var patience = Duration.seconds(10)
    /// Whether this process drives the job itself.
    var needsDaemon = true

    /// The deadline that `--timeout` sets.
    static func deadline(_ timeout: Double?) -> ContinuousClock.Instant? {
        timeout.map { ContinuousClock.now + .seconds($0) }
    }

    /// The job that a submitted manifest became, once it has been taken from the inbox.
    ///
    /// - Parameter claim: The id that `submit` gave it.
    /// - Throws: ``CommandFailure`` with the report when it was rejected; `timedOut`; `daemonDown`.
    func job(of claim: String) async throws -> String {
        var daemon = DaemonPresence(workspace, patience)
        while true {
            if let queue = try QueueAccess.reading(workspace), let verdict = try queue.verdict(of: claim) {
                if let job = verdict.job { return job }
                throw CommandFailure(.invalidInput, JobLookup.rejection(claim, verdict))
            }
            try checkTime()
            if needsDaemon { try daemon.check(claim) }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    /// Waits until the job has ended.
    ///
    /// - Throws: ``CommandFailure``: `timedOut`; `daemonDown`.
    func end(of job: String) async throws -> JobStatus {
        guard let queue = try QueueAccess.reading(workspace) else { throw JobLookup.failure(job, among: []) }
        var filter = JobFilter()
        filter.ids = [job]
        var daemon = DaemonPresence(workspace, patience)
        var display = ProgressDisplay()
        defer { display.clear() }
        while true {
            guard let status = try queue.list(filter).first else { throw JobLookup.failure(job, among: []) }
            if showsProgress { display.show(status) }
            if status.state.isFinal { return status }
            try checkTime()
            if needsDaemon { try daemon.check(job) }
            try await Task.sleep(for: .milliseconds(showsProgress ? 250 : 500))
        }
    }

    private func checkTime() throws {
        guard let deadline, ContinuousClock.now >= deadline else { return }
        throw CommandFailure(.timedOut, "the time is up; the job goes on, lorajobs status shows how it fares")
    }

    /// The exit code for jobs that have ended.
    static func exitStatus(_ states: [JobState]) -> ExitStatus {
        if states.contains(where: { $0 == .failed || $0 == .skipped }) { return .jobFailed }
        return states.contains(.cancelled) ? .jobCancelled : .ok
    }

    /// One line that says how a job ended.
    static func summary(_ status: JobStatus) -> String {
        var text = "\(status.name) \(Terminal.talk.paint(status.state.rawValue, StatusReport.color(status.state)))"
        if let elapsed = status.elapsed { text += " after \(Durations.text(elapsed))" }
        if let adapter = status.adapter { text += ": \(adapter)" }
        if let reason = status.reason {
            text += (status.adapter == nil ? ": " : ", ") + PrintableText.line(reason, limit: 400)
        }
        if status.state == .failed {
            text += "\n  why: lorajobs logs \(status.id); try again: lorajobs retry \(status.id)"
        }
        return text
    }
}

/// Notices that nobody works on the queue.
private struct DaemonPresence {
    private let workspace: Workspace
    private let patience: Duration
    private var absentSince: ContinuousClock.Instant?
    private var hasWarned = false

    init(_ workspace: Workspace, _ patience: Duration) {
        self.workspace = workspace
        self.patience = patience
    }

    mutating func check(_ job: String) throws {
        if try DaemonLock.holder(of: workspace) != nil {
            absentSince = nil
            hasWarned = false
            return
        }
        let now = ContinuousClock.now
        let since = absentSince ?? now
        absentSince = since
        if !hasWarned, now - since > .seconds(1) {
            Talk.warn(
                "no daemon runs in \(workspace.root.path(percentEncoded: false)); start one with: lorajobs daemon")
            hasWarned = true
        }
        guard now - since >= patience else { return }
        throw CommandFailure(
            .daemonDown, "\(job) waits and no daemon runs; it starts when one does: lorajobs daemon")
    }
}

/// Shows how a job moves: a bar on a terminal, a line now and then anywhere else.
private struct ProgressDisplay {
    private var line = LiveLine()
    private var stage: String?
    private var state: JobState?
    private var said = (fraction: 0.0, at: ContinuousClock.now)

    mutating func show(_ status: JobStatus) {
        let terminal = Terminal.talk
        let isExplained = status.reason != nil || status.state != .queued
        if status.state != state, !status.state.isFinal, status.state != .running, isExplained {
            clear()
            Talk.say(Explain.sentence(status) + (status.reason.map { " (\($0))" } ?? ""))
        }
        state = status.state
        guard status.state == .running, status.isStageLive, let name = status.stage else { return }
        let isNew = name != stage
        stage = name
        if terminal.isInteractive {
            line.draw(
                ProgressBar.line(
                    stage: name, fraction: status.progress, event: status.event, eta: status.eta,
                    width: max(20, (terminal.width ?? 80) - 1)))
            return
        }
        let now = ContinuousClock.now
        let isFar = status.progress - said.fraction >= 0.1 || now - said.at >= .seconds(60)
        guard isNew || isFar else { return }
        said = (isNew ? 0 : status.progress, now)
        Talk.say(ProgressBar.words(stage: name, fraction: status.progress, event: status.event, eta: status.eta))
    }

    mutating func clear() { line.clear() }
}
