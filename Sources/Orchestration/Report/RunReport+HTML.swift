import Foundation
import PipelineSpec

extension RunReport {
    /// The report as a page that needs nothing but itself: no script, no picture, nothing from a network.
    package var html: String {
        """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
        <title>\(text(job.name)) \(text(job.id))</title>
        <style>\(Self.style)</style>
        </head>
        <body>
        <h1>\(text(job.name)) <span class="state \(text(job.state.rawValue))">\(text(job.state.rawValue))</span></h1>
        \(facts)
        \(section("Results", results))
        \(section("What was taken for what", confusionTables))
        \(section("Samples", sampleTable))
        \(section("Loss", lossChart))
        \(section("Learning rate", learningRateChart))
        \(section("Lengths", lengthChart))
        \(section("Data health", healthTable))
        \(section("Stages", stageTable))
        \(section("Attempts", attemptTable))
        \(section("Values", valueTable))
        \(section("Lineage", lineageTable))
        \(examples.isEmpty ? "" : section("Examples", exampleList))
        </body>
        </html>

        """
    }

    func text(_ text: String) -> String { LineChart.escaped(PrintableText.line(text, limit: 2000)) }

    private func section(_ title: String, _ body: String) -> String {
        body.isEmpty ? "" : "<section><h2>\(text(title))</h2>\n\(body)</section>"
    }

