package import Foundation
package import PipelineSpec

/// What a job did, in numbers: `report.json` beside its attempts, and the page ``html`` made of the same numbers.
///
/// It is made from the queue and from the files that stages left; nothing that is missing, or unreadable, is an error: a job that
/// failed has a report of what there is. No record of the data is in it, unless examples are asked for, or samples
/// in the manifest.
package struct RunReport: Sendable {
    /// The files' names, in the job's folder under `Jobs/runs`.
    package static let page = "report.html"
    package static let numbers = "report.json"

    /// A point of a curve.
    struct Point: Sendable, Equatable {
        var x: Double
        var y: Double
    }

    /// An attempt at a stage.
    struct Attempt: Sendable {
        var stage: String
        var number: Int
        var state: String
        var seconds: Double?
        var cpuSeconds: Double?
        var peakBytes: Int64?
        var failure: StageFailure?
    }

    /// What a stage came to.
    struct Stage: Sendable {
        var name: String
        var kind: String
        var state: String
        var why: String?
        var outputDigest: String?
    }

    /// Sequences of a length, in tokens: more than the class before has, and at most `upTo`.
    struct LengthClass: Sendable {
        var upTo: Int
        var count: Int
    }

    /// One row of the comparison of models: a number for each of them.
    struct Metric: Sendable {
        var name: String
        var values: [String: Double]
    }

    let job: JobStatus
    let manifest: JobManifest
    let manifestDigest: String
    let origins: [String: String]
    private(set) var stages: [Stage] = []
    private(set) var attempts: [Attempt] = []
    /// By step: nats per trained token.
    private(set) var loss: [Point] = []
    private(set) var learningRate: [Point] = []
    private(set) var validation: [Point] = []
    private(set) var lengths: [LengthClass] = []
    /// How the data are, as the tokenize stage found.
    private(set) var health: [HealthFigure] = []
    /// Of large data, one passage in so many was compared.
    private(set) var passagesComparedOneIn = 1
    /// The models that were judged, in the order in which they are shown.
    private(set) var models: [String] = []
    private(set) var metrics: [Metric] = []
    /// Which class was taken for which, of the sets on which classes are chosen.
    private(set) var confusions: [Confusion] = []
    private var classes: [String] = []
    /// What the version was made from, as its record says.
    private(set) var lineage: JSONValue = .null
    /// Decoded training examples, where they are asked for.
    private(set) var examples: [JSONValue] = []

    /// Test examples and what models wrote in their place, where the manifest asks for it.
    private(set) var samples: [Sample] = []

    /// A test example, and what models wrote in its place.
    struct Sample: Sendable {
        var prompt: String
        var reference: String
        var answers: [String: String]
    }

    /// Gathers what is known of a job.
    ///
    /// - Parameter includesExamples: whether the report may hold some of the job's data.
    package init(_ detail: JobDetail, includesExamples: Bool = false) {
        job = detail.status
        manifest = detail.manifest
        manifestDigest = detail.manifestDigest
        origins = (try? ProtocolJSON.decode([String: String].self, from: detail.origins)) ?? [:]
        for stage in detail.stages {
            stages.append(
                Stage(
                    name: stage.name, kind: stage.kind, state: stage.state.rawValue, why: stage.why,
                    outputDigest: stage.outputDigest))
            attempts += stage.attempts.map { attempt in
                Attempt(
                    stage: stage.name, number: attempt.number, state: attempt.state.rawValue,
                    seconds: attempt.endedAt.map { $0.timeIntervalSince(attempt.startedAt) },
                    cpuSeconds: attempt.cpuSeconds, peakBytes: attempt.peakRSSBytes, failure: attempt.failure)
            }
            read(stage, includesExamples: includesExamples)
        }
    }

    /// Takes what a stage left in its files.
    private mutating func read(_ stage: JobDetail.Stage, includesExamples: Bool) {
        let output = stage.outputPath.map { URL(filePath: $0, directoryHint: .isDirectory) }
        func file(_ name: String) -> JSONValue? { output.flatMap { Self.read($0, name) } }
        switch stage.kind {
        case "tokenize":
            // Data that are not as they should be end their attempt, after its report is written.
            let last = stage.attempts.last
            guard let report = file("report.json") ?? last.flatMap({ Self.read($0.directory.out, "report.json") })
            else { return }
            health = Self.health(report["health"], metrics: last?.metrics ?? [:], limits: manifest.data.health)
            classes = (report["classes"]?.list ?? []).map { if case .string(let name) = $0 { name } else { "" } }
            passagesComparedOneIn = (report["health"]?["passagesComparedOneIn"]?.double).map { Int($0) } ?? 1
            lengths = (report["lengths"]?["bars"]?.list ?? []).compactMap { bar in
                guard let upTo = bar["upTo"]?.double, let count = bar["count"]?.double else { return nil }
                return LengthClass(upTo: Int(upTo), count: Int(count))
            }
            if includesExamples { examples = Array((report["examples"]?.list ?? []).prefix(8)) }
        case "train":
            readProgress(stage)
            guard let report = file("training.json") else { return }
            validation = Self.points(report["validations"])
            // Progress is told a few times a minute; what the training itself kept is finer, but of its last process alone.
            let curve = Self.points(report["curve"])
            if let first = curve.first, curve.count > loss.count(where: { $0.x >= first.x }) {
                loss = loss.filter { $0.x < first.x } + curve
                let rates = Self.points(report["curve"], "learningRate")
                if !rates.isEmpty { learningRate = learningRate.filter { $0.x < first.x } + rates }
            }
        case "evaluate":
            if let report = file("evaluation.json") { readMetrics(report) }
            samples = (file("samples.json")?.list ?? []).compactMap(Self.sample)
        case ManifestSweep.scoringKind:
            // Of a trial, which no test example judges.
            guard case .object(let scores)? = file("score.json") else { return }
            let values = scores.compactMapValues(\.double).sorted { $0.key < $1.key }
            models = values.isEmpty ? models : ["trained"]
            metrics += values.map { Metric(name: "validation.\($0.key)", values: ["trained": $0.value]) }
        case "package":
            for folder in ["adapter", "model"] where lineage == .null {
                lineage = file("\(folder)/lorajobs.json")?["lineage"] ?? .null
            }
        default: break
        }
    }

    private static func read(_ folder: URL, _ name: String) -> JSONValue? {
        guard let data = FileManager.default.contents(atPath: folder.appending(path: name).path) else { return nil }
        return try? JSONDecoder().decode(JSONValue.self, from: data)
    }

    /// The curves, step by step, from all attempts: one that went on from a checkpoint replaces what it did again.
    private mutating func readProgress(_ stage: JobDetail.Stage) {
        var losses: [Int: Double] = [:], rates: [Int: Double] = [:]
        for attempt in stage.attempts {
            guard let events = try? attempt.directory.readProgress() else { continue }
            if let first = events.lazy.compactMap(\.step).first {
                losses = losses.filter { $0.key < first }
                rates = rates.filter { $0.key < first }
            }
            for event in events {
                guard let step = event.step else { continue }
                if let loss = event.loss, loss.isFinite { losses[step] = loss }
                if let rate = event.learningRate, rate.isFinite { rates[step] = rate }
            }
        }
        func points(_ values: [Int: Double]) -> [Point] {
            values.sorted { $0.key < $1.key }.map { Point(x: Double($0.key), y: $0.value) }
        }
        (loss, learningRate) = (points(losses), points(rates))
    }

    private static func points(_ value: JSONValue?, _ key: String = "loss") -> [Point] {
        (value?.list ?? []).compactMap { point in
            guard let step = point["step"]?.double, let number = point[key]?.double else { return nil }
            return Point(x: step, y: number)
        }
    }

    /// The models of an evaluation, in the order in which they are shown.
    static let order = ["base", "champion", "trained"]

    /// What the evaluation found of each model: on the test split, then on suites and general text.
    private mutating func readMetrics(_ report: JSONValue) {
        for set in report["sets"]?.list ?? [] {
            if let confusion = Confusion(set, names: classes) { confusions.append(confusion) }
            guard case .object(let members)? = set["values"], case .string(let name)? = set["name"] else { continue }
            let scores = members.compactMapValues { value -> [String: Double]? in
                guard case .object(let inner) = value else { return nil }
                let numbers = inner.compactMapValues(\.double)
                return numbers.isEmpty ? nil : numbers
            }
            models = Self.order.filter { scores[$0] != nil || models.contains($0) }
            let names = Set(Self.order.flatMap { scores[$0].map { Array($0.keys) } ?? [] })
            metrics += names.sorted().map { metric in
                let values = scores.filter { Self.order.contains($0.key) }.compactMapValues { $0[metric] }
                return Metric(name: name == "test" ? metric : "\(name).\(metric)", values: values)
            }
        }
    }

    private static func sample(_ value: JSONValue) -> Sample? {
        guard case .string(let prompt)? = value["prompt"], case .string(let reference)? = value["reference"],
            case .object(let answers)? = value["answers"]
        else { return nil }
        return Sample(
            prompt: prompt, reference: reference,
            answers: answers.compactMapValues { if case .string(let text) = $0 { text } else { nil } })
    }

    // MARK: Files

    /// Writes both files, or only the numbers; nothing is flushed, since they can be made again.
    package func write(to folder: URL, hasPage: Bool = true) throws {
        let numbers = json.data(pretty: true) + Data("\n".utf8)
        try AtomicFile.write(numbers, to: folder.appending(path: Self.numbers), isDurable: false)
        guard hasPage else { return }
        try AtomicFile.write(Data(html.utf8), to: folder.appending(path: Self.page), isDurable: false)
    }

    /// The numbers of the page.
    package var json: JSONValue {
        var members: [String: JSONValue] = ["schema": 1, "job": .object(jobFacts), "lineage": lineage]
        members["stages"] = .array(stages.map(Self.json))
        members["attempts"] = .array(attempts.map(Self.json))
        members["loss"] = Self.list(loss)
        members["validation_loss"] = Self.list(validation)
        members["learning_rate"] = Self.list(learningRate)
        members["lengths"] = .array(
            lengths.map { .object(["up_to": .integer($0.upTo), "count": .integer($0.count)]) })
        members["data_health"] = healthJSON
        if !health.isEmpty { members["passages_compared_one_in"] = .integer(passagesComparedOneIn) }
        var rows: [String: JSONValue] = [:]
        for metric in metrics { rows[metric.name] = .object(metric.values.mapValues { .number($0) }) }
        members["metrics"] = .object(rows)
        members["confusion"] = .object(Dictionary(confusions.map { ($0.set, $0.json) }) { $1 })
        var chosen: [String: JSONValue] = [:]
        for entry in values { chosen[entry.key] = entry.value }
        members["values"] = .object(chosen)
        members["examples"] = .array(examples)
        members["samples"] = .array(
            samples.map { sample in
                .object([
                    "prompt": .string(sample.prompt), "reference": .string(sample.reference),
                    "answers": .object(sample.answers.mapValues { .string($0) }),
                ])
            })
        return .object(members)
    }

    private var jobFacts: [String: JSONValue] {
        func time(_ date: Date?) -> JSONValue { date.map { .string($0.formatted(.iso8601)) } ?? .null }
        return [
            "id": .string(job.id), "name": .string(job.name), "state": .string(job.state.rawValue),
            "reason": Self.text(job.reason), "adapter": Self.text(job.adapter), "gate": Self.text(job.gate),
            "created": time(job.createdAt),
            "started": time(job.startedAt), "finished": time(job.finishedAt), "seconds": Self.number(job.elapsed),
            "manifest_digest": .string(manifestDigest),
        ]
    }

    private static func text(_ text: String?) -> JSONValue { text.map { .string($0) } ?? .null }
    private static func number(_ number: Double?) -> JSONValue { number.map { .number($0) } ?? .null }

    private static func list(_ points: [Point]) -> JSONValue {
        .array(points.map { .object(["step": .integer(Int($0.x)), "value": .number($0.y)]) })
    }

    private static func json(_ stage: Stage) -> JSONValue {
        .object([
            "name": .string(stage.name), "kind": .string(stage.kind), "state": .string(stage.state),
            "why": text(stage.why), "output_digest": text(stage.outputDigest),
        ])
    }

    private static func json(_ attempt: Attempt) -> JSONValue {
        var members: [String: JSONValue] = [
            "stage": .string(attempt.stage), "number": .integer(attempt.number), "state": .string(attempt.state),
            "seconds": number(attempt.seconds), "cpu_seconds": number(attempt.cpuSeconds), "failure": .null,
            "peak_rss_bytes": number(attempt.peakBytes.map { Double($0) }),
        ]
        if let failure = attempt.failure {
            members["failure"] = .object(["code": .string(failure.code), "message": .string(failure.message)])
        }
        return .object(members)
    }

    /// What the manifest says, or the workspace: values that are not the program's own.
    var values: [(key: String, value: JSONValue, origin: String)] {
        ManifestSchema.fields.compactMap { field in
            guard let origin = origins[field.path], origin != Origin.default.rawValue,
                let value = ManifestSchema.value(of: field.path, in: manifest)
            else { return nil }
            return (field.path, value, origin)
        }
    }
}

extension JSONValue {
    /// The elements of an array.
    var list: [JSONValue]? {
        guard case .array(let values) = self else { return nil }
        return values
    }

    /// A finite number.
    var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value) where value.isFinite: value
        default: nil
        }
    }
}
