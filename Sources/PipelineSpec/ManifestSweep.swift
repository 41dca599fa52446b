import Foundation

/// A manifest with a `matrix:`: a trial for each combination of its values.
///
/// A trial is trained and judged by the validation split, and no more: it sees no test data, publishes nothing and
/// moves no alias.
package struct ManifestSweep: Sendable {
    /// One combination.
    package struct Trial: Sendable {
        package var manifest: JobManifest
        package var origins: [String: Origin]
    }

    /// The keys of the matrix in the order of the file; the last one varies first.
    package let keys: [String]
    package let trials: [Trial]
    /// Whether a further job trains with the winner's values, on all data and through the whole pipeline.
    package let trainsWinner: Bool
    /// What trials are ranked by, on the validation split.
    package let metric: JobManifest.Metric
    /// The names of the stages of the pipeline that a trial runs.
    package let stages: Set<String>
    /// The stage that a trial runs behind them, which measures ``metric``; `nil` for the loss, which training measures
    /// itself.
    package let scoring: PipelineDefinition.Stage?

    /// The kind of ``scoring``.
    package static let scoringKind = "score"

    /// More trials than this are refused: each one is a job.
    package static let mostTrials = 100

    /// The words that `matrix.metric` takes.
    static let metrics = JobManifest.Metric.allCases.map(\.rawValue)

    /// What may differ between trials: nothing that decides about tokens or splits, so that all learn from the same data and
    /// are measured by the same.
    static func mayVary(_ path: String) -> Bool {
        guard ManifestSchema.field(path) != nil else { return false }
        return path.hasPrefix("adapter.") || path.hasPrefix("train.")
    }

    /// `matrix:` as JSON Schema.
    static var jsonSchema: JSONValue {
        let keys = ManifestSchema.fields.map(\.path).filter(mayVary)
        var properties = Dictionary(
            uniqueKeysWithValues: keys.map { ($0, JSONValue.object(["type": "array", "minItems": 1])) })
        properties["then"] = ["enum": ["train"]]
        properties["metric"] = .object(["enum": .array(metrics.map { .string($0) })])
        return [
            "description": "A trial for each combination of values; dotted keys, each with a list.", "type": "object",
            "additionalProperties": false, "properties": .object(properties),
        ]
    }
}

/// Reads `matrix:`.
private struct MatrixReader {
    struct Axis {
        var key: String
        var values: [SourceNode]
    }

    private(set) var axes: [Axis] = []
    private(set) var trainsWinner = false
    private(set) var metric = JobManifest.Metric.loss
    private(set) var metricNode: SourceNode?
    private(set) var findings: [Finding] = []

    init(_ node: SourceNode, in root: SourceNode) {
        guard let entries = node.entries else {
            note(
                .wrongType, node.mark, node.pointer, "matrix: expected a mapping of keys, got \(node.description)",
                hint: "write matrix: {adapter.rank: [4, 8, 16]}")
            return
        }
        for entry in entries {
            switch entry.key {
            case "then": readThen(entry.value)
            case "metric": readMetric(entry.value)
            default: read(entry, root)
            }
        }
        if axes.isEmpty, findings.isEmpty {
            note(
                .missingKey, node.mark, node.pointer, "matrix: there is nothing to try",
                hint: "write matrix: {adapter.rank: [4, 8, 16]}")
        }
        let count = axes.reduce(1) { $0 > ManifestSweep.mostTrials ? $0 : $0 * $1.values.count }
        if count > ManifestSweep.mostTrials {
            let sizes = axes.map { "\($0.values.count)" }.joined(separator: " × ")
            note(
                .outOfRange, node.mark, node.pointer,
                "matrix: \(sizes) combinations are too many; at most \(ManifestSweep.mostTrials) trials make a sweep",
                hint: "try fewer values at once")
        }
    }

    private mutating func readThen(_ node: SourceNode) {
        guard node.scalar?.text == "train" else {
            return note(
                .invalidValue, node.mark, node.pointer, "matrix.then: expected train, got \(node.description)",
                hint: "then: train makes a job of the winner")
        }
        trainsWinner = true
    }

