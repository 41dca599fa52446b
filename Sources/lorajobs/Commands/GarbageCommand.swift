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
        let isQuiet = json
        var table = Table("KIND >SIZE SUBJECT ~WHY")
        func add(_ garbage: Garbage) {
            table.add([
                Table.Cell(garbage.kind.rawValue.replacing("_", with: " ")), Table.Cell(Amounts.bytes(garbage.bytes)),
                Table.Cell(PrintableText.line(garbage.subject, limit: 60)), Table.Cell(garbage.reason),
            ])
        }
        let found = try delete ? collector.collect(throughTrash: !now) : collector.garbage()
        for garbage in found { add(garbage) }
        let total = found.reduce(0) { $0 + $1.bytes }
        if json {
            return try StandardOutput.json([
                "deleted": .bool(delete), "bytes": .integer(Int(total)),
                "garbage": .array(found.map { .object(Self.json($0, setup.workspace)) }),
            ])
        }
        if found.isEmpty { return Talk.say("there is nothing to collect") }
        try StandardOutput.write(table.text(.output))
        let size = Amounts.bytes(total)
        if isQuiet { return }
        if !delete { return Talk.say("\(size) could go; nothing was changed. Remove it with: lorajobs gc --delete") }
        Talk.say(
            now
                ? "\(size) freed"
                : "removed; \(size) lie in Artifacts/trash, or are free already. All at once: lorajobs gc --delete --now"
        )
    }

    private static func json(_ garbage: Garbage, _ workspace: Workspace) -> [String: JSON] {
        [
            "kind": .string(garbage.kind.rawValue), "subject": .string(garbage.subject),
            "path": .string(workspace.relativePath(garbage.url)), "bytes": .integer(Int(garbage.bytes)),
            "reason": .string(garbage.reason),
        ]
    }
}
