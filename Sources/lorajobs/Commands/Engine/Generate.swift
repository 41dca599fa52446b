import ArgumentParser
import Foundation
import PipelineSpec
import Stages

struct Generate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Continue a text greedily, with or without an adapter.",
        discussion:
            "Only the new text is printed. It ends at an end token, after --max-tokens, or where the context is full.")

    @OptionGroup var engine: EngineOptions
    @Option(name: .long, help: "What to continue; an empty one starts at the begin token.")
    var prompt: String?
    @Option(
        name: .long, help: ArgumentHelp("Token ids to continue, for a base without a tokenizer.", valueName: "1,2,…"))
    var ids: String?
    @Option(name: .long, help: "The most tokens to add.")
    var maxTokens = 64
    @OptionGroup var precision: PrecisionOption
    @Flag(name: .long, help: "Always the most likely token; the only way there is yet.") var greedy = false
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    func validate() throws {
        guard (prompt == nil) != (ids == nil) else { throw ValidationError("give either --prompt or --ids") }
        guard maxTokens > 0 else { throw ValidationError("--max-tokens must be positive") }
        guard ids.map({ Self.parse($0) != nil }) ?? true else {
            throw ValidationError("--ids takes numbers, such as 1,2,3")
        }
    }

    private static func parse(_ ids: String) -> [Int32]? {
        let parsed = ids.split(separator: ",").map { Int32($0.trimmingCharacters(in: .whitespaces)) }
        return parsed.contains(nil) || parsed.isEmpty ? nil : parsed.compactMap(\.self)
    }

    mutating func run() throws {
        let loaded = try engine.load(precision.precision)
        // Shown as it comes where somebody watches; a pipe gets it in one piece.
        let streams = !json && Terminal.output.isInteractive
        let result = try Engine.run {
            if let ids = ids.flatMap(Self.parse) {
                return try TextGeneration(loaded, ids: ids, maxTokens: maxTokens) {
                    if streams { try? StandardOutput.write($0) }
                }
            }
            return try TextGeneration(loaded, prompt: prompt ?? "", maxTokens: maxTokens) {
                if streams { try? StandardOutput.write($0) }
            }
        }
        if json {
            return try StandardOutput.json([
                "schema": .integer(1), "text": .optional(result.text),
                "ids": .array(result.ids.map { .integer(Int($0)) }),
            ])
        }
        if streams { return try StandardOutput.line("") }
        try StandardOutput.line(result.text ?? result.ids.map(String.init).joined(separator: ","))
    }
}
