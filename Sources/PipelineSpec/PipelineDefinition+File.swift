package import Foundation

extension PipelineDefinition {
    /// Reads and checks the bytes of a pipeline file.
    ///
    /// - Parameters:
    ///   - name: what the file is called without its ending; the file must give the same name.
    ///   - kinds: the stages there are, by kind.
    /// - Throws: ``InvalidFile`` with every finding.
    package init(_ data: Data, name: String, kinds: [String: StageDescriptor]) throws {
        var parser = PipelineParser(name: name, kinds: kinds)
        parser.parse(try DocumentReader().read(data))
        if !parser.findings.isEmpty { throw InvalidFile(parser.findings) }
        self.init(name: name, stages: parser.stages)
    }

    /// Reads `Pipelines/<name>.yaml`; `nil` when there is no such file.
    ///
    /// - Throws: ``InvalidFile`` with every finding.
    package static func load(
        _ name: String, in workspace: Workspace, kinds: [String: StageDescriptor]
    ) throws -> PipelineDefinition? {
        guard ValueConstraint.isName(name),
            let data = FileManager.default.contents(atPath: workspace.pipeline(name).path(percentEncoded: false))
        else { return nil }
        return try PipelineDefinition(data, name: name, kinds: kinds)
    }
}

/// Reads the keys of a pipeline file.
private struct PipelineParser {
    let name: String
    let kinds: [String: StageDescriptor]
    private(set) var stages: [PipelineDefinition.Stage] = []
    private var values = ValueParser()
    /// Where each stage's name, kind and needs stand.
    private var nameMarks: [String: SourceNode.Entry] = [:]
    private var useNodes: [String: SourceNode] = [:]
    private var needNodes: [String: [SourceNode]] = [:]

    private static let maxStages = 100
    private static let stageKeys = ["uses", "needs", "when", "retries", "timeout"]

    init(name: String, kinds: [String: StageDescriptor]) {
        self.name = name
        self.kinds = kinds
    }

    var findings: [Finding] { values.findings }

    mutating func parse(_ root: SourceNode) {
        guard let entries = root.entries else {
            note(.wrongType, root.mark, root.pointer, "a pipeline is a mapping with the key stages")
            return
        }
        for entry in entries {
            switch entry.key {
            case "version": _ = values.parse(entry.value, .integer(1...1), key: "version")
            case "name":
                guard let value = values.parse(entry.value, .name, key: "name") else { continue }
                if value != .string(name) {
                    note(
                        .invalidValue, entry.value.mark, entry.value.pointer,
                        "name: expected \(PrintableText.line(name, limit: 60)), as the file is called",
                        hint: "make both the same")
                }
            case "stages": parseStages(entry.value)
            default:
                let near = KeySuggestion.nearest(entry.key, among: ["version", "name", "stages"])
                note(
                    .unknownKey, entry.keyMark, entry.value.pointer,
                    "\(PrintableText.line(entry.key, limit: 60)): unknown key", hint: near.map { "did you mean \($0)?" }
                )
            }
        }
        for key in ["name", "stages"] where root[key] == nil {
            note(.missingKey, root.mark, "/\(key)", "\(key) is missing")
        }
        checkGraph()
    }

    private mutating func parseStages(_ node: SourceNode) {
        guard let entries = node.entries, !entries.isEmpty else {
            note(.wrongType, node.mark, node.pointer, "stages: expected a mapping of stages, got \(node.description)")
            return
        }
        guard entries.count <= Self.maxStages else {
            note(.tooManyNodes, node.mark, node.pointer, "stages: at most \(Self.maxStages) are accepted")
            return
        }
        for entry in entries {
            guard entry.key.wholeMatch(of: #/[A-Za-z0-9][A-Za-z0-9_-]{0,63}/#) != nil else {
                note(
                    .invalidValue, entry.keyMark, entry.value.pointer,
                    "stages: expected a name of letters, digits, _ and -, got \(PrintableText.quoted(entry.key))")
                continue
            }
            nameMarks[entry.key] = entry
            parseStage(entry)
        }
    }