    func table(_ header: [String], _ rows: [[String]], numbers: Set<Int> = []) -> String {
        guard !rows.isEmpty else { return "" }
        func cells(_ tag: String, _ row: [String]) -> String {
            row.enumerated().map {
                "<\(tag)\(numbers.contains($0.offset) ? " class=\"number\"" : "")>\(text($0.element))</\(tag)>"
            }.joined()
        }
        return "<table><thead><tr>\(cells("th", header))</tr></thead><tbody>\n"
            + rows.map { "<tr>\(cells("td", $0))</tr>\n" }.joined() + "</tbody></table>"
    }

    // MARK: Parts

    private var facts: String {
        var rows = [("job", job.id)]
        func add(_ title: String, _ value: String?) { if let value { rows.append((title, value)) } }
        add("reason", job.reason)
        add("adapter", job.adapter)
        add("submitted", Moment.local(job.createdAt))
        add("started", job.startedAt.map(Moment.local))
        add("ended", job.finishedAt.map(Moment.local))
        add("took", job.elapsed.map { "\(LineChart.number($0)) s" })
        add("base", manifest.base.path)
        add("manifest", manifestDigest)
        return "<dl>" + rows.map { "<dt>\(text($0.0))</dt><dd>\(text($0.1))</dd>" }.joined() + "</dl>"
    }

    private var results: String {
        table(
            ["metric"] + models,
            metrics.map { metric in
                [metric.name] + models.map { metric.values[$0].map { String(format: "%.5g", $0) } ?? "" }
            }, numbers: Set(1...max(models.count, 1)))
    }

    private var sampleTable: String {
        let roles = Self.order.filter { role in samples.contains { $0.answers[role] != nil } }
        return table(
            ["test example", "should be"] + roles,
            samples.map { sample in
                [String(sample.prompt.suffix(400)), sample.reference] + roles.map { sample.answers[$0] ?? "" }
            })
    }

    private var lossChart: String {
        guard !(loss + validation).isEmpty else { return "" }
        return LineChart(
            title: "Loss in nats per token", xLabel: "step",
            curves: [
                .init(name: "training", points: loss, style: "first"),
                .init(name: "validation", points: validation, style: "second", hasDots: true),
            ]
        ).svg
    }

    private var learningRateChart: String {
        guard !learningRate.isEmpty else { return "" }
        return LineChart(
            title: "Learning rate", xLabel: "step",
            curves: [.init(name: "learning rate", points: learningRate, style: "first")]
        ).svg
    }

    private var lengthChart: String {
        guard !lengths.isEmpty else { return "" }
        return LineChart.bars(
            title: "Sequences by length in tokens", lengths.map { ("≤ \($0.upTo)", Double($0.count)) })
    }

    private var healthTable: String {
        let note =
            passagesComparedOneIn > 1
            ? "<p class=\"none\">One passage in \(passagesComparedOneIn) was compared.</p>" : ""
        let rows = table(["of the data", "figure", "limit", "", "the first"], healthRows, numbers: [1, 2])
        return rows.isEmpty ? "" : rows + note
    }

    private var stageTable: String {
        table(["stage", "state", "why"], stages.map { [$0.name, $0.state, $0.why ?? ""] })
    }

    private var attemptTable: String {
        table(
            ["attempt", "state", "seconds", "CPU seconds", "memory in MiB", "failure"],
            attempts.map { attempt in
                [
                    "\(attempt.stage).\(attempt.number)", attempt.state,
                    attempt.seconds.map { String(format: "%.1f", $0) } ?? "",
                    attempt.cpuSeconds.map { String(format: "%.1f", $0) } ?? "",
                    attempt.peakBytes.map { "\($0 >> 20)" } ?? "",
                    attempt.failure.map { "\($0.code): \($0.message)" } ?? "",
                ]
            }, numbers: [2, 3, 4])
    }

    private var valueTable: String {
        table(["key", "value", "from"], values.map { [$0.key, $0.value.text(), $0.origin] })
    }

    private var lineageTable: String {
        guard case .object(let members) = lineage else {
            let digests = stages.compactMap { stage in stage.outputDigest.map { ["output of \(stage.name)", $0] } }
            return table(["what", "digest"], digests)
        }
        var rows: [[String]] = []
        for (key, value) in members.sorted(by: { $0.key < $1.key }) where key != "manifest" {
            rows += Self.lines(key, value)
        }
        return table(["what", "value"], rows)
    }

    /// A value of the lineage, in lines; a pinned file is its path, length and digest.
    private static func lines(_ key: String, _ value: JSONValue) -> [[String]] {
        switch value {
        case .array(let elements):
            return elements.flatMap { lines(key, $0) }
        case .object(let members):
            if case .string(let path)? = members["path"], case .string(let digest)? = members["digest"],
                let length = members["length"]
            {
                return [[key, "\(path), \(length.text()) bytes, \(digest)"]]
            }
            return members.sorted { $0.key < $1.key }.flatMap { lines("\(key).\($0.key)", $0.value) }
        case .string(let text): return [[key, text]]
        case .null: return []
        default: return [[key, value.text()]]
        }
    }

    private var exampleList: String {
        examples.map { example in
            guard case .array(let pieces)? = example["pieces"] else { return "" }
            let body = pieces.map { piece -> String in
                guard case .string(let content)? = piece["text"] else { return "" }
                let escaped = content.prefix(8000).split(separator: "\n", omittingEmptySubsequences: false)
                    .map { LineChart.escaped(PrintableText.line(String($0), limit: 4000)) }.joined(separator: "\n")
                return piece["trained"] == true ? "<mark>\(escaped)</mark>" : escaped
            }.joined()
            return "<pre>\(body)</pre>"
        }.joined(separator: "\n") + "<p class=\"none\">What is learned is marked.</p>"
    }

    private static let style = """
        :root { color-scheme: light dark; }
        body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
        h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
        dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; } dt { opacity: .65; } dd { margin: 0; overflow-wrap: anywhere; }
        table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .25rem .75rem .25rem 0; vertical-align: top; border-bottom: 1px solid #8884; overflow-wrap: anywhere; }
        .number { text-align: right; font-variant-numeric: tabular-nums; }
        .state { font-size: .9rem; padding: .1rem .6rem; border-radius: 1rem; background: #8883; vertical-align: middle; }
        .state.succeeded { background: #2a93; } .state.failed { background: #d333; }
        svg { width: 100%; height: auto; } .grid { stroke: #8884; } .tick { font-size: 11px; fill: currentColor; opacity: .7; }
        polyline { fill: none; stroke-width: 1.6; } polyline.first { stroke: #3578c4; } polyline.second { stroke: #d9822b; }
        circle.first { fill: #3578c4; } circle.second { fill: #d9822b; } .bar { fill: #3578c4; }
        .key.first { color: #3578c4; } .key.second { color: #d9822b; } .none { opacity: .65; }
        h3 { font-size: 1rem; margin: 1rem 0 .25rem; } section { overflow-x: auto; }
        .confusion td.right { background: color-mix(in srgb, #2a9 var(--share), transparent); }
        .confusion td.wrong { background: color-mix(in srgb, #d33 var(--share), transparent); }
        pre { white-space: pre-wrap; padding: .75rem; background: #8881; } mark { background: #d9822b44; color: inherit; }
        """
}
