package import Foundation

/// A manifest with every value in force, and where each came from.
package struct ResolvedManifest: Sendable {
    package var manifest: JobManifest
    /// By dotted key, such as `train.epochs`; also `stages.<name>.retries` and `stages.<name>.timeout` for every
    /// stage of the pipeline.
    package var origins: [String: Origin]
    package var pipeline: PipelineDefinition
    /// What is doubtful, but refuses nothing.
    package var warnings: [Finding]
    /// All trials of a manifest with a `matrix:`, of which this is the first; `nil` for one job.
    package var sweep: ManifestSweep?

    /// How often a failed try at `stage` is repeated: the manifest's number when it writes one, else the
    /// pipeline's, else the workspace's or the default.
    package func retries(of stage: PipelineDefinition.Stage) -> Int {
        origins["run.retries"] == .manifest ? manifest.run.retries : stage.retries ?? manifest.run.retries
    }

    /// The longest time of one try at `stage`, in seconds, by the same rule as ``retries(of:)``.
    package func timeoutSeconds(of stage: PipelineDefinition.Stage) -> Double {
        origins["run.timeout"] == .manifest
            ? manifest.run.timeoutSeconds : stage.timeoutSeconds ?? manifest.run.timeoutSeconds
    }
}

/// Turns the bytes of a manifest into a job, or into everything that is wrong with them.
package struct ManifestResolver: Sendable {
    package let workspace: Workspace
    package let settings: WorkspaceSettings
    /// The stages there are, by kind.
    package let kinds: [String: StageDescriptor]
    /// Where model ids are looked up.
    package var cache = HuggingFaceCache()
    /// The pipeline of a name, `nil` when there is none. Reads `Pipelines/<name>.yaml` unless replaced.
    package var pipeline: @Sendable (String) throws -> PipelineDefinition?
    /// The folder of a reference into the store, given without `store:`; `nil` when there is none. Throws to say
    /// why a reference is malformed.
    package var store: @Sendable (String) throws -> URL? = { _ in nil }
    /// Top-level keys that somebody else reads, such as `schedule` in a recurring job.
    package var foreignKeys: Set<String> = []
    /// Whose time a moment without an offset is.
    package var timeZone = TimeZone.current

    package init(workspace: Workspace, settings: WorkspaceSettings, kinds: [String: StageDescriptor]) {
        self.workspace = workspace
        self.settings = settings
        self.kinds = kinds
        pipeline = { try PipelineDefinition.load($0, in: workspace, kinds: kinds) }
    }

    /// The folders that paths must lie in: the workspace, the Hugging Face cache, and the settings' roots.
    package var roots: PathRoots {
        PathRoots([workspace.root.path(percentEncoded: false), cache.root] + settings.roots)
    }

    /// Reads, completes and checks a manifest. Looks at the file system, changes nothing.
    ///
    /// - Throws: ``InvalidFile`` with every finding, in the order of the lines.
    package func resolve(_ data: Data) throws -> ResolvedManifest {
        var reader = DocumentReader()
        reader.maxBytes = settings.inbox.maxBytes
        let root = try reader.read(data)
        if let matrix = root["matrix"] { return try resolveSweep(root, matrix) }
        return try resolve(root)
    }

    /// Completes and checks a manifest that has been read.
    ///
    /// - Parameters:
    ///   - excluding: fields that have no place in this file, and why.
    ///   - findings: what is known to be wrong with it.
    ///   - allowingTemplates: whether `{{ … }}` in the idempotency key is somebody's who replaces it.
    func resolve(
        _ root: SourceNode, excluding excluded: [String: String] = [:], noting findings: [Finding] = [],
        allowingTemplates: Bool = false
    ) throws -> ResolvedManifest {
        var parser = ManifestParser(timeZone: timeZone, passing: foreignKeys, excluding: excluded)
        parser.parse(root)
        guard root.entries != nil else { throw InvalidFile(parser.findings) }
        var resolution = ManifestResolution(
            resolver: self, layer: parser.layer, root: root, findings: findings + parser.findings)
        if !allowingTemplates { resolution.refuseTemplates() }
        return try resolution.run()
    }
}
