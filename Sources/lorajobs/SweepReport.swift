import Foundation
import Orchestration
import PipelineSpec

/// What `sweep` prints of one.
struct SweepReport {
    let sweep: SweepStatus

    // MARK: For programs

    var json: [String: JSON] {
        [
            "id": .string(sweep.id), "name": .string(sweep.name), "tenant": .string(sweep.tenant),
            "created": .optional(sweep.createdAt), "keys": .array(sweep.keys.map { .string($0) }),
            "metric": .string(StageMetric.validation(sweep.metric.rawValue)),
            "higher_is_better": .bool(sweep.metric.isHigherBetter), "done": .bool(sweep.isDone),
            "then": sweep.trainsWinner ? "train" : .null, "follow_up": .optional(sweep.followUp),
            "trials": .array(sweep.trials.map(json)),
        ]
    }

    private func json(_ trial: SweepStatus.Trial) -> JSON {
        .object([
            "rank": .optional(trial.rank), "trial": .integer(trial.index), "job": .string(trial.job),
            "state": .string(trial.state.rawValue), "reason": .optional(trial.reason),
            "parameters": .object(Dictionary(zip(sweep.keys, trial.parameters)) { $1 }),
            "value": .optional(trial.value), "validation_loss": .optional(trial.validationLoss),
            "training_loss": .optional(trial.trainingLoss),
            "steps": .optional(trial.steps), "seconds": .number(trial.seconds),
        ])
    }

    // MARK: For people

    func text(_ terminal: Terminal) -> String {
        let isLoss = sweep.metric == .loss, name = sweep.metric.rawValue
        let order =
            isLoss ? "the loss" : "\(name), \(sweep.metric.isHigherBetter ? "the highest" : "the lowest") first,"
        let ended = sweep.trials.count { $0.state.isFinal }
        var lines = [
            "\(sweep.name): \(sweep.trials.count) trials, \(sweep.isDone ? "all" : "\(ended)") ended; "
                + "ranked by \(order) on the validation split\n"
        ]
        // A key is also a heading; a list of values may hold spaces.
        let heading = isLoss ? "" : ">\(name.uppercased()) "
        var table = Table(
            ">RANK \(sweep.keys.joined(separator: " ")) \(heading)>LOSS >TRAINING >STEPS >TIME STATE ~JOB")
        for trial in sweep.trials {
            let color: Terminal.Color? = trial.rank == 1 ? .green : StatusReport.color(trial.state)
            table.add(
                [Table.Cell(trial.rank.map { "\($0)" } ?? "")] + trial.parameters.map { Table.Cell($0.plainText) }
                    + (isLoss ? [] : [Table.Cell(trial.value.map { String(format: "%.4f", $0) } ?? "")]) + [
                        Table.Cell(trial.validationLoss.map { String(format: "%.4f", $0) } ?? ""),
                        Table.Cell(trial.trainingLoss.map { String(format: "%.4f", $0) } ?? ""),
                        Table.Cell(trial.steps.map { "\($0)" } ?? ""),
                        Table.Cell(trial.seconds > 0 ? Durations.text(trial.seconds) : ""),
                        Table.Cell(trial.state.rawValue, color),
                        Table.Cell([trial.job, trial.reason].compactMap { $0 }.joined(separator: " ")),
                    ])
        }
        lines.append(table.text(terminal))
        if let job = sweep.followUp {
            lines.append("the winner's values are trained on all data by job \(job)\n")
        } else if sweep.isDone, sweep.winner != nil {
            lines.append("train with the winner's values: lorajobs sweep \(sweep.id) --take\n")
        } else if sweep.trainsWinner, !sweep.isDone {
            lines.append("when all have ended, a job follows with the winner's values\n")
        }
        return lines.joined()
    }
}
