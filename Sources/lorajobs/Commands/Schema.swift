import ArgumentParser
import PipelineSpec

struct Schema: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the JSON Schema of manifests, for editors.",
        discussion:
            "Put it beside your manifests and begin each with: # yaml-language-server: $schema=manifest.schema.json")

    @OptionGroup var options: WorkspaceOptions

    mutating func run() throws {
        try StandardOutput.write(ManifestSchema.jsonSchemaData)
        try StandardOutput.write("\n")
    }
}
