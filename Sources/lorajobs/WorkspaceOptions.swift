import ArgumentParser
import Artifacts
import Foundation
import Logging
import Orchestration
import PipelineSpec
import Stages

/// `--root`, which every verb has, and what a verb finds there.
struct WorkspaceOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "The workspace; else LORAJOBS_ROOT, else the nearest folder above that holds Jobs/inbox.", valueName: "dir")
    )
    var root: String?

    /// Finds the workspace; from then on, what is written has the rights that its settings say.
    func locate() throws -> Workspace {
        let workspace = try Workspace.locate(explicit: root)
        // Settings that are wrong are told by those verbs that need them.
        if let settings = try? WorkspaceSettings(of: workspace) { umask(settings.permissions.mask) }
        return workspace
    }
}

/// A workspace with its settings: what judging and running manifests takes.
struct WorkspaceSetup: Sendable {
    let workspace: Workspace
    let settings: WorkspaceSettings
    let resolver: ManifestResolver
    /// What jobs may use here.
    let capacity: Capacity

    /// - Throws: ``CommandFailure`` with the findings when `lorajobs.yaml` is wrong.
    init(_ workspace: Workspace) throws {
        do {
            self.init(workspace, settings: try WorkspaceSettings(of: workspace))
        } catch let error as InvalidFile {
            let path = workspace.settings.path(percentEncoded: false)
            throw CommandFailure(.badConfiguration, "\(path) is wrong:\n\(error.description)")
        }
    }

    /// The workspace as if it had these settings.
    init(_ workspace: Workspace, settings: WorkspaceSettings) {
        self.workspace = workspace
        self.settings = settings
        var resolver = ManifestResolver(workspace: workspace, settings: settings, kinds: StageRegistry.descriptors)
        let store = ArtifactStore(workspace.artifacts)
        resolver.store = { try store.resolve(ArtifactReference($0), in: .models).url }
        self.resolver = resolver
        capacity = Capacity(settings)
    }

    /// The most memory that a job's stages will use, in bytes, as far as anybody can say.
    static let estimateMemory: @Sendable (JobManifest) -> Int64? = {
        // A base that cannot be trained is refused by its stage, in words that say why.
        try? Engine.estimatedPeakBytes(of: $0)
    }

    /// What a job's training computes, as far as that is known before its data are read.
    static let countWork: @Sendable (JobManifest) -> CountedWork? = { manifest in
        Engine.countedWork(of: manifest).map {
            CountedWork(
                operations: $0.operations, operationsPerToken: $0.operationsPerToken, precisionBits: $0.precisionBits)
        }
    }

    /// What to change in a manifest so that its stages use at most so many bytes, in words.
    static let fittingChange: @Sendable (JobManifest, Int64) -> String? = { Engine.changeThatFits($1, in: $0) }

    /// What a daemon, or a run in the foreground, needs.
    ///
    /// `LORAJOBS_RETRY_SECONDS` overrides the first pause after a failed attempt and after a failed notice, as `LORAJOBS_CHECKPOINT_SECONDS` does
    /// the time between checkpoints.
    func orchestration(logger: Logger) throws -> OrchestrationConfiguration {
        var configuration = OrchestrationConfiguration(
            resolver, stageCommand: [try Self.executable(), "stage"], numericsVersion: Numerics.version,
            estimateMemory: Self.estimateMemory, fittingChange: Self.fittingChange, countWork: Self.countWork,
            logger: logger)
        let pause = ProcessInfo.processInfo.environment["LORAJOBS_RETRY_SECONDS"].flatMap(Double.init)
        if let pause, (0...86_400).contains(pause) {
            configuration.retry.firstPause = pause
            configuration.noticePause = min(configuration.noticePause, pause)
        }
        return configuration
    }

    /// The absolute path of this program.
    private static func executable() throws -> String {
        guard let path = FilePaths.realPath("/proc/self/exe") else {
            throw CommandFailure(.ioError, "cannot find this program's own file: is /proc mounted?")
        }
        return path
    }
}
