import ArgumentParser
import Foundation
import Logging
import Orchestration
import PipelineSpec

struct DaemonCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "daemon",
        abstract: "Watch the inbox and run jobs, in the foreground, until it is asked to stop.",
        discussion: """
            When it is asked to stop (SIGTERM, SIGINT), stages that run go on and the next daemon finds them; with \
            --drain they stop at a checkpoint first, and their jobs are queued again. A second signal ends it at once \
            and leaves the stages alone.
            """
    )

    @OptionGroup var options: WorkspaceOptions
    @Flag(name: .shortAndLong, help: "Say more.") var verbose = false

    @Flag(name: .long, help: "When asked to stop, stop the stages too, at a checkpoint.") var drain = false

    mutating func run() async throws {
        Daemon.keepHeapSmall()
        let workspace = try options.locate()
        let logger = DaemonLog.logger(verbose: verbose)
        let daemon = Daemon(try WorkspaceSetup(workspace).orchestration(logger: logger))
        let draining = drain
        let signals = try SignalWatch([SIGTERM, SIGINT, SIGHUP]) { signal, count in
            // State is safe at any instruction; whoever insists need not wait.
            if count > 1 { Foundation.exit(128 + signal) }
            logger.info(draining ? "asked to stop; stopping what runs" : "asked to stop; what runs goes on")
            daemon.stop(draining: draining)
        }
        logger.info("working in \(workspace.root.path(percentEncoded: false)), process \(getpid())")
        try await daemon.run()
        logger.info("stopped")
        withExtendedLifetime(signals) {}
    }
}

/// How the daemon's log looks: one line a message, on standard error.
struct DaemonLog: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .info

    static func logger(verbose: Bool) -> Logger {
        Logger(label: "lorajobs") { _ in DaemonLog(logLevel: verbose ? .debug : .info) }
    }

    /// Says only what went wrong: for commands that show the rest themselves.
    static let quiet = Logger(label: "lorajobs") { _ in DaemonLog(logLevel: .error) }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let facts = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
            .map { " \($0.key)=\(PrintableText.line("\($0.value)", limit: 400))" }.joined()
        let level = event.level == .info ? "" : " \(event.level.rawValue):"
        let message = PrintableText.line("\(event.message)", limit: 1000)
        Talk.say("\(Moments.local(Date()))\(level) \(message)\(facts)")
    }
}
