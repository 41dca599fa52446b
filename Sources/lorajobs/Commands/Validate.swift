import ArgumentParser
import Foundation
import PipelineSpec

struct Validate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check manifests and schedules; exit 65 when one is wrong. Nothing is changed.")

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "Manifests; - is standard input.") var files: [String]
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func run() throws {
        let setup = try WorkspaceSetup(options.locate())
        let here = URL(filePath: FileManager.default.currentDirectoryPath, directoryHint: .isDirectory)
        let verdicts = try files.map { try ManifestSource($0).judgeAsEither(setup) }
        let judgements = verdicts.map(\.judgement)
        if json { try StandardOutput.json(Judgement.json(judgements)) }
        for (judgement, schedule) in verdicts {
            if !json {
                let isValid = judgement.resolved != nil
                try StandardOutput.write(judgement.text(consequence: "It would be rejected."))
                let next = schedule.flatMap { $0.isEnabled ? $0.cron.next(after: Date(), in: $0.timeZone) : nil }
                let times = next.map {
                    "; next due at \($0.localTime) (\(Occurrence.name(of: schedule?.timeZone ?? .gmt)))"
                }
                let trials = judgement.resolved?.sweep.map { "; \($0.trials.count) trials" }
                if isValid { try StandardOutput.line("\(judgement.source.path): valid\(times ?? trials ?? "")") }
            }
            for warning in CallersFolder.warnings(judgement, workspace: setup.workspace, folder: here) {
                Talk.warn(warning)
            }
        }
        if judgements.contains(where: { $0.resolved == nil }) { try ExitStatus.invalidInput.end() }
    }
}
