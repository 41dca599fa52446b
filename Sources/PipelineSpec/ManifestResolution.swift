import Foundation

/// One manifest on its way to a job.
struct ManifestResolution {
    let resolver: ManifestResolver
    let layer: ManifestLayer
    let root: SourceNode
    var findings: [Finding]
    let roots: PathRoots
    private(set) var manifest = ManifestSchema.defaults
    private(set) var origins: [String: Origin] = [:]

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
        checkMetrics()
        checkOverlap()
        checkWindow()
        checkPrecision()
        checkAdaptedBase()
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

    /// The real path of a checkpoint folder: inside the roots, with all the files a job reads, and those inside them
    /// too.
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

    mutating func note(_ code: Finding.Code, _ node: SourceNode, _ message: String, hint: String? = nil) {
        findings.append(Finding(code, at: node.mark, pointer: node.pointer, message, hint: hint))
    }
}
