import Artifacts
import Foundation
import Layers
import Models
import PipelineSpec
import Training

/// Judges base, production and the trained model on the same examples: the test split, suites, and general text.
///
/// Output: `evaluation.json` with every value of each, and `examples.jsonl` in `sets/<name>` with what each made of each
/// example; and ``AnswerSamples`` where the manifest allows it. Beside the model that is in production stands the best that ever was, where that is another one.
enum EvaluateStage: Stage {
    static let descriptor = StageDescriptor(
        kind: "evaluate", version: 3, manifestKeys: ["evaluate"], inputs: [.base, .tokenizer, .suites],
        requires: ["tokenize", "train"], comparesVersions: true)

    static func run(_ run: StageRun) throws {
        let task = try run.task()
        let contest = try Contest(run, task)
        let sets = try EvaluationSets(run, task, contest.tokenizer).make()
        if !sets.contains(where: { $0.name == EvaluationSet.retention }) {
            run.log("evaluate.retention names no general text: whether what the base could do is kept is not measured")
        }
        let report = try contest.hold(sets)
        try run.write(report, to: EvaluationReport.fileName)
        for (set, own) in zip(sets, report.sets) {
            for (role, values) in own.values where role == .trained {
                for (metric, value) in values {
                    run.metrics[set.name == EvaluationSet.test ? metric : "\(set.name).\(metric)"] = value
                }
            }
            guard set.name == EvaluationSet.test else { continue }
            for (metric, value) in own.values[.base] ?? [:] { run.metrics["base_\(metric)"] = value }
            for (metric, value) in own.values[.champion] ?? [:] { run.metrics["champion_\(metric)"] = value }
        }
        run.metrics["trained_share"] = report.cost.trainedShare
        run.metrics["adapter_bytes"] = Double(report.cost.productBytes)
        run.noteCost()
        run.report(1, report.summary)
    }
}

extension StageRun {
    /// What a busy core and its share of memory and mains draw, in watts: a guess that says so wherever it is used.
    private static let wattsPerCore = 10.0

    /// Notes the processor time of this attempt so far and what energy that may have taken.
    func noteCost() {
        let seconds = ProcessUsage.cpuSeconds
        metrics["cpu_seconds"] = seconds
        metrics["energy_wh_estimated"] = seconds * Self.wattsPerCore / 3600
    }
}
