import ArgumentParser
import Artifacts
import Foundation
import Orchestration
import PipelineSpec

struct Report: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what has happened: what ended and how, what was promoted or refused and why, what waits.",
        discussion: "Made for the morning: lorajobs report --since yesterday | mail -s adapters me")

    @OptionGroup var options: WorkspaceOptions
    @Option(
        name: .long, help: ArgumentHelp("Since then: yesterday, 12h, 7d or 2027-01-31T02:30.", valueName: "time"))
    var since = "yesterday"
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func validate() throws {
        if Moments.since(since, now: Date()) == nil {
            throw ValidationError(
                "--since: expected a time such as yesterday, 12h or 2027-01-31, got \(PrintableText.quoted(since))")
        }
    }

    mutating func run() throws {
        let now = Date()
        let digest = try NightDigest(options.locate(), since: Moments.since(since, now: now) ?? now, now: now)
        try json ? StandardOutput.json(digest.json) : StandardOutput.write(digest.text(.output))
    }
}
