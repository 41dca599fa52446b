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
        var resolution = Resolution(
            resolver: self, layer: parser.layer, root: root, findings: findings + parser.findings)
        if !allowingTemplates { resolution.refuseTemplates() }
        return try resolution.run()
    }
}

/// One manifest on its way to a job.
private struct Resolution {
    let resolver: ManifestResolver
    let layer: ManifestLayer
    let root: SourceNode
    var findings: [Finding]
    private let roots: PathRoots
    private var manifest = ManifestSchema.defaults
    private var origins: [String: Origin] = [:]

    init(resolver: ManifestResolver, layer: ManifestLayer, root: SourceNode, findings: [Finding]) {
        self.resolver = resolver
        self.layer = layer
        self.root = root
        self.findings = findings
        roots = resolver.roots
    }

    mutating func run() throws -> ResolvedManifest {
        for field in ManifestSchema.fields { resolve(field) }
        if case .random = manifest.base, origins["adapter.method"] == .default { manifest.adapter.method = .full }
        checkQueue()
        checkNotify()
        checkTask()
        checkOverlap()
        checkWindow()
        checkPrecision()
        checkBudget()
        let pipeline = findPipeline()
        if let pipeline { checkPreferences(pipeline) }
        if !findings.hasErrors {
            findings += GateCheck(manifest: manifest, pipeline: pipeline, node: gateNode, roots: roots).findings
        }
        guard let pipeline, !findings.hasErrors else { throw InvalidFile(findings) }
        for stage in pipeline.stages {
            origins["stages.\(stage.name).retries"] = origin("run.retries", orPipelines: stage.retries != nil)
            origins["stages.\(stage.name).timeout"] = origin("run.timeout", orPipelines: stage.timeoutSeconds != nil)
        }
        return ResolvedManifest(
            manifest: manifest, origins: origins, pipeline: pipeline, warnings: findings.inLineOrder)
    }

    private mutating func resolve(_ field: ManifestField) {
        if case .planned = field.availability {
            origins[field.path] = .default
            return
        }
        let written = layer.entries[field.path]
        let other = field.excludes
        // What the manifest writes about one of two exclusive keys settles both.
        let isSettled = layer.isWritten(field.path) || other.map(layer.isWritten) ?? false
        let inherited = isSettled ? nil : resolver.settings.defaults.entries[field.path]
        if let entry = written ?? inherited {
            let isOwn = written != nil
            guard let value = located(entry, field, isOwn: isOwn) else { return }
            do {
                try field.set(&manifest, value)
                origins[field.path] = isOwn ? .manifest : .workspace
            } catch {
                note(.invalidValue, entry.node, "\(field.path): \(error)")
            }
        } else if field.isRequired, !layer.refused.contains(field.path) {
            let parent = root["data"].flatMap { field.path.hasPrefix("data.") && $0.entries != nil ? $0 : nil } ?? root
            let example = ["name": "my-adapter", "base": "models/my-model"][field.path] ?? "data/*.jsonl"
            findings.append(
                Finding(
                    .missingKey, at: parent.mark, pointer: field.pointer,
                    "\(field.path) is missing", hint: "write \(field.key): \(example)"))
        } else if !isSettled, field.defaultValue != nil, !isReplacedByWorkspace(other) {
            origins[field.path] = .default
        }
    }

    /// Whether the workspace writes the key that excludes this one.
    private func isReplacedByWorkspace(_ other: String?) -> Bool {
        other.map { resolver.settings.defaults.entries[$0] != nil } ?? false
    }

