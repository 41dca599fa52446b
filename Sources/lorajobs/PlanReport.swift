import Foundation
import Orchestration
import PipelineSpec
import Stages

/// What `plan` prints.
struct PlanReport {
    /// All trials, where the manifest has a matrix: the rest is that of the first.
    var sweep: ManifestSweep?
    let manifest: JobManifest
    let preview: JobPreview
    let forecast: TrainingForecast
    /// How long the stages of equal jobs took; without a run, nobody knows.
    var history = RunHistory()

    // MARK: For people

    func text(_ terminal: Terminal) -> String {
        [
            stages(terminal), data(terminal), examples(terminal), lengths(terminal), training(terminal),
        ].joined(separator: "\n")
    }

    private func stages(_ terminal: Terminal) -> String {
        var table = Table("STAGE WOULD ~WHY")
        for stage in preview.stages {
            let color: Terminal.Color? =
                switch stage.verdict {
                case .runs: .cyan
                case .cached: .green
                case .skipped: .dim
                }
            table.add([
                Table.Cell(stage.name), Table.Cell(Self.verb(stage.verdict), color), Table.Cell(stage.why),
            ])
        }
        return table.text(terminal)
    }

    private static func verb(_ verdict: JobPreview.Stage.Verdict) -> String {
        switch verdict {
        case .runs: "run"
        case .cached: "be cached"
        case .skipped: "be skipped"
        }
    }

    private func data(_ terminal: Terminal) -> String {
        var lines: [String] = []
        for (path, format) in forecast.formats.sorted(by: { $0.key < $1.key }) {
            lines.append("\(PrintableText.line(path, limit: 200)): \(format)")
        }
        let source =
            forecast.isSample
            ? " in a sample of \(Amounts.bytes(forecast.bytesRead)) of \(Amounts.bytes(forecast.bytes)) (--full reads all)"
            : " in \(Amounts.bytes(forecast.bytes))"
        lines.append("\(forecast.records) records\(source)")
        var fates = forecast.leftOut > 0 ? ["\(forecast.leftOut) left out of the sample"] : []
        fates += ["\(forecast.kept) kept", "\(forecast.dropped) dropped", "\(forecast.truncated) truncated"]
        fates += forecast.reasons.sorted { $0.key < $1.key }.filter { $0.key != "truncated" }
            .map { "\($0.key.replacing("_", with: " ")): \($0.value)" }
        lines.append(fates.joined(separator: ", "))
        for name in ["train", "validation", "test"] {
            guard let split = forecast.splits[name] else { continue }
            let repeats = forecast.duplicates[name] ?? 0, shared = forecast.overlap[name] ?? 0
            lines.append(
                "\(name): \(split.sequences) sequences, \(split.tokens) tokens, \(split.targets) learned"
                    + (repeats > 0 ? ", \(repeats) repeated records" : "")
                    + (shared > 0 ? ", \(shared) records that are also trained on" : ""))
        }
        if let shortfall { lines.append(terminal.paint("gate: ", .yellow) + shortfall) }
        lines += forecast.healthLines
        for bad in forecast.badRecords.prefix(10) {
            lines.append(terminal.paint("bad: ", .yellow) + PrintableText.line(bad, limit: 300))
        }
        if forecast.badCount > 10 { lines.append("and \(forecast.badCount - 10) more bad records") }
        return lines.map { $0 + "\n" }.joined()
    }

    /// What the gate will say of the test split, where that is too small: only reading the data tells, so no manifest is
    /// refused for it.
    private var shortfall: String? {
        guard let gate = manifest.gate, let count = forecast.testExamples, count < gate.minExamples else { return nil }
        return
            "the test split has \(forecast.scale(of: "test") > 1 ? "about " : "")\(count) examples, and \(gate.minExamples) are wanted: "
            + "no version would be promoted; give data.test more, or lower gate.min_examples"
    }

    private func examples(_ terminal: Terminal) -> String {
        guard !forecast.examples.isEmpty else { return "" }
        var text =
            terminal.hasColor
            ? "Examples; what is learned is \(terminal.paint("green", .green)):\n"
            : "Examples; what is learned is in [brackets]:\n"
        for (number, example) in forecast.examples.enumerated() {
            text += "\(number + 1). \(example.tokens) tokens\n"
            let body = example.pieces.map { piece in
                let shown = Self.printable(piece.text)
                guard piece.trained else { return shown }
                // Colour is set anew in each line, so that a pager may cut anywhere.
                return terminal.hasColor
                    ? shown.split(separator: "\n", omittingEmptySubsequences: false)
                        .map { terminal.paint(String($0), .green) }.joined(separator: "\n")
                    : "[\(shown)]"
            }.joined()
            text += body.split(separator: "\n", omittingEmptySubsequences: false).map { "   \($0)\n" }.joined()
        }
        return text
    }

