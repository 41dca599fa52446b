import Foundation

/// What can be known of a gate before the job runs: whether it looks at what is measured, and whether there will be enough.
struct GateCheck {
    private(set) var findings: [Finding] = []

    /// - Parameter node: The gate as it is written, `nil` where it is the workspace's.
    init(manifest: JobManifest, pipeline: PipelineDefinition?, node: SourceNode?, roots: PathRoots) {
        guard let gate = manifest.gate else { return }
        func note(
            _ message: String, _ member: String? = nil, at inner: String? = nil, hint: String? = nil,
            _ severity: Finding.Severity = .error, _ code: Finding.Code = .badGate
        ) {
            let value = member.flatMap { node?[$0] }
            let entry = inner.flatMap { key in value?.entries?.first { $0.key == key } }
            let place = entry?.value ?? value ?? node
            findings.append(
                Finding(
                    code, severity: severity, at: entry?.keyMark ?? place?.mark, pointer: place?.pointer ?? "/gate",
                    message, hint: hint))
        }
        if !gate.metric.isPossible(for: manifest.task, manifest.data.format) {
            note(
                "gate.metric: \(gate.metric.rawValue) cannot be measured of task: \(manifest.task.rawValue) with "
                    + "data.format: \(manifest.data.format.rawValue)", "metric")
        } else if !manifest.evaluate.metrics.contains(gate.metric), !JobManifest.Metric.always.contains(gate.metric) {
            note(
                "gate.metric: \(gate.metric.rawValue) is not measured on the test split", "metric",
                hint: "add it to evaluate.metrics")
        }
        for rule in (node?["max_regression"]?.entries ?? []).map(\.key) {
            let suites = manifest.evaluate.suites.keys.sorted()
            if rule == "retention", manifest.evaluate.retention.isEmpty {
                note(
                    "gate.max_regression.retention: evaluate.retention names no text", "max_regression", at: rule,
                    hint: "name files of general text there, or under defaults: in lorajobs.yaml")
            } else if rule == "suite.*", suites.isEmpty {
                note("gate.max_regression.suite.*: evaluate.suites has none", "max_regression", at: rule)
            } else if rule.hasPrefix("suite."), rule != "suite.*", !suites.contains(String(rule.dropFirst(6))) {
                let near = KeySuggestion.nearest(String(rule.dropFirst(6)), among: suites)
                note(
                    "gate.max_regression.\(rule): there is no such suite", "max_regression", at: rule,
                    hint: near.map { "did you mean suite.\($0)?" }
                        ?? (suites.isEmpty ? "evaluate.suites has none" : "there are \(suites.joined(separator: ", "))")
                )
            }
        }
        if let pipeline, !pipeline.stages.contains(where: { $0.uses == "package" }) {
            note("gate: the pipeline \(pipeline.name) publishes no version that could be promoted")
        }
        if manifest.data.test == .fraction(0) {
            note("gate: data.test is 0%, so there is nothing to judge by")
        } else if let most = Self.mostTestExamples(manifest, atLeast: gate.minExamples, roots), most < gate.minExamples
        {
            note(
                "gate.min_examples: the test split has \(most) examples at most, and \(gate.minExamples) are wanted",
                "min_examples", hint: "give data.test more, or lower gate.min_examples")
        }
        if manifest.evaluate.retention.isEmpty {
            note(
                "gate: evaluate.retention names no general text, so nobody sees what the base could do get lost",
                hint: "name some under defaults: in lorajobs.yaml, for all jobs", .warning, .noRetention)
        }
    }

    /// At most so many examples can be in the test split; `nil` when that cannot be said without tokenising, or there are
    /// surely enough.
    private static func mostTestExamples(_ manifest: JobManifest, atLeast wanted: Int, _ roots: PathRoots) -> Int? {
        guard let files = try? DataFiles(of: manifest, roots: roots) else { return nil }
        switch manifest.data.test {
        case .files: return RecordBound(manifest.data, files.test, enough: wanted).count
        case .fraction(let share):
            // A record's place is drawn; four standard deviations are never exceeded in practice.
            func most(_ records: Int) -> Int {
                let mean = Double(records) * share
                return Int((mean + 4 * (mean * (1 - share)).squareRoot() + 1).rounded(.up))
            }
            // As many records as are surely enough.
            var enough = wanted
            while most(enough) < wanted + 1 { enough *= 2 }
            return RecordBound(manifest.data, files.train, enough: enough).count.map(most)
        }
    }
}

/// The most examples that files can hold, by their lines, as far as that is known without reading records.
struct RecordBound {
    /// `nil` where lines say nothing, as with running text and packed files, or where there are enough.
    let count: Int?

    init(_ data: JobManifest.Data, _ files: [String], enough: Int) {
        var total = 0
        for file in files {
            guard data.format != .text, let lines = Self.lines(file, data, upTo: enough - total) else {
                count = nil
                return
            }
            total += lines
            guard total < enough else {
                count = nil
                return
            }
        }
        count = total
    }

    private static func lines(_ file: String, _ data: JobManifest.Data, upTo limit: Int) -> Int? {
        let endings = [".jsonl", ".ndjson", ".csv", ".tsv"]
        guard endings.contains(where: file.lowercased().hasSuffix), let handle = FileHandle(forReadingAtPath: file)
        else { return nil }
        defer { try? handle.close() }
        var (lines, isBlank, isFirst) = (0, true, true)
        while let part = try? handle.read(upToCount: 1 << 20), !part.isEmpty {
            // A gzip file, whatever its name.
            if isFirst, part.starts(with: [0x1F, 0x8B]) || mayBeText(part, data) { return nil }
            isFirst = false
            for byte in part {
                if byte == UInt8(ascii: "\n") {
                    if !isBlank { lines += 1 }
                    isBlank = true
                } else if byte != UInt8(ascii: " "), byte != UInt8(ascii: "\r"), byte != UInt8(ascii: "\t") {
                    isBlank = false
                }
            }
            if lines >= limit { return lines }
        }
        return lines + (isBlank ? 0 : 1)
    }

    /// Whether the first line may be running text, of which a record becomes any number of examples.
    private static func mayBeText(_ part: Data, _ data: JobManifest.Data) -> Bool {
        guard data.format == .auto else { return false }
        let line = String(decoding: part.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        let hasLabel = ["label", "category", "intent", "class"].contains { line.contains($0) }
        return !hasLabel && (line.contains("text") || data.columns["text"] != nil)
    }
}
