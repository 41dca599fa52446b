import Foundation
import Orchestration
import PipelineSpec

/// What `show` prints of a job.
struct JobReport {
    private let detail: JobDetail
    private let workspace: Workspace
    private let origins: [String: String]

    init(_ detail: JobDetail, _ workspace: Workspace) throws {
        self.detail = detail
        self.workspace = workspace
        origins = try ProtocolJSON.decode([String: String].self, from: detail.origins)
    }

    /// Every value in force, in the order of the documentation.
    private var values: [(key: String, value: JSON, origin: String)] {
        ManifestSchema.fields.compactMap { field in
            guard let value = ManifestSchema.value(of: field.path, in: detail.manifest) else { return nil }
            // Of two keys that exclude each other one has no value.
            if value == .null, origins[field.path] == nil { return nil }
            return (field.path, value, origins[field.path] ?? Origin.default.rawValue)
        }
    }

    // MARK: For programs

    var json: [String: JSON] {
        [
            "job": .object(StatusReport.json(detail.status)),
            "manifest_digest": .string(detail.manifestDigest),
            "values": .array(
                values.map {
                    .object(["key": .string($0.key), "value": $0.value, "origin": .string($0.origin)])
                }),
            "after": .object(detail.after.mapValues { .string($0) }),
            "stages": .array(detail.stages.map(json)),
            "events": .array(
                detail.events.map { event in
                    .object([
                        "time": .string(Moments.json(event.at)), "kind": .string(event.kind),
                        "stage": .optional(event.stage), "attempt": .optional(event.attempt),
                        "data": .object(event.data.mapValues { .string($0) }),
                    ])
                }),
        ]
    }

    private func json(_ stage: JobDetail.Stage) -> JSON {
        .object([
            "name": .string(stage.name), "kind": .string(stage.kind), "state": .string(stage.state.rawValue),
            "needs": .array(stage.needs.map { .string($0) }), "why": .optional(stage.why),
            "cache_key": .optional(stage.cacheKey), "output_digest": .optional(stage.outputDigest),
            "output": .optional(stage.outputPath.map { workspace.relativePath(URL(filePath: $0)) }),
            "attempts": .array(stage.attempts.map(json)),
        ])
    }

    private func json(_ attempt: JobDetail.Attempt) -> JSON {
        .object([
            "id": .string(attempt.id), "number": .integer(attempt.number), "state": .string(attempt.state.rawValue),
            "directory": .string(workspace.relativePath(attempt.directory.url)),
            "exit_code": .optional(attempt.exitCode.map { Int($0) }),
            "signal": .optional(attempt.signal.map { Int($0) }),
            "failure": attempt.failure.map {
                .object(["code": .string($0.code), "message": .string($0.message)])
            } ?? .null,
            "failure_class": .optional(attempt.failureClass?.rawValue),
            "metrics": .object(attempt.metrics.mapValues { .number($0) }),
            "resumed_from": .optional(attempt.resumedFrom),
            "peak_rss_bytes": .optional(attempt.peakRSSBytes.map { Int($0) }),
            "cpu_seconds": .optional(attempt.cpuSeconds), "started": .optional(attempt.startedAt),
            "ended": .optional(attempt.endedAt),
        ])
    }

    // MARK: For people

    func text(_ terminal: Terminal) -> String {
        [facts(terminal), settings(terminal), stages(terminal), attempts(terminal), metrics(terminal)]
            .filter { !$0.isEmpty }.joined(separator: "\n")
    }

    private func facts(_ terminal: Terminal) -> String {
        let job = detail.status
        var lines = [
            ("job", job.id), ("name", job.name),
            ("state", terminal.paint(job.state.rawValue, StatusReport.color(job.state))),
        ]
        func add(_ title: String, _ text: String?) {
            if let text { lines.append((title, PrintableText.line(text, limit: 400))) }
        }
        add("reason", job.reason)
        add("adapter", job.adapter)
        add("gate", job.gate)
        add("stage", job.stage)
        if job.state == .running { add("progress", Amounts.percent(job.progress)) }
        add("tenant", job.tenant == "default" ? nil : job.tenant)
        add("submitted", Moments.local(job.createdAt))
        add("started", job.startedAt.map(Moments.local))
        add("ended", job.finishedAt.map(Moments.local))
        add("elapsed", job.elapsed.map(Durations.text))
        add("retry of", job.retryOf)
        if !detail.after.isEmpty {
            add(
                "after", detail.after.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value)" }.joined(separator: ", ")
            )
        }
        add("manifest", detail.manifestDigest)
        return lines.map { DisplayWidth.pad($0.0, to: 10) + "  " + $0.1 + "\n" }.joined()
    }

    private func settings(_ terminal: Terminal) -> String {
        var table = Table("KEY ~VALUE ORIGIN")
        for entry in values {
            let color: Terminal.Color? = entry.origin == Origin.default.rawValue ? .dim : nil
            table.add([Table.Cell(entry.key), Table.Cell(entry.value.plainText), Table.Cell(entry.origin, color)])
        }
        return table.text(terminal)
    }

    private func stages(_ terminal: Terminal) -> String {
        var table = Table("STAGE KIND STATE >ATTEMPTS ~WHY")
        for stage in detail.stages {
            table.add([
                Table.Cell(stage.name), Table.Cell(stage.kind), Table.Cell(stage.state.rawValue, color(stage.state)),
                Table.Cell("\(stage.attempts.count)"), Table.Cell(stage.why ?? ""),
            ])
        }
        return table.text(terminal)
    }

    private func attempts(_ terminal: Terminal) -> String {
        var table = Table("ATTEMPT STATE STARTED >TOOK >CPU >MEMORY EXIT CLASS ~FAILURE")
        for stage in detail.stages {
            for attempt in stage.attempts {
                let exit = attempt.signal.map { "signal \($0)" } ?? attempt.exitCode.map { "\($0)" }
                table.add([
                    Table.Cell("\(stage.name).\(attempt.number)"),
                    Table.Cell(attempt.state.rawValue, attempt.failure == nil ? nil : .red),
                    Table.Cell(Moments.local(attempt.startedAt)),
                    Table.Cell(attempt.endedAt.map { Durations.text($0.timeIntervalSince(attempt.startedAt)) } ?? ""),
                    Table.Cell(attempt.cpuSeconds.map(Durations.text) ?? ""),
                    Table.Cell(attempt.peakRSSBytes.map(Amounts.bytes) ?? ""), Table.Cell(exit ?? ""),
                    Table.Cell(attempt.failureClass?.rawValue ?? ""),
                    Table.Cell(attempt.failure.map { "\($0.code): \($0.message)" } ?? ""),
                ])
            }
        }
        return table.rows.isEmpty ? "" : table.text(terminal)
    }

    private func metrics(_ terminal: Terminal) -> String {
        var table = Table("STAGE METRIC >VALUE")
        for stage in detail.stages {
            for (name, value) in (stage.attempts.last?.metrics ?? [:]).sorted(by: { $0.key < $1.key }) {
                table.add([Table.Cell(stage.name), Table.Cell(name), Table.Cell(Amounts.number(value))])
            }
        }
        return table.rows.isEmpty ? "" : table.text(terminal)
    }

    private func color(_ state: StageState) -> Terminal.Color? {
        switch state {
        case .running: .cyan
        case .succeeded, .cached: .green
        case .failed: .red
        case .retryWait: .yellow
        case .cancelled, .skipped: .dim
        case .blocked, .ready: nil
        }
    }
}