    /// Text from anywhere: its lines stay, other control characters are made visible.
    private static func printable(_ text: String) -> String {
        let limit = 4000
        let lines = text.prefix(limit).split(separator: "\n", omittingEmptySubsequences: false)
        return lines.map { PrintableText.line(String($0), limit: limit) }.joined(separator: "\n")
            + (text.count > limit ? "…" : "")
    }

    private func lengths(_ terminal: Terminal) -> String {
        let most = forecast.lengths.bars.map(\.count).max() ?? 0
        guard most > 0 else { return "" }
        var table = Table("TOKENS >EXAMPLES  ")
        for bar in forecast.lengths.bars {
            let width = Int((Double(bar.count) / Double(most) * 40).rounded(.up))
            table.add([
                Table.Cell("to \(bar.upTo)"), Table.Cell("\(bar.count)"),
                Table.Cell(String(repeating: "█", count: width), bar.upTo > forecast.maxLength ? .yellow : .green),
            ])
        }
        return table.text(terminal) + "longest \(forecast.longest) of at most \(forecast.maxLength)\n"
    }

    private func training(_ terminal: Terminal) -> String {
        let about = forecast.isSample ? "about " : ""
        let percent = String(format: "%.1f%%", 100 * forecast.trainedShare)
        let fill = String(format: "%.1f%%", 100 * forecast.microBatchFill)
        let trained = Double(forecast.trainedParameters) / Double(max(forecast.parameters, 1)) * 100
        var lines = [
            "\(about)\(forecast.tokensPerEpoch) tokens an epoch, \(percent) of them learned, no padding; "
                + "\(about)\(forecast.stepsPerEpoch) steps",
            "\(about)\(forecast.steps) steps, \(forecast.trainedTokens) tokens; micro-batches of up to "
                + "\(forecast.microBatchTokens) tokens, \(fill) full on average",
            "\(forecast.trainedParameters) of \(forecast.parameters) parameters trained "
                + "(\(String(format: "%.2f%%", trained)))",
        ]
        if let memory = forecast.memory {
            func mega(_ bytes: Int64) -> String { Amounts.bytes(bytes) }
            lines.append(
                "memory: about \(mega(forecast.peakBytes)) at most (weights \(mega(memory.weights)), adapter and optimizer "
                    + "\(mega(memory.trained)), activations \(mega(memory.activations)), the rest "
                    + "\(mega(memory.transient + memory.process)))"
                    + (memory.recomputesLayers ? ", computing each layer again in the backward pass" : ""))
        }
        // What evaluation will take nobody has counted.
        var extent = "in all"
        if case .operations = expectation.source { extent = "of training" }
        lines.append("time: about \(Durations.text(expectation.seconds)) \(extent), \(expectation.source)")
        if let speed = forecast.speed {
            let known =
                speed.runs.map { "as in \($0) earlier training\($0 == 1 ? "" : "s")" }
                ?? "large products timed just now"
            lines.append(
                "training about \(Durations.text(forecast.seconds)) from counted operations, "
                    + "\(Amounts.number(speed.tokensPerSecond)) tokens/s on \(manifest.run.threads) threads "
                    + "(\(Amounts.number(speed.gigaflops)) GFLOP/s, \(known))")
        }
        if let budget = budget(now: Date()) { lines.append(budget) }
        if let sweep {
            let total = forecast.trialSeconds.reduce(0, +)
            lines.append(
                "sweep: \(sweep.trials.count) jobs of \(sweep.keys.joined(separator: ", ")), about "
                    + "\(Durations.text(total)) of training in all, ranked by \(sweep.metric.rawValue)"
                    + (sweep.trainsWinner ? ", and then one with the winner's values on all data" : ""))
        }
        return lines.map { $0 + "\n" }.joined()
    }

    /// Of the stages that would run, what earlier runs took; where there are none, the training as it was counted.
    private var expectation: Expectation {
        let names = preview.stages.filter { $0.verdict == .runs }.map(\.name)
        guard history.runs > 0 || names.isEmpty else {
            return Expectation(
                seconds: forecast.seconds, source: .operations(gigaflops: forecast.speed?.gigaflops ?? 0))
        }
        return Expectation(
            seconds: names.reduce(0) { $0 + (history.mean[$1] ?? 0) }, source: .history(runs: history.runs))
    }

    /// What the budget means for a job that starts now.
    private func budget(now: Date) -> String? {
        guard let budget = manifest.run.budget else { return nil }
        var words: [String] = []
        if let wall = budget.wallSeconds { words.append("after \(Quantity.duration(wall)) of work") }
        if let end = budget.deadline(startingAt: now) { words.append("by \(Moment.near(end, now: now))") }
        let isShort = [budget.wallSeconds, budget.deadline(startingAt: now)?.timeIntervalSince(now)]
            .compactMap { $0 }.contains { $0 < expectation.seconds }
        return "budget: done \(words.joined(separator: " or ")); "
            + (isShort ? "training would be cut short for that" : "the whole training fits")
    }

