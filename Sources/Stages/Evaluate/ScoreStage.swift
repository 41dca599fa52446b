import Foundation
import PipelineSpec
import Training

/// Judges the trained model by the job's metrics on the validation split: what the trials of a sweep are ranked by,
/// where that is not the loss. It sees no test example, and asks neither base nor production.
///
/// Output: `score.json` with the metrics by name.
enum ScoreStage: Stage {
    static let descriptor = StageDescriptor(
        kind: ManifestSweep.scoringKind, version: 1, manifestKeys: ["evaluate.metrics"], inputs: [.base, .tokenizer],
        requires: ["tokenize", "train"])

    static func run(_ run: StageRun) throws {
        let task = try run.task()
        let contest = try Contest(run, task)
        let set = try EvaluationSets(run, task, contest.tokenizer).split(.validation)
        run.report(0.05, "the trained model on \(set.name)")
        let values = try contest.scoreTrained(on: set)
        for metric in set.metrics where values[metric.name] == nil {
            run.log("\(metric.name) has no value on these examples")
        }
        try run.write(values, to: "score.json")
        for (name, value) in values { run.metrics[StageMetric.validation(name)] = value }
        run.noteCost()
        run.report(1, "scored \(set.examples.count) validation examples")
    }
}
