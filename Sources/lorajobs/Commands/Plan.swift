import ArgumentParser
import Artifacts
import Foundation
import Orchestration
import PipelineSpec
import Stages

struct Plan: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what a job would do: its stages, examples as they are learned, steps, memory and time.",
        discussion: """
            Reads and encodes the data as the job would; of more than 32 MiB a sample, unless --full is given. Nothing \
            is changed. Exits with 65 when the job would be rejected, or would fail on its data.
            """)

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "The manifest; - is standard input.") var file: String
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Replace a value of the manifest, such as train.epochs=1; may be given again.", valueName: "key=value"))
    var set: [String] = []
    @Option(name: [.customShort("n"), .customLong("examples")], help: "Examples to show.")
    var examples = 3
    @Flag(name: .long, help: "Read all of the data, however large.") var full = false
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    func validate() throws {
        guard (0...1000).contains(examples) else { throw ValidationError("--examples must be 0 to 1000") }
    }

    mutating func run() throws {
        Engine.useFastestKernels()
        let setup = try WorkspaceSetup(options.locate())
        let judgement = try ManifestSource(file).setting(set).judgeAsEither(setup).judgement
        let here = URL(filePath: FileManager.default.currentDirectoryPath, directoryHint: .isDirectory)
        for warning in CallersFolder.warnings(judgement, workspace: setup.workspace, folder: here) {
            Talk.warn(warning)
        }
        guard let resolved = judgement.resolved else {
            try json
                ? StandardOutput.json(Judgement.json([judgement]))
                : StandardOutput.write(judgement.text(consequence: "It would be rejected."))
            return try ExitStatus.invalidInput.end()
        }
        if !json { try StandardOutput.write(judgement.text(consequence: "")) }
        do {
            let configuration = try setup.orchestration(logger: DaemonLog.quiet)
            var submission = try Submission(resolved)
            if let sweep = submission.sweep { submission.stages = sweep.stages }
            let queue = try QueueAccess.reading(setup.workspace)
            let preview = try JobPreview(of: submission, configuration, queue: queue)
            let manifest = resolved.manifest
            let champion = try ArtifactStore(setup.workspace.artifacts).rivals(
                of: manifest.name, alias: manifest.gate?.alias ?? ArtifactReference.production,
                in: manifest.adapter.method == .full ? .models : .adapters
            ).champion
            let forecast = try Engine.run {
                try TrainingForecast(
                    of: manifest, data: preview.data, tokenizer: preview.tokenizer, isFull: full,
                    exampleCount: examples, trials: resolved.sweep?.trials.map(\.manifest) ?? [], champion: champion
                ) { operations in
                    try queue?.trainingSpeed(
                        operationsPerToken: operations, threads: manifest.run.threads, bits: manifest.precisionBits
                    ).map { KnownSpeed(gigaflops: $0.gigaflops, runs: $0.runs) }
                }
            }
            var report = PlanReport(sweep: resolved.sweep, manifest: manifest, preview: preview, forecast: forecast)
            if let queue { report.history = try queue.history(of: manifest) }
            try json ? StandardOutput.json(report.json(judgement)) : StandardOutput.write(report.text(.output))
        } catch let error as StageError where error.exit == .invalidInput {
            try refuse(error.code, error.description, judgement)
        } catch let error as OrchestrationError where error.code == .invalidInput {
            try refuse("invalid_input", error.description, judgement)
        }
    }

    /// Says that the job would fail, as `validate` says that it would be rejected.
    private func refuse(_ code: String, _ message: String, _ judgement: Judgement) throws {
        let findings = judgement.findings + [Finding(Finding.Code(rawValue: code), message)]
        let failed = Judgement(source: judgement.source, findings: findings, resolved: nil)
        try json
            ? StandardOutput.json(Judgement.json([failed]))
            : StandardOutput.write(failed.text(consequence: "The job would fail."))
        try ExitStatus.invalidInput.end()
    }
}
