import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct InboxCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inbox", abstract: "Show what lies in the inbox, and what was rejected and why.",
        subcommands: [List.self, Errors.self, Retry.self], defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List the files of the inbox, and why each has not been taken.")

        @OptionGroup var options: WorkspaceOptions
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let setup = try WorkspaceSetup(options.locate())
            let workspace = setup.workspace
            let daemon = try DaemonLock.holder(of: workspace)
            let rows = try (InboxEntry.claimed(workspace) + InboxEntry.list(workspace)).map { entry in
                Row(
                    entry: entry, word: Self.word(entry.status),
                    reason: entry.reason(in: workspace, setup.settings.inbox, daemon: daemon))
            }
            if json {
                return try StandardOutput.json([
                    "files": .array(
                        rows.map { row in
                            .object([
                                "path": .string("Jobs/\(row.folder)/\(row.entry.path)"),
                                "tenant": .string(row.entry.tenant), "status": .string(row.word),
                                "reason": .string(row.reason), "age_seconds": .optional(row.entry.age),
                            ])
                        })
                ])
            }
            guard !rows.isEmpty else { return Talk.say("the inbox is empty") }
            var table = Table("FILE TENANT >AGE STATUS ~REASON")
            for row in rows {
                table.add([
                    Table.Cell(row.entry.path), Table.Cell(row.entry.tenant),
                    Table.Cell(row.entry.age.map(Durations.text) ?? ""),
                    Table.Cell(row.word, row.word == "refused" ? .red : nil), Table.Cell(row.reason),
                ])
            }
            try StandardOutput.write(table.text(.output))
        }

        private struct Row {
            var entry: InboxEntry
            var word: String
            var reason: String
            var folder: String { entry.status == .claimed ? "claimed" : "inbox" }
        }

        private static func word(_ status: InboxEntry.Status) -> String {
            switch status {
            case .waiting: "waiting"
            case .claimed: "claimed"
            case .ignored: "ignored"
            case .refused: "refused"
            }
        }
    }

    struct Errors: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List rejected manifests, the newest last; with ids, print their reports.",
            discussion: "Without --since or --all, those of the last day, which are those that status counts.")

        @OptionGroup var options: WorkspaceOptions
        @OptionGroup var period: RejectionPeriod
        @Argument(help: "Ids, their unique beginnings, or rejected files: their whole reports.") var ids: [String] = []
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let workspace = try options.locate()
            let queue = try QueueAccess.reading(workspace)
            let rejections = try period.select(ids, in: queue)
            if json {
                return try StandardOutput.json(["rejected": .array(rejections.map { .object(Self.json($0)) })])
            }
            if rejections.isEmpty {
                return Talk.say("nothing was rejected\(period.words); lorajobs inbox errors --all lists all")
            }
            guard ids.isEmpty else {
                for (index, rejection) in rejections.enumerated() {
                    if index > 0 { try StandardOutput.write("\n") }
                    Talk.say("==> \(PrintableText.line(rejection.path ?? rejection.name, limit: 300)) <==")
                    let bytes = try queue?.rejected(rejection.id).bytes ?? Data()
                    try StandardOutput.write(rejection.report.text(file: rejection.name, source: bytes))
                }
                return
            }
            var table = Table("ID ~FILE TENANT RECEIVED ~PROBLEM")
            for rejection in rejections {
                table.add([
                    Table.Cell(rejection.id), Table.Cell(rejection.name), Table.Cell(rejection.tenant),
                    Table.Cell(Moments.local(rejection.receivedAt)), Table.Cell(rejection.report.summary),
                ])
            }
            try StandardOutput.write(table.text(.output))
            Talk.say("the whole report: lorajobs inbox errors ID; drop one again: lorajobs inbox retry ID")
        }

        private static func json(_ rejection: Rejection) -> [String: JSON] {
            [
                "id": .string(rejection.id), "name": .string(rejection.name), "tenant": .string(rejection.tenant),
                "received": .optional(rejection.receivedAt), "file": .optional(rejection.path),
                "report_file": .optional(rejection.path.map { $0 + ".error.txt" }),
                "dropped_again": .bool(rejection.wasDroppedAgain), "report": rejection.report.json,
            ]
        }
    }

    struct Retry: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Drop rejected manifests again, as they were; print the id of each.",
            discussion: """
                For a manifest that was right and found something missing that is there now. One that would be \
                rejected again is not dropped, unless --force says so. With --all or --since, what was dropped again \
                already is left out.
                """)

        @OptionGroup var options: WorkspaceOptions
        @OptionGroup var period: RejectionPeriod
        @Argument(help: "Ids, their unique beginnings, or files below Jobs/rejected.") var ids: [String] = []
        @Flag(name: .long, help: "Drop it even if it is still wrong.") var force = false
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func validate() throws {
            guard !ids.isEmpty || period.isGiven else {
                throw ValidationError("name what to retry: ids, files, or --all or --since")
            }
        }

        mutating func run() throws {
            let setup = try WorkspaceSetup(options.locate())
            let queue = try QueueAccess.reading(setup.workspace)
            var rejections = try period.select(ids, in: queue)
            if ids.isEmpty { rejections.removeAll { $0.wasDroppedAgain } }
            var dropped: [JSON] = []
            var refused: [JSON] = []
            for rejection in rejections {
                guard let record = try queue?.rejected(rejection.id) else { continue }
                let source = ManifestSource(path: record.originalName, data: record.bytes)
                let report = Self.report(on: source, rejection, setup)
                guard report.isValid || force && !record.bytes.isEmpty else {
                    refused.append(.object(["id": .string(rejection.id), "report": report.json]))
                    if !json {
                        let consequence = "\(rejection.id) was not dropped again; --force would."
                        Talk.write(
                            report.text(file: record.originalName, source: record.bytes, consequence: consequence))
                    }
                    continue
                }
                let tenant = record.tenant == InboxEntry.defaultTenant ? nil : record.tenant
                let id = try InboxEntry.drop(
                    record.bytes, name: record.originalName, tenant: tenant, in: setup.workspace)
                dropped.append(.object(["id": .string(id), "retry_of": .string(rejection.id)]))
                if !json { try StandardOutput.line(id) }
            }
            if !dropped.isEmpty { DaemonLock.poke(setup.workspace) }
            if json { try StandardOutput.json(["jobs": .array(dropped), "refused": .array(refused)]) }
            if rejections.isEmpty { Talk.say("nothing to retry") }
            if !refused.isEmpty { try ExitStatus.invalidInput.end() }
        }

        /// What is wrong with the stored bytes now; of a file that was never read, what was wrong then.
        private static func report(
            on source: ManifestSource, _ rejection: Rejection, _ setup: WorkspaceSetup
        ) -> ValidationReport {
            source.data.isEmpty ? rejection.report : source.judge(setup).report
        }
    }
}

