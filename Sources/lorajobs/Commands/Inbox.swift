import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct InboxCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inbox", abstract: "Show what lies in the inbox, and what was rejected and why.",
        subcommands: [List.self, Errors.self], defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List the files of the inbox, and why each has not been taken.")

        @OptionGroup var options: WorkspaceOptions
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let workspace = try options.locate()
            let entries = try InboxEntry.list(workspace)
            if json {
                return try StandardOutput.json([
                    "files": .array(
                        entries.map { entry in
                            .object([
                                "path": .string("Jobs/inbox/\(entry.path)"), "tenant": .string(entry.tenant),
                                "status": .string(Self.words(entry.status).status),
                                "reason": .optional(Self.words(entry.status).reason),
                            ])
                        })
                ])
            }
            if entries.isEmpty { Talk.say("the inbox is empty") }
            guard !entries.isEmpty else { return }
            let isDaemonUp = try DaemonLock.holder(of: workspace) != nil
            var table = Table("FILE TENANT STATUS ~REASON")
            for entry in entries {
                let words = Self.words(entry.status)
                let waits = isDaemonUp ? "until it is complete" : "for a daemon: lorajobs daemon"
                table.add([
                    Table.Cell(entry.path), Table.Cell(entry.tenant),
                    Table.Cell(words.status, words.status == "refused" ? .red : nil),
                    Table.Cell(words.reason ?? (entry.status == .waiting ? waits : "a temporary file")),
                ])
            }
            try StandardOutput.write(table.text(.output))
        }

        private static func words(_ status: InboxEntry.Status) -> (status: String, reason: String?) {
            switch status {
            case .waiting: ("waiting", nil)
            case .ignored: ("ignored", nil)
            case .refused(let reason): ("refused", reason)
            }
        }
    }

    struct Errors: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the reports of rejected manifests, the newest last.")

        @OptionGroup var options: WorkspaceOptions
        @Option(name: .shortAndLong, help: "At most so many.") var count = 10
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let workspace = try options.locate()
            let reports = RejectionReport.newest(max(0, count), in: workspace)
            if json {
                return try StandardOutput.json([
                    "rejected": .array(
                        try reports.map { report in
                            .object([
                                "id": .string(report.id), "file": .string(workspace.relativePath(report.manifest)),
                                "report": try report.json(),
                            ])
                        })
                ])
            }
            if reports.isEmpty { Talk.say("nothing was rejected") }
            for (index, report) in reports.enumerated() {
                if index > 0 { try StandardOutput.write("\n") }
                Talk.say("==> \(workspace.relativePath(report.manifest)) <==")
                try StandardOutput.write(try report.text())
            }
        }
    }
}

/// A rejected manifest and what stands beside it.
private struct RejectionReport {
    /// The id its claim had.
    let id: String
    let manifest: URL

    /// The newest rejections, oldest first.
    static func newest(_ count: Int, in workspace: Workspace) -> [RejectionReport] {
        let manager = FileManager.default
        func names(_ folder: URL) -> [String] {
            ((try? manager.contentsOfDirectory(atPath: folder.path(percentEncoded: false))) ?? []).sorted()
        }
        var found: [RejectionReport] = []
        for day in names(workspace.rejected).reversed() where found.count < count {
            let folder = workspace.rejected.appending(path: day, directoryHint: .isDirectory)
            for name in names(folder).reversed() where name.hasSuffix(".error.json") && found.count < count {
                let manifest = String(name.dropLast(".error.json".count))
                guard let claim = InboxName.claim(in: manifest) else { continue }
                found.append(RejectionReport(id: claim.id.description, manifest: folder.appending(path: manifest)))
            }
        }
        return found.reversed()
    }

    func text() throws -> String { String(decoding: try read(".error.txt"), as: UTF8.self) }

    func json() throws -> JSON { try JSONDecoder().decode(JSON.self, from: try read(".error.json")) }

    private func read(_ ending: String) throws -> Data {
        try Data(contentsOf: URL(filePath: manifest.path(percentEncoded: false) + ending))
    }
}