    private mutating func readMetric(_ node: SourceNode) {
        guard let word = node.scalar?.text, let known = JobManifest.Metric(rawValue: word) else {
            let near = node.scalar.flatMap { KeySuggestion.nearest($0.text, among: ManifestSweep.metrics) }
            return note(
                .invalidValue, node.mark, node.pointer, "matrix.metric: there is no metric \(node.description)",
                hint: near.map { "did you mean \($0)?" } ?? "one of \(ManifestSweep.metrics.joined(separator: ", "))")
        }
        (metric, metricNode) = (known, node)
    }

    /// Finds out whether the trials can be ranked as they are to be.
    mutating func checkMetric(_ manifest: JobManifest) {
        guard let node = metricNode else { return }
        let name = metric.rawValue
        if !metric.isPossible(for: manifest.task, manifest.data.format) {
            note(
                .unsupported, node.mark, node.pointer,
                "matrix.metric: \(name) cannot be measured of task: \(manifest.task.rawValue) with data.format: "
                    + manifest.data.format.rawValue,
                hint: "leave it out to rank by the loss")
        } else if !manifest.evaluate.metrics.contains(metric), !JobManifest.Metric.always.contains(metric) {
            note(
                .invalidValue, node.mark, node.pointer, "matrix.metric: \(name) is not among evaluate.metrics",
                hint: "add it there, and it is measured of the winner on the test split too")
        }
    }

    private mutating func read(_ entry: SourceNode.Entry, _ root: SourceNode) {
        let key = entry.key
        guard ManifestSweep.mayVary(key) else {
            let name = PrintableText.line(key, limit: 80)
            if ManifestSchema.isSection(key) {
                let inner = entry.value.entries?.first?.key ?? ManifestSchema.children(of: key).first ?? "…"
                return note(
                    .unknownKey, entry.keyMark, entry.value.pointer, "matrix.\(name): expected whole keys",
                    hint: "write \(key).\(inner): […]")
            }
            guard ManifestSchema.field(key) != nil else {
                let words = key.split(separator: ".").map(String.init)
                let hint = KeySuggestion.hint(for: words.last ?? key, in: words.dropLast().joined(separator: "."))
                return note(.unknownKey, entry.keyMark, entry.value.pointer, "matrix.\(name): unknown key", hint: hint)
            }
            return note(
                .invalidValue, entry.keyMark, entry.value.pointer, "matrix.\(name): it cannot differ between trials",
                hint: "trials differ in keys of adapter and train: all else is the same for all, so that they compare")
        }
        let values = entry.value.elements ?? [entry.value]
        guard !values.isEmpty, !entry.value.isNull else {
            return note(
                .invalidValue, entry.value.mark, entry.value.pointer, "matrix.\(key): expected a list of values",
                hint: "write \(key): [1, 2]")
        }
        let words = key.split(separator: ".").map(String.init)
        if words.reduce(root as SourceNode?, { $0?[$1] }) != nil {
            note(
                .conflict, entry.keyMark, entry.value.pointer, "matrix.\(key): \(key) is written too",
                hint: "leave one out")
        }
        if let other = ManifestSchema.field(key)?.excludes, axes.contains(where: { $0.key == other }) {
            note(
                .conflict, entry.keyMark, entry.value.pointer,
                "matrix.\(key): it takes the place of \(other), which is in the matrix",
                hint: "leave one out")
        }
        axes.append(Axis(key: key, values: values))
    }

    private mutating func note(
        _ code: Finding.Code, _ mark: SourceMark, _ pointer: String, _ message: String, hint: String? = nil
    ) {
        findings.append(Finding(code, at: mark, pointer: pointer, message, hint: hint))
    }
}

