import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec
import Synchronization

struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a job here and now, without a daemon; where one runs, submit the job and follow it.",
        discussion: """
            The exit code is the job's: 0 when it succeeded, 1 when it failed, 2 when it was cancelled. Ctrl-C cancels \
            the job at its next checkpoint; twice leaves it to the next daemon.
            """)

    @OptionGroup var options: WorkspaceOptions

    @Argument(help: "The manifest; - is standard input.")
    var file: String

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Replace a value of the manifest, such as train.epochs=1; may be given again.", valueName: "key=value"))
    var set: [String] = []

    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func run() async throws {
        let setup = try WorkspaceSetup(options.locate())
        let source = try ManifestSource(file).setting(set)
        let judgement = source.judge(setup)
        guard SubmitReport(setup).areValid([judgement], json: json) else {
            if json { try StandardOutput.json(Judgement.json([judgement])) }
            return try ExitStatus.invalidInput.end()
        }
        let status = try await finish(source, setup)
        Talk.say(JobWatch.summary(status))
        if json { try StandardOutput.json(["jobs": .array([.object(StatusReport.json(status))])]) }
        try JobWatch.exitStatus([status.state]).end()
    }

    private func finish(_ source: ManifestSource, _ setup: WorkspaceSetup) async throws -> JobStatus {
        do {
            return try await ForegroundJob(setup).run(source)
        } catch let error as OrchestrationError where error.code == .busy {
            Talk.say("a daemon runs here; it does the job")
            let id = try InboxEntry.drop(source.data, name: source.name, in: setup.workspace)
            DaemonLock.poke(setup.workspace)
            var watch = JobWatch(workspace: setup.workspace)
            watch.showsProgress = true
            let job = try await watch.job(of: id)
            Talk.say("job \(job)")
            return try await watch.end(of: job)
        }
    }
}

/// A job that this process drives, shown as it moves.
private struct ForegroundJob {
    private let setup: WorkspaceSetup

    init(_ setup: WorkspaceSetup) { self.setup = setup }

    /// - Throws: `busy` when a daemon runs. ``CommandFailure`` when the job was left to the next daemon.
    func run(_ source: ManifestSource) async throws -> JobStatus {
        let workspace = setup.workspace
        let run = ForegroundRun(try setup.orchestration(logger: DaemonLog.quiet))
        let (started, continuation) = AsyncStream<String>.makeStream()
        let follower = Task {
            var watch = JobWatch(workspace: workspace)
            watch.showsProgress = true
            watch.needsDaemon = false
            for await id in started { _ = try await watch.end(of: id) }
        }
        defer { follower.cancel() }
        let stop = ForegroundStop(workspace: workspace) { run.stop() }
        let signals = try SignalWatch([SIGINT, SIGTERM, SIGHUP]) { signal, count in stop(signal, count) }
        let status = try await run.run(source.data, name: source.name) { id in
            stop.job.withLock { $0 = id }
            Talk.say("job \(id)")
            continuation.yield(id)
            continuation.finish()
        }
        withExtendedLifetime(signals) {}
        guard status.state.isFinal else {
            throw CommandFailure(
                .busy, "left job \(status.id); it goes on when the next daemon starts: lorajobs daemon")
        }
        // The last line of progress is cleared before the summary.
        _ = try await follower.value
        return status
    }
}

/// What a signal does to a job in the foreground.
private final class ForegroundStop: Sendable {
    let job = Mutex<String?>(nil)
    private let workspace: Workspace
    private let leave: @Sendable () -> Void

    init(workspace: Workspace, leave: @escaping @Sendable () -> Void) {
        self.workspace = workspace
        self.leave = leave
    }

    func callAsFunction(_ signal: Int32, _ count: Int) {
        guard signal == SIGINT, count == 1, let id = job.withLock({ $0 }) else {
            if count > 2 { Foundation.exit(128 + signal) }
            return leave()
        }
        Talk.say("\ncancelling at the next checkpoint; Ctrl-C again leaves the job to the next daemon")
        do { try JobQueue.open(workspace).cancel(id) } catch {
            Talk.warn("cannot cancel: \(CommandFailure(error).description)")
            leave()
        }
    }
}
