import ArgumentParser
import Foundation
import PipelineSpec

/// The command line.
@main
struct LoraJobs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lorajobs",
        abstract: "Retrain LoRA adapters in batch: drop a manifest, get a new version of an adapter.",
        discussion: """
            A workspace is a folder: lorajobs init makes one, lorajobs daemon works in it, and lorajobs status shows how \
            it goes. Results go to standard output and messages to standard error; --json prints one object.
            """,
        version: Program.description,
        subcommands: [StageCommand.self],
        groupedSubcommands: [
            CommandGroup(
                name: "Set up",
                subcommands: [Init.self, New.self, Config.self, Schema.self, DoctorCommand.self, Backup.self]),
            CommandGroup(
                name: "Run jobs", subcommands: [DaemonCommand.self, Submit.self, Run.self, Validate.self, Plan.self]),
            CommandGroup(
                name: "Look",
                subcommands: [
                    Status.self, Report.self, History.self, Sweep.self, Show.self, Explain.self, Logs.self, Wait.self,
                    InboxCommand.self,
                ]),
            CommandGroup(
                name: "Intervene",
                subcommands: [
                    Cancel.self, Pause.self, Resume.self, Retry.self, Hold.self, Release.self, Prioritize.self,
                    QueueCommand.self, ScheduleCommand.self, NotifyCommand.self,
                ]),
            CommandGroup(
                name: "The store",
                subcommands: [Adapters.self, Adapters.Export.self, Reproduce.self, GarbageCommand.self]),
            CommandGroup(name: "The engine by hand", subcommands: engineVerbs),
        ])

    /// The verbs that compute: one file each under `Commands/`, and one entry here.
    static let engineVerbs: [any ParsableCommand.Type] = [Generate.self, Eval.self, Tokenize.self, Bench.self]

    static func main() async {
        // Writing to a pipe that nobody reads is an error to handle, not a death.
        signal(SIGPIPE, SIG_IGN)
        // What is written is its owner's alone, until a workspace says otherwise; a stage has its starter's rights.
        if CommandLine.arguments.dropFirst().first != StageCommand.configuration.commandName {
            umask(WorkspaceSettings.Permissions.private.mask)
        }
        do {
            do { try Failpoint.arm(ProcessInfo.processInfo.environment) } catch let error as SpecError {
                throw CommandFailure(.badConfiguration, error.description)
            }
            var command = try parseAsRoot(arguments(CommandLine.arguments.dropFirst()))
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            end(error)
        }
    }

    /// The arguments after the program's name.
    ///
    /// A `--root DIR` in front of the verb counts like `LORAJOBS_ROOT`.
    private static func arguments(_ words: ArraySlice<String>) -> [String] {
        guard words.first == "--root", let folder = words.dropFirst().first else { return Array(words) }
        setenv("LORAJOBS_ROOT", folder, 1)
        return Array(words.dropFirst(2))
    }

    /// Says what went wrong and ends the process with the exit code for it.
    private static func end(_ error: any Error) -> Never {
        // The parser knows its own: usage errors are 64, `--help` is no error.
        let isParsers =
            error is CleanExit || error is ExitCode || error is ValidationError
            || String(reflecting: type(of: error)).hasPrefix("ArgumentParser.")
        if isParsers { exit(withError: error) }
        let failure = CommandFailure(error)
        if !failure.description.isEmpty {
            Talk.say(Terminal.talk.paint("lorajobs:", .red) + " " + failure.description)
        }
        Foundation.exit(failure.status.rawValue)
    }
}

extension ExitStatus {
    /// Ends the command with this code when it is not ``ok``; everything has been said.
    func end() throws {
        if self != .ok { throw ExitCode(rawValue) }
    }
}