extension ManifestResolver {
    /// Resolves a manifest whose root holds `matrix`: every trial is completed and checked like a manifest of its own.
    ///
    /// - Returns: The first trial, with all of them.
    func resolveSweep(_ root: SourceNode, _ matrix: SourceNode) throws -> ResolvedManifest {
        var reader = MatrixReader(matrix, in: root)
        var plain = root
        plain.content = .mapping((root.entries ?? []).filter { $0.key != "matrix" })
        var findings = Findings(reader.findings)
        guard reader.findings.isEmpty else {
            // What else is wrong is told as well.
            do { findings.add(try resolve(plain).warnings) } catch let error as InvalidFile {
                findings.add(error.findings)
            }
            throw InvalidFile(findings.all)
        }
        var resolved: [ResolvedManifest] = []
        for index in 0..<reader.axes.reduce(1, { $0 * $1.values.count }) {
            var (trial, rest) = (plain, index)
            for axis in reader.axes.reversed() {
                let words = axis.key.split(separator: ".").map(String.init)[...]
                if let other = ManifestSchema.field(axis.key)?.excludes {
                    trial = ManifestOverrides.removing(other.split(separator: ".").map(String.init)[...], from: trial)
                }
                trial = ManifestOverrides.setting(
                    words, to: axis.values[rest % axis.values.count], in: trial, path: "")
                rest /= axis.values.count
            }
            do {
                let one = try resolve(trial)
                findings.add(one.warnings)
                resolved.append(one)
            } catch let error as InvalidFile {
                findings.add(error.findings)
            }
        }
        guard var first = resolved.first, !findings.all.hasErrors else { throw InvalidFile(findings.all) }
        let keys = reader.axes.map(\.key)
        let stages = try trialStages(first, matrix)
        let combinations = Set(
            resolved.map { one in keys.map { ManifestSchema.value(of: $0, in: one.manifest)?.text() ?? "" } })
        if combinations.count < resolved.count {
            findings.add([
                Finding(.invalidValue, at: matrix.mark, pointer: "/matrix", "matrix: two trials are the same")
            ])
        }
        if first.manifest.data.validation == .fraction(0) {
            findings.add([
                Finding(
                    .conflict, at: matrix.mark, pointer: "/matrix",
                    "matrix: trials are ranked by \(reader.metric.rawValue) on the validation split, and there is none",
                    hint: "write data: {validation: 5%}")
            ])
        }
        reader.checkMetric(first.manifest)
        findings.add(reader.findings)
        guard !findings.all.hasErrors else { throw InvalidFile(findings.all) }
        first.warnings = findings.all
        first.sweep = ManifestSweep(
            keys: keys, trials: resolved.map { .init(manifest: $0.manifest, origins: $0.origins) },
            trainsWinner: reader.trainsWinner, metric: reader.metric, stages: stages.names,
            scoring: reader.metric == .loss ? nil : scoring(stages.training, among: stages.names))
        return first
    }

    /// A stage that judges what a training made, under a name that no other stage of a trial has.
    private func scoring(_ training: String, among names: Set<String>) -> PipelineDefinition.Stage {
        var name = ManifestSweep.scoringKind
        while names.contains(name) { name += "-trial" }
        return PipelineDefinition.Stage(name: name, uses: ManifestSweep.scoringKind, needs: [training])
    }

    /// The pipeline's one training, and it with what it needs.
    private func trialStages(
        _ resolved: ResolvedManifest, _ matrix: SourceNode
    ) throws -> (training: String, names: Set<String>) {
        let stages = resolved.pipeline.stages
        let trainings = stages.filter { $0.uses == "train" }
        guard let training = trainings.first, trainings.count == 1 else {
            throw InvalidFile([
                Finding(
                    .conflict, at: matrix.mark, pointer: "/matrix",
                    "matrix: a sweep compares trainings, and the pipeline \(resolved.pipeline.name) has "
                        + "\(trainings.count) stages that train")
            ])
        }
        var wanted: Set<String> = [training.name]
        for stage in resolved.pipeline.topologicalOrder.reversed() where wanted.contains(stage.name) {
            wanted.formUnion(stage.needs)
        }
        return (training.name, wanted)
    }
}

/// Findings of many trials, each told once.
private struct Findings {
    private(set) var all: [Finding] = []
    private var seen: Set<String> = []

    init(_ findings: [Finding]) { add(findings) }

    mutating func add(_ findings: [Finding]) {
        for finding in findings {
            let key = "\(finding.code.rawValue) \(finding.line ?? 0):\(finding.column ?? 0) \(finding.message)"
            if seen.insert(key).inserted { all.append(finding) }
        }
    }
}