    // MARK: For programs

    private func health(_ health: DataHealth) -> JSON {
        .object([
            "duplicates": .number(health.duplicates), "near_duplicates": .number(health.nearDuplicates.share),
            "overlap": .object(health.overlap.mapValues { .number($0) }),
            "personal": .object([
                "mail_addresses": .integer(health.personal.mailAddresses),
                "phone_numbers": .integer(health.personal.phoneNumbers),
                "card_numbers": .integer(health.personal.cardNumbers),
            ]),
            "labels": .object(health.labels.mapValues { .integer($0) }), "mean_length": .number(health.meanLength),
            "passages_compared_one_in": .integer(health.passagesComparedOneIn),
        ])
    }

    func json(_ judgement: Judgement) throws -> [String: JSON] {
        var members = Judgement.json([judgement])
        members["stages"] = .array(
            preview.stages.map {
                .object([
                    "name": .string($0.name), "kind": .string($0.kind), "verdict": .string($0.verdict.rawValue),
                    "why": .string($0.why), "cache_key": .optional($0.cacheKey),
                ])
            })
        let f = forecast
        func counts(_ values: [String: Int]) -> JSON { .object(values.mapValues { .integer($0) }) }
        members["data"] = .object([
            "bytes": .integer(Int(f.bytes)), "bytes_read": .integer(Int(f.bytesRead)), "sample": .bool(f.isSample),
            "formats": .object(f.formats.mapValues { .string($0) }), "records": .integer(f.records),
            "kept": .integer(f.kept), "dropped": .integer(f.dropped), "truncated": .integer(f.truncated),
            "left_out": .integer(f.leftOut), "reasons": counts(f.reasons), "bad_count": .integer(f.badCount),
            "bad_records": .array(f.badRecords.map { .string($0) }),
            "lengths": .array(
                f.lengths.bars.map { .object(["up_to": .integer($0.upTo), "count": .integer($0.count)]) }),
            "longest": .integer(f.longest), "max_length": .integer(f.maxLength),
            "splits": .object(
                f.splits.mapValues {
                    .object([
                        "sequences": .integer($0.sequences), "tokens": .integer($0.tokens),
                        "targets": .integer($0.targets),
                    ])
                }),
            "trained_share": .number(f.trainedShare),
            "duplicates": counts(f.duplicates), "overlap": counts(f.overlap), "health": health(f.health),
        ])
        if let gate = manifest.gate {
            members["gate"] = .object([
                "min_examples": .integer(gate.minExamples), "test_examples": .optional(forecast.testExamples),
                "shortfall": .optional(shortfall),
            ])
        }
        members["examples"] = .array(
            f.examples.map { example in
                .object([
                    "tokens": .integer(example.tokens),
                    "pieces": .array(
                        example.pieces.map { .object(["text": .string($0.text), "trained": .bool($0.trained)]) }),
                ])
            })
        members["training"] = .object([
            "tokens_per_epoch": .integer(f.tokensPerEpoch), "steps": .integer(f.steps),
            "steps_per_epoch": .integer(f.stepsPerEpoch),
            "tokens": .integer(f.trainedTokens), "micro_batch_tokens": .integer(f.microBatchTokens),
            "micro_batch_fill": .number(f.microBatchFill), "parameters": .integer(f.parameters),
            "trained_parameters": .integer(f.trainedParameters), "seconds": .number(f.seconds),
            "tokens_per_second": .optional(f.speed?.tokensPerSecond),
            "gigaflops_per_second": .optional(f.speed?.gigaflops), "speed_runs": .optional(f.speed?.runs),
        ])
        members["time"] = .object([
            "seconds": .number(expectation.seconds), "source": .string(expectation.source.word),
            "text": .string(expectation.source.description),
            "stages": .object(history.mean.mapValues { .number($0) }), "runs": .integer(history.runs),
        ])
        if let sweep {
            members["sweep"] = .object([
                "jobs": .integer(sweep.trials.count), "keys": .array(sweep.keys.map { .string($0) }),
                "seconds": .number(forecast.trialSeconds.reduce(0, +)),
                "trial_seconds": .array(forecast.trialSeconds.map { .number($0) }),
                "metric": .string(sweep.metric.rawValue), "then": sweep.trainsWinner ? "train" : .null,
            ])
        }
        if let memory = f.memory {
            members["memory"] = .object([
                "peak_bytes": .integer(Int(f.peakBytes)), "weights": .integer(Int(memory.weights)),
                "conversion": .integer(Int(memory.conversion)), "trained": .integer(Int(memory.trained)),
                "activations": .integer(Int(memory.activations)), "transient": .integer(Int(memory.transient)),
                "process": .integer(Int(memory.process)), "recomputes_layers": .bool(memory.recomputesLayers),
            ])
        }
        return members
    }
}