    private mutating func parseStage(_ entry: SourceNode.Entry) {
        let path = "stages.\(entry.key)"
        guard let keys = entry.value.entries else {
            note(
                .wrongType, entry.value.mark, entry.value.pointer,
                "\(path): expected a mapping, got \(entry.value.description)", hint: "write {uses: KIND}")
            return
        }
        var stage = PipelineDefinition.Stage(name: entry.key, uses: "")
        for inner in keys {
            let key = "\(path).\(inner.key)"
            let node = inner.value
            switch inner.key {
            case "uses": stage.uses = kind(node, key) ?? ""
            case "needs":
                let elements = node.isNull ? [] : node.elements ?? [node]
                needNodes[entry.key] = elements
                for element in elements {
                    if case .string(let need)? = values.parse(element, .string(maximum: 64), key: key) {
                        stage.needs.append(need)
                    }
                }
            case "when": stage.when = condition(node, key)
            case "retries":
                if case .integer(let count)? = values.parse(node, .integer(0...100), key: key) { stage.retries = count }
            case "timeout":
                if case .string(let text)? = values.parse(node, .duration(1...31_536_000), key: key) {
                    stage.timeoutSeconds = Quantity.seconds(text)
                }
            default:
                let near = KeySuggestion.nearest(inner.key, among: Self.stageKeys)
                note(
                    .unknownKey, inner.keyMark, node.pointer, "\(PrintableText.line(key, limit: 80)): unknown key",
                    hint: near.map { "did you mean \($0)?" } ?? "known here: \(Self.stageKeys.joined(separator: ", "))")
            }
        }
        if entry.value["uses"] == nil {
            note(
                .missingKey, entry.keyMark, entry.value.pointer + "/uses", "\(path).uses is missing",
                hint: "one of \(kinds.keys.sorted().joined(separator: ", "))")
        }
        stages.append(stage)
    }

    private mutating func kind(_ node: SourceNode, _ key: String) -> String? {
        guard case .string(let text)? = values.parse(node, .string(maximum: 64), key: key) else { return nil }
        if kinds[text] == nil {
            let near = KeySuggestion.nearest(text, among: kinds.keys.sorted())
            note(
                .unknownStage, node.mark, node.pointer, "\(key): there is no kind of stage \(node.description)",
                hint: near.map { "did you mean \($0)?" } ?? "one of \(kinds.keys.sorted().joined(separator: ", "))")
            return nil
        }
        return text
    }

    private mutating func condition(_ node: SourceNode, _ key: String) -> String? {
        guard case .string(let text)? = values.parse(node, .string(maximum: 200), key: key) else { return nil }
        guard text.hasPrefix("job.") else {
            note(
                .invalidValue, node.mark, node.pointer,
                "\(key): expected job. and a manifest key, got \(node.description)",
                hint: "write when: job.merge")
            return nil
        }
        let path = String(text.dropFirst(4))
        guard ManifestSchema.isKnown(path) else {
            let words = path.split(separator: ".").map(String.init)
            let hint = KeySuggestion.hint(for: words.last ?? "", in: words.dropLast().joined(separator: "."))
            note(
                .unknownKey, node.mark, node.pointer, "\(key): the manifest has no key \(PrintableText.quoted(path))",
                hint: hint)
            return nil
        }
        return path
    }

    private mutating func checkGraph() {
        let names = Set(nameMarks.keys)
        for stage in stages {
            for (need, node) in zip(stage.needs, needNodes[stage.name] ?? []) where !names.contains(need) {
                let near = KeySuggestion.nearest(need, among: names.sorted())
                note(
                    .unknownStage, node.mark, node.pointer,
                    "stages.\(stage.name).needs: there is no stage \(node.description)",
                    hint: near.map { "did you mean \($0)?" } ?? "one of \(names.sorted().joined(separator: ", "))")
            }
        }
        guard findings.isEmpty else { return }
        let pipeline = PipelineDefinition(name: name, stages: stages)
        let ordered = Set(pipeline.topologicalOrder.map(\.name))
        for stage in stages where !ordered.contains(stage.name) {
            guard let loop = cycle(through: stage.name, among: ordered), let entry = nameMarks[stage.name] else {
                continue
            }
            note(
                .cycle, entry.keyMark, entry.value.pointer,
                "stages.\(stage.name) needs itself: \(loop.joined(separator: " -> "))",
                hint: "break the circle of needs")
            return
        }
        for stage in stages {
            let present = Set(pipeline.transitiveNeeds(of: stage.name).map(\.uses))
            for kind in kinds[stage.uses]?.requires ?? [] where !present.contains(kind) {
                guard let entry = nameMarks[stage.name] else { continue }
                note(
                    .missingRequirement, entry.keyMark, entry.value.pointer,
                    "stages.\(stage.name): a \(stage.uses) stage needs a \(kind) stage before it",
                    hint: "add a stage with uses: \(kind) to its needs")
            }
        }
    }

    /// The stages from `name` back to itself.
    private func cycle(through name: String, among ordered: Set<String>) -> [String]? {
        var path = [name]
        var seen: Set<String> = []
        func visit(_ current: String) -> Bool {
            for need in stages.first(where: { $0.name == current })?.needs ?? [] where !ordered.contains(need) {
                if need == name {
                    path.append(need)
                    return true
                }
                guard seen.insert(need).inserted else { continue }
                path.append(need)
                if visit(need) { return true }
                path.removeLast()
            }
            return false
        }
        return visit(name) ? path : nil
    }

    private mutating func note(
        _ code: Finding.Code, _ mark: SourceMark, _ pointer: String, _ message: String, hint: String? = nil
    ) {
        values.findings.append(Finding(code, at: mark, pointer: pointer, message, hint: hint))
    }
}