    /// The value with its paths looked up, or `nil` after noting what is wrong with them.
    private mutating func located(
        _ entry: ManifestLayer.Entry, _ field: ManifestField, isOwn: Bool
    ) -> JSONValue? {
        let before = findings.count
        let value: JSONValue?
        switch field.constraint {
        case .base: value = base(entry)
        case .paths: value = files(entry, field)
        case .split, .orNull(.paths):
            if case .array = entry.value { value = files(entry, field) } else { value = entry.value }
        case .patterns:
            guard case .array(let patterns) = entry.value else { return entry.value }
            value = .array(
                patterns.map { pattern in
                    guard case .string(let text) = pattern else { return pattern }
                    return .string(FilePaths.absolute(text, in: resolver.workspace.root))
                })
        case .table: value = suites(entry, field)
        default: return entry.value
        }
        if !isOwn {
            // The place is one in lorajobs.yaml, which the report of a manifest cannot show.
            for index in before..<findings.count {
                findings[index].line = nil
                findings[index].column = nil
                findings[index].message = PrintableText.line(
                    "lorajobs.yaml, line \(entry.node.mark.line): \(findings[index].message)", limit: 200)
            }
        }
        return value
    }

    private mutating func files(
        _ entry: ManifestLayer.Entry, _ field: ManifestField, key: String? = nil
    ) -> JSONValue? {
        guard case .array(let values) = entry.value else { return nil }
        var paths: [JSONValue] = []
        var isWhole = true
        for (index, value) in values.enumerated() {
            guard case .string(let text) = value else { continue }
            let path = FilePaths.absolute(text, in: resolver.workspace.root)
            let node = entry.node.elements?[index] ?? entry.node
            if case .failure(let problem) = DataFiles.expand(path, roots: roots) {
                findings.append(problem.finding(key ?? field.path, at: node.mark, node.pointer))
                isWhole = false
            }
            paths.append(.string(path))
        }
        return isWhole ? .array(paths) : nil
    }

    /// A table whose rows have files under `data`.
    private mutating func suites(_ entry: ManifestLayer.Entry, _ field: ManifestField) -> JSONValue? {
        guard case .object(var rows) = entry.value else { return entry.value }
        var isWhole = true
        for (name, row) in rows {
            guard case .object(var members) = row, let data = members["data"], let node = entry.node[name]?["data"],
                let suite = ManifestSchema.field("evaluate.suites")
            else { continue }
            let inner = ManifestLayer.Entry(value: data, node: node)
            guard let paths = files(inner, suite, key: "\(field.path).\(name).data") else {
                isWhole = false
                continue
            }
            members["data"] = paths
            rows[name] = .object(members)
        }
        return isWhole ? .object(rows) : nil
    }

    /// Where the gate is written; `nil` when that is not the manifest.
    private var gateNode: SourceNode? { layer.entries["gate"]?.node }

    private mutating func base(_ entry: ManifestLayer.Entry) -> JSONValue? {
        if case .string(let config)? = entry.value["config"] {
            let node = entry.node["config"] ?? entry.node
            return folder(FilePaths.absolute(config, in: resolver.workspace.root), "base.config", node).map {
                .object(["config": .string($0), "init": "random"])
            }
        }
        guard case .string(let text) = entry.value else { return nil }
        if text.hasPrefix("store:") { return stored(String(text.dropFirst(6)), entry.node).map { .string($0) } }
        let path = FilePaths.absolute(text, in: resolver.workspace.root)
        if !FileManager.default.fileExists(atPath: path), HuggingFaceCache.isModelID(text) {
            if let snapshot = resolver.cache.snapshot(of: text) {
                return folder(snapshot, "base", entry.node).map { .string($0) }
            }
            let parent = FilePaths.nearestExistingParent(of: path)
            note(
                .pathNotFound, entry.node,
                "base: there is no folder \(PrintableText.quoted(text)), and no such model in the Hugging Face cache",
                hint: "\(parent) exists; a model is downloaded with: hf download \(PrintableText.line(text, limit: 60))"
            )
            return nil
        }
        return folder(path, "base", entry.node).map { .string($0) }
    }

    private mutating func stored(_ reference: String, _ node: SourceNode) -> String? {
        do {
            if let url = try resolver.store(reference) {
                return folder(url.path(percentEncoded: false), "base", node)
            }
            note(
                .referenceNotFound, node, "base: the store has no \(PrintableText.quoted(reference, limit: 100))",
                hint: "lorajobs adapters list shows what it has")
        } catch {
            note(.referenceNotFound, node, "base: \(error)")
        }
        return nil
    }

