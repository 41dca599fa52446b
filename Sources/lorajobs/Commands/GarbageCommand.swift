import ArgumentParser
import Artifacts
import Foundation
import Orchestration
import PipelineSpec

struct GarbageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc", abstract: "Show what nothing needs any more; with --delete, remove it.",
        discussion: """
            Kept are: what an alias points at or has pointed at lately, what is pinned, what retention: in lorajobs.yaml \
            keeps by its age, what a job that has not ended works with, and whatever was made or used within a day. What \
            is removed lies in Artifacts/trash for a week first.
            """)

    @OptionGroup var options: WorkspaceOptions
    @Flag(name: .long, help: "Remove it.") var delete = false
    @Flag(name: .long, help: "With --delete: not through the trash, and empty the trash.") var now = false
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func validate() throws {
        if now && !delete { throw ValidationError("--now goes with --delete") }
    }

    mutating func run() throws {
        let setup = try WorkspaceSetup(options.locate())
        let collector = GarbageCollector(setup.workspace, setup.settings.retention)
        let found = try delete ? collector.collect(throughTrash: !now) : collector.garbage()
        let store = ArtifactStore(setup.workspace.artifacts)
        for fault in try store.historyFaults() where fault.kind == .unreadable {
            Talk.warn("kept everything of it, since its history cannot be read: \(fault)")
        }
        let total = found.reduce(0) { $0 + $1.bytes }
        if json {
            return try StandardOutput.json([
                "deleted": .bool(delete), "bytes": .integer(Int(total)),
                "garbage": .array(found.map { .object(Self.json($0, setup.workspace)) }),
            ])
        }
        if found.isEmpty { return Talk.say("there is nothing to collect") }
        try StandardOutput.write(Self.table(found).text(.output))
        let size = Amounts.bytes(total)
        if !delete { return Talk.say("\(size) could go; nothing was changed. Remove it with: lorajobs gc --delete") }
        Talk.say(
            now
                ? "\(size) freed"
                : "removed; \(size) lie in Artifacts/trash, or are free already. All at once: lorajobs gc --delete --now"
        )
    }

    /// A row for what has one title, the largest first within a kind; the JSON object names each thing.
    private static func table(_ found: [Garbage]) -> Table {
        struct Row {
            var garbage: Garbage
            var count = 0
            var bytes: Int64 = 0
        }
        var rows: [[String]: Row] = [:]
        for garbage in found {
            rows[[garbage.kind.rawValue, garbage.title, garbage.reason], default: Row(garbage: garbage)].count += 1
            rows[[garbage.kind.rawValue, garbage.title, garbage.reason]]?.bytes += garbage.bytes
        }
        let order = Garbage.Kind.allCases
        let sorted = rows.values.sorted { one, other in
            let (a, b) = (order.firstIndex(of: one.garbage.kind) ?? 0, order.firstIndex(of: other.garbage.kind) ?? 0)
            return (a, -one.bytes, one.garbage.title) < (b, -other.bytes, other.garbage.title)
        }
        var table = Table("KIND >SIZE SUBJECT ~WHY")
        for row in sorted {
            let title = PrintableText.line(row.garbage.title, limit: 60)
            table.add([
                Table.Cell(row.garbage.kind.rawValue.replacing("_", with: " ")), Table.Cell(Amounts.bytes(row.bytes)),
                Table.Cell(row.count > 1 ? "\(title) (\(row.count))" : title), Table.Cell(row.garbage.reason),
            ])
        }
        return table
    }

    private static func json(_ garbage: Garbage, _ workspace: Workspace) -> [String: JSON] {
        [
            "kind": .string(garbage.kind.rawValue), "subject": .string(garbage.subject),
            "title": .string(garbage.title),
            "path": .string(workspace.relativePath(garbage.url)), "bytes": .integer(Int(garbage.bytes)),
            "reason": .string(garbage.reason),
        ]
    }
}
