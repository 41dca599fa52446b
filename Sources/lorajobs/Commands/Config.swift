import ArgumentParser
import Foundation
import PipelineSpec

struct Config: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print every setting of the workspace, and every default of manifests, with where it comes from.")

    @OptionGroup var options: WorkspaceOptions
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func run() throws {
        let setup = try WorkspaceSetup(options.locate())
        if json {
            return try StandardOutput.json([
                "root": .string(setup.workspace.root.path(percentEncoded: false)),
                "settings": .array(
                    setup.settings.all.map {
                        .object(["key": .string($0.key), "value": $0.value, "origin": .string($0.origin.rawValue)])
                    }),
            ])
        }
        var table = Table("KEY ~VALUE ORIGIN")
        for setting in setup.settings.all {
            table.add([
                Table.Cell(setting.key), Table.Cell(setting.value.plainText),
                Table.Cell(setting.origin.rawValue, setting.origin == .default ? .dim : nil),
            ])
        }
        try StandardOutput.write(table.text(.output))
    }
}

extension PipelineSpec.JSONValue {
    /// The value as a table shows it: text without quotation marks.
    var plainText: String {
        if case .string(let text) = self { text } else { text() }
    }
}