    /// The real path of a checkpoint folder: inside the roots, with all the files a job reads, and those inside them too.
    private mutating func folder(_ path: String, _ key: String, _ node: SourceNode) -> String? {
        func refuse(_ problem: PathProblem) -> String? {
            findings.append(problem.finding(key, at: node.mark, node.pointer))
            return nil
        }
        guard let real = FilePaths.realPath(path) else { return refuse(.notFound(path, isPattern: false)) }
        guard roots.contain(real) else { return refuse(.outsideRoots(real, roots)) }
        guard FilePaths.isFolder(real) else {
            note(.baseIncomplete, node, "\(key): \(node.description) is a file", hint: "name the folder it lies in")
            return nil
        }
        guard FilePaths.isRegularFile(real + "/config.json") else {
            note(
                .baseIncomplete, node, "\(key): \(node.description) has no config.json",
                hint: "a base is a Hugging Face checkpoint folder")
            return nil
        }
        for name in (try? FileManager.default.contentsOfDirectory(atPath: real))?.sorted() ?? [] {
            guard let target = FilePaths.realPath("\(real)/\(name)") else { continue }
            if !roots.contain(target) { return refuse(.outsideRoots(target, roots)) }
        }
        return isComplete(real, key, node) ? real : nil
    }

    /// Whether a checkpoint folder has the files that every job reads; notes those it lacks.
    private mutating func isComplete(_ folder: String, _ key: String, _ node: SourceNode) -> Bool {
        func has(_ name: String) -> Bool { FilePaths.isRegularFile("\(folder)/\(name)") }
        let before = findings.count
        // A model that starts at random numbers has no weights yet.
        let needsWeights = key != "base.config"
        if needsWeights, !has("model.safetensors"), !has("model.safetensors.index.json") {
            let pickle = ["pytorch_model.bin", "pytorch_model.bin.index.json"].first(where: has)
            note(
                .baseIncomplete, node, "\(key): \(node.description) has no model.safetensors",
                hint: pickle.map { "\($0) is a pickle, which is never read; save the model as safetensors" }
                    ?? "nor a model.safetensors.index.json that names its parts")
        }
        // What prepares images takes the tokenizer's place in a base that sees.
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        if !TokenizerFiles.areComplete(names), !has("preprocessor_config.json") {
            note(
                .baseIncomplete, node, "\(key): \(node.description) has no tokenizer.json, nor another vocabulary",
                hint: "save_pretrained of its tokenizer writes one")
        }
        return findings.count == before
    }

    /// A key that never changes would make the same file a duplicate for ever.
    mutating func refuseTemplates() {
        guard let entry = layer.entries["run.idempotency_key"], case .string(let text) = entry.value,
            text.contains("{{")
        else { return }
        note(
            .unsupported, entry.node, "run.idempotency_key: templates are replaced in files of Jobs/schedules only",
            hint: "write the key out")
    }

    private mutating func checkQueue() {
        guard let entry = layer.entries["run.queue"], case .string(let name) = entry.value,
            resolver.settings.queues[name] == nil
        else { return }
        let names = resolver.settings.queues.keys.sorted()
        let near = KeySuggestion.nearest(name, among: names)
        note(
            .unknownQueue, entry.node, "run.queue: there is no queue \(PrintableText.quoted(name))",
            hint: near.map { "did you mean \($0)?" } ?? "one of \(names.joined(separator: ", "))")
    }

