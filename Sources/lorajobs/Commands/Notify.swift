import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct NotifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "notify", abstract: "Show who was told of what; try again, or try a target.",
        discussion: "Targets are defined under notify: in lorajobs.yaml; the daemon delivers.",
        subcommands: [List.self, Again.self, Test.self], defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List the newest notices, each with its target and what came of it.")

        @OptionGroup var options: WorkspaceOptions
        @Option(name: .shortAndLong, help: "At most so many.") var n = 50
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let setup = try WorkspaceSetup(options.locate())
            let targets = setup.settings.notify
            let deliveries = try QueueAccess.reading(setup.workspace)?.noticeDeliveries(limit: max(0, n)) ?? []
            if json {
                return try StandardOutput.json([
                    "targets": .array(
                        targets.sorted { $0.key < $1.key }.map { name, target in
                            .object([
                                "name": .string(name), "to": .string(target.summary),
                                "on": .array(target.events.map { .string($0.rawValue) }),
                            ])
                        }),
                    "notices": .array(deliveries.map(Self.json)),
                ])
            }
            if deliveries.isEmpty {
                let names = targets.keys.sorted().joined(separator: ", ")
                return Talk.say(
                    targets.isEmpty
                        ? "nobody is told of anything; define a target under notify: in lorajobs.yaml"
                        : "nobody was told of anything yet; there are the targets \(names)")
            }
            var table = Table("TIME EVENT TARGET STATE >TRIES ~ANSWER NOTICE")
            for delivery in deliveries {
                let color: Terminal.Color? =
                    switch delivery.state {
                    case .delivered: .green
                    case .failed: .red
                    case .pending: nil
                    }
                table.add([
                    Table.Cell(Moments.local(delivery.at)), Table.Cell(delivery.event.rawValue),
                    Table.Cell(delivery.target), Table.Cell(delivery.state.rawValue, color),
                    Table.Cell("\(delivery.tries)"), Table.Cell(delivery.answer ?? ""), Table.Cell(delivery.notice),
                ])
            }
            try StandardOutput.write(table.text(.output))
        }

        private static func json(_ delivery: NoticeDelivery) -> JSON {
            .object([
                "id": .string(delivery.notice), "event": .string(delivery.event.rawValue), "at": .optional(delivery.at),
                "target": .string(delivery.target), "state": .string(delivery.state.rawValue),
                "tries": .integer(delivery.tries), "due": .optional(delivery.due), "answer": .optional(delivery.answer),
            ])
        }
    }

    struct Again: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "retry", abstract: "Send what was given up again; with ids, also what still waits.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "Notices as ls prints them, or their beginnings; every one given up when left out.")
        var notices: [String] = []
        @Option(name: .long, help: ArgumentHelp("Only to this target.", valueName: "name")) var target: String?
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let workspace = try options.locate()
            var count = 0
            if access(workspace.database.path(percentEncoded: false), F_OK) == 0 {
                let queue = try JobQueue.open(workspace)
                count = try queue.retryNotices(notices, target: target)
                try queue.close()
                DaemonLock.poke(workspace)
            }
            if count == 0, !notices.isEmpty {
                throw CommandFailure(.notFound, "there is no such notice that was not delivered: lorajobs notify ls")
            }
            if json { return try StandardOutput.json(["retried": .integer(count)]) }
            Talk.say(count == 1 ? "1 delivery is tried again" : "\(count) deliveries are tried again")
            if count > 0, try DaemonLock.holder(of: workspace) == nil {
                Talk.say("no daemon runs; it delivers once there is one: lorajobs daemon")
            }
        }
    }

    struct Test: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Tell a target, here and now, that this is a test.",
            discussion: "Secrets in variables are looked up in this command's environment, not in the daemon's.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The target.") var name: String
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() async throws {
            let setup = try WorkspaceSetup(options.locate())
            let targets = setup.settings.noticeTargets(in: setup.workspace)
            guard let target = targets[name] else {
                let names = targets.keys.sorted().joined(separator: ", ")
                throw CommandFailure(
                    .notFound,
                    "lorajobs.yaml defines no target \(PrintableText.quoted(name)) under notify:"
                        + (names.isEmpty ? "" : "; there are \(names)"))
            }
            let answer = await NoticeSender().test(name, target, in: setup.workspace)
            if json {
                try StandardOutput.json([
                    "target": .string(name), "delivered": .bool(answer.isDelivered), "answer": .string(answer.text),
                ])
            } else {
                Talk.say("\(name) (\(target.summary)): \(answer.text)")
            }
            if !answer.isDelivered { try ExitStatus.ioError.end() }
        }
    }
}
