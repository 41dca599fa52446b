import Foundation

/// What must hold of a manifest's values together, once each of them is known.
extension ManifestResolution {
    /// A key that never changes would make the same file a duplicate for ever.
    mutating func refuseTemplates() {
        guard let entry = layer.entries["run.idempotency_key"], case .string(let text) = entry.value,
            text.contains("{{")
        else { return }
        note(
            .unsupported, entry.node, "run.idempotency_key: templates are replaced in files of Jobs/schedules only",
            hint: "write the key out")
    }

    mutating func checkQueue() {
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
    mutating func checkNotify() {
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
    mutating func checkTask() {
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

    /// A metric that the examples of no such task have is told before anything is trained, and not behind it.
    mutating func checkMetrics() {
        let (task, format) = (manifest.task, manifest.data.format)
        guard format == .auto || task.formats.contains(format) else { return }
        let node = layer.entries["evaluate.metrics"]?.node
        for (index, metric) in manifest.evaluate.metrics.enumerated() where !metric.isPossible(for: task, format) {
            let place = node?.elements?[index] ?? node
            findings.append(
                Finding(
                    .unsupported, at: place?.mark, pointer: place?.pointer ?? "/evaluate/metrics",
                    "evaluate.metrics: \(metric.rawValue) cannot be measured of task: \(task.rawValue) with "
                        + "data.format: \(format.rawValue)",
                    hint: [.acc, .accNorm].contains(metric) ? "suites of multiple choice have it" : nil))
        }
    }

    /// A file that is trained on and judged by makes the judgement worthless.
    mutating func checkOverlap() {
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
    mutating func checkWindow() {
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
        } catch {
            let key = manifest.data.windowSeconds == nil ? "data.exclude" : "data.window"
            findings += error.findings.map { finding in
                var finding = finding
                let mark = layer.entries[key]?.node.mark
                (finding.line, finding.column) = (mark?.line, mark?.column)
                return finding
            }
        }
    }

    /// A budget that limits nothing is a slip.
    mutating func checkBudget() {
        guard let budget = manifest.run.budget, budget.wallSeconds == nil, budget.endMinute == nil else { return }
        findings.append(
            Finding(
                .missingKey, at: layer.entries["run.budget"]?.node.mark, pointer: "/run/budget",
                "run.budget: neither wall nor by is written", hint: "write run: {budget: {wall: 4h, by: \"06:00\"}}"))
    }

    /// Steps of full training are smaller than what bf16 can tell apart.
    mutating func checkPrecision() {
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

    /// An adapter is of weights that its readers have, too; those that are drawn for one training nobody has.
    mutating func checkAdaptedBase() {
        guard case .random = manifest.base, manifest.adapter.method != .full else { return }
        findings.append(
            Finding(
                .conflict, at: layer.entries["adapter.method"]?.node.mark, pointer: "/adapter/method",
                "adapter.method: \(manifest.adapter.method.rawValue) adapts weights that lie in a file, and base.init: "
                    + "random draws them for this training alone",
                hint: "leave it out to train all weights, and adapt what that makes: base: store:NAME"))
    }

    /// Pairs of answers can be made into tokens, but no training compares them yet.
    mutating func checkPreferences(_ pipeline: PipelineDefinition) {
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
}