    /// A manifest names targets and holds no address: who may drop a file could otherwise let the daemon send requests
    /// wherever it can reach.
    private mutating func checkNotify() {
        let known = resolver.settings.notify.keys.sorted()
        let entry = layer.entries["notify"]
        let list = entry.map { $0.node.entries == nil ? $0.node : $0.node["to"] ?? $0.node }
        for (index, name) in (manifest.notify?.to ?? []).enumerated() where !known.contains(name) {
            let node = list?.elements?[index] ?? list
            let near = KeySuggestion.nearest(name, among: known)
            let others =
                known.isEmpty
                ? "notify: {team: {webhook: https://…}} there defines one"
                : "there are \(known.joined(separator: ", "))"
            findings.append(
                Finding(
                    .unknownTarget, at: node?.mark, pointer: node?.pointer ?? "/notify",
                    "\(entry == nil ? "defaults." : "")notify: there is no target "
                        + "\(PrintableText.quoted(name)) in lorajobs.yaml",
                    hint: near.map { "did you mean \($0)?" } ?? others))
        }
    }

    /// Data that a task cannot be learned from are refused before anything reads them.
    private mutating func checkTask() {
        let (task, format) = (manifest.task, manifest.data.format)
        if task == .sequenceRegression, !manifest.data.labels.isEmpty, let node = layer.entries["data.labels"]?.node {
            note(
                .unsupported, node, "data.labels: task: \(task.rawValue) learns numbers, which have no names",
                hint: "leave it out, or choose between classes with task: sequence-classification")
        }
        guard format != .auto, !task.formats.contains(format) else { return }
        guard let node = layer.entries["task"]?.node ?? layer.entries["data.format"]?.node else { return }
        note(
            .unsupported, node, "task: \(task.rawValue) cannot be learned from data.format: \(format.rawValue)",
            hint: "it reads \(task.formats.map(\.rawValue).joined(separator: ", "))")
    }

    /// A file that is trained on and judged by makes the judgement worthless.
    private mutating func checkOverlap() {
        guard findings.isEmpty, let files = try? DataFiles(of: manifest, roots: roots) else { return }
        let train = Set(files.train)
        let others = files.evaluation.map {
            $0.key == DataFiles.retention
                ? ("evaluate.retention", $0.value) : ("evaluate.suites", $0.value)
        }
        for (key, own) in [("data.validation", files.validation), ("data.test", files.test)] + others {
            guard let shared = own.first(where: train.contains) else { continue }
            let name = PrintableText.line(resolver.workspace.relativePath(URL(filePath: shared)), limit: 100)
            findings.append(
                Finding(
                    .overlappingSplits, severity: .warning, at: layer.entries[key]?.node.mark,
                    pointer: ManifestSchema.field(key)?.pointer ?? "",
                    "\(key): \(name) is trained on too"
                ))
        }
    }

    /// A pattern that excludes nothing is a slip; a window needs dates, and something within them.
    private mutating func checkWindow() {
        guard !findings.hasErrors else { return }
        for (index, pattern) in manifest.data.exclude.enumerated() {
            let node = layer.entries["data.exclude"]?.node
            let mark = (node?.elements?[index] ?? node)?.mark
            do {
                guard try DataFiles.excluded([pattern], roots: roots).isEmpty else { continue }
                findings.append(
                    Finding(
                        .pathNotFound, severity: .warning, at: mark, pointer: "/data/exclude",
                        "data.exclude: no file matches \(PrintableText.line(pattern, limit: 100))"))
            } catch {
                findings.append(error.finding("data.exclude", at: mark, "/data/exclude"))
            }
        }
        guard !findings.hasErrors else { return }
        if manifest.train.start != .base, manifest.adapter.method == .full {
            let node = layer.entries["train.init"]?.node
            findings.append(
                Finding(
                    .conflict, at: node?.mark, pointer: "/train/init",
                    "train.init: only an adapter goes on from a version; all weights do when it is their base",
                    hint: "write base: store:NAME"))
        }
        guard manifest.data.windowSeconds != nil || !manifest.data.exclude.isEmpty else { return }
        do {
            _ = try DataFiles(of: manifest, roots: roots)
        } catch let error as InvalidFile {
            let key = manifest.data.windowSeconds == nil ? "data.exclude" : "data.window"
            findings += error.findings.map { finding in
                var finding = finding
                let mark = layer.entries[key]?.node.mark
                (finding.line, finding.column) = (mark?.line, mark?.column)
                return finding
            }
        } catch {}
    }