/// Which rejected manifests are meant.
struct RejectionPeriod: ParsableArguments {
    @Flag(name: .long, help: "All there have ever been.") var all = false
    @Option(
        name: .long,
        help: ArgumentHelp("Those since then: 2h, yesterday, 2027-01-31 or 2027-01-31T02:30.", valueName: "time"))
    var since: String?
    @Option(name: .shortAndLong, help: "The newest so many.") var count: Int?

    var isGiven: Bool { all || since != nil }

    mutating func validate() throws {
        if all, since != nil { throw ValidationError("--all and --since exclude each other") }
        if let count, count < 0 { throw ValidationError("--count: expected a number of files, got \(count)") }
        if let since, Moments.since(since, now: Date()) == nil {
            throw ValidationError(
                "--since: expected a time such as 2h, yesterday or 2027-01-31, got \(PrintableText.quoted(since))")
        }
    }

    /// How the period is spoken of.
    var words: String { all ? "" : since == nil ? " since yesterday" : " since then" }

    /// The rejections of the period, or those that are named.
    ///
    /// - Throws: `notFound` or `ambiguous` for a name.
    func select(_ names: [String], in queue: JobQueue?) throws -> [Rejection] {
        guard let queue else {
            guard let name = names.first else { return [] }
            throw CommandFailure(
                .notFound, "no rejected file has the id \(PrintableText.line(name, limit: 80)); there is no queue yet")
        }
        if names.isEmpty {
            let now = Date()
            let first = all ? nil : since.flatMap { Moments.since($0, now: now) } ?? now.addingTimeInterval(-86_400)
            return try queue.rejections(since: first, limit: count)
        }
        let ids = try names.map { name in
            // The claim is in the name of the file, and of its report.
            let file = name.split(separator: "/").last.map(String.init) ?? name
            return try queue.rejected(InboxName.claim(in: file)?.id.description ?? name).claimID
        }
        let byID = Dictionary(try queue.rejections().map { ($0.id, $0) }, uniquingKeysWith: { $1 })
        return ids.compactMap { byID[$0] }
    }
}
