import Foundation
import Layers
import Models

/// What a job's model is for, as its base and its data decide.
struct JobTask {
    /// What the head is for.
    let model: ModelTask
    /// The names of the classes, by index; `nil` for a task without.
    let classes: [String]?

    /// - Parameter classes: those of the job's data, when whole texts are judged.
    init(classes: [String]?) {
        self.classes = classes
        model = classes.map { .sequenceClassification(labels: $0.count) } ?? .causalLM
    }

    /// Whether the base at `folder` comes with the head that the job trains, so that it can be judged without an adapter.
    func isTask(ofBase folder: URL) throws -> Bool {
        try model == .causalLM || ModelRegistry.task(ModelConfiguration(folder: folder)) == model
    }
}

extension StageRun {
    /// What the model of the job is for, as the tokenize stage found.
    func task() throws -> JobTask {
        let report = try input("tokenize").appending(path: "report.json")
        return JobTask(classes: try read(TokenizeStage.Report.self, from: report).classes)
    }
}