    /// A budget that limits nothing is a slip.
    private mutating func checkBudget() {
        guard let budget = manifest.run.budget, budget.wallSeconds == nil, budget.endMinute == nil else { return }
        findings.append(
            Finding(
                .missingKey, at: layer.entries["run.budget"]?.node.mark, pointer: "/run/budget",
                "run.budget: neither wall nor by is written", hint: "write run: {budget: {wall: 4h, by: \"06:00\"}}"))
    }

    /// Steps of full training are smaller than what bf16 can tell apart.
    private mutating func checkPrecision() {
        guard manifest.train.precision == .bf16 else { return }
        var reason: String?
        if case .random = manifest.base { reason = "new weights are drawn, and stay, in fp32" }
        if manifest.adapter.method == .full { reason = "full training keeps its weights in fp32" }
        guard let reason else { return }
        findings.append(
            Finding(
                .conflict, at: layer.entries["train.precision"]?.node.mark, pointer: "/train/precision",
                "train.precision: \(reason)", hint: "leave it out"))
    }

    /// Pairs of answers can be made into tokens, but no training compares them yet.
    private mutating func checkPreferences(_ pipeline: PipelineDefinition) {
        guard manifest.data.format == .preference, let stage = pipeline.stages.first(where: { $0.uses == "train" })
        else { return }
        findings.append(
            Finding(
                .unsupported, at: layer.entries["data.format"]?.node.mark, pointer: "/data/format",
                "data.format: preference is tokenized only; the stage \(PrintableText.quoted(stage.name)) cannot learn "
                    + "from pairs of answers yet",
                hint: "a pipeline of tokenize alone takes it; to learn the chosen answers, write format: completion "
                    + "and columns: {completion: chosen}"))
    }

    private mutating func findPipeline() -> PipelineDefinition? {
        let node = layer.entries["pipeline"]?.node
        if layer.refused.contains("pipeline") { return nil }
        let name = manifest.pipeline
        let file = "Pipelines/\(name).yaml"
        do {
            if let pipeline = try resolver.pipeline(name) { return pipeline }
            findings.append(
                Finding(
                    .pipelineNotFound, at: node?.mark, pointer: "/pipeline",
                    "pipeline: there is no \(file)", hint: pipelineHint(name)))
        } catch let error as InvalidFile {
            for finding in error.findings.prefix(3) {
                let place = finding.line.map { ", line \($0), col \(finding.column ?? 1)" } ?? ""
                findings.append(
                    Finding(
                        .pipelineInvalid, at: node?.mark, pointer: "/pipeline",
                        "\(file)\(place): \(finding.message)", hint: finding.hint))
            }
        } catch {
            findings.append(
                Finding(.pipelineInvalid, at: node?.mark, pointer: "/pipeline", "\(file): \(error)"))
        }
        return nil
    }

    private func pipelineHint(_ name: String) -> String? {
        let folder = resolver.workspace.pipelines.path(percentEncoded: false)
        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        let names = files.filter { $0.hasSuffix(".yaml") }.map { String($0.dropLast(5)) }.sorted()
        if names.isEmpty { return "lorajobs init lays down examples" }
        return KeySuggestion.nearest(name, among: names).map { "did you mean \($0)?" }
            ?? "there are \(names.prefix(8).joined(separator: ", "))"
    }

    private func origin(_ key: String, orPipelines isWritten: Bool) -> Origin {
        let own = origins[key] ?? .default
        return own == .manifest ? .manifest : isWritten ? .pipeline : own
    }

    private mutating func note(_ code: Finding.Code, _ node: SourceNode, _ message: String, hint: String? = nil) {
        findings.append(Finding(code, at: node.mark, pointer: node.pointer, message, hint: hint))
    }
}
