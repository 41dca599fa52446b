import Adapters
import Foundation
import PipelineSpec

/// What people read of a version: its `README.md`. It has figures and names, and nothing of what the data say.
extension VersionRecord {
    /// The model card: the numbers of this record, in words.
    ///
    /// - Parameter base: how readers know the base.
    func card(base: String, isAdapter: Bool) -> ModelCard {
        let manifest = lineage.manifest, words = TaskCard(task)
        let trained = evaluation.test.values[.trained] ?? [:]
        // Beside the loss, which for numbers is the mean squared error and says all.
        let second = ["accuracy", "perplexity"].first { trained[$0] != nil }
        func cells(_ name: String, _ values: [String: Double]) -> [String] {
            let loss = values["loss"].map { String(format: "%.4f", $0) } ?? ""
            guard let second else { return [name, loss] }
            let figure = values[second].map {
                second == "accuracy" ? String(format: "%.2f%%", 100 * $0) : String(format: "%.3f", $0)
            }
            return [name, loss, figure ?? ""]
        }
        let own = isAdapter ? "with this adapter" : "this model"
        let models: [(role: EvaluationRole, name: String)] = [
            (.base, "base"), (.champion, championName ?? ""), (.trained, own),
        ]
        let rows = models.compactMap { model in evaluation.test.values[model.role].map { cells(model.name, $0) } }
        var training: [(name: String, value: String)] = [
            (
                "Steps",
                "\(self.training.steps)" + (self.training.plannedSteps.map { " of \($0), by its budget" } ?? "")
            ),
            ("Trained tokens", "\(self.training.trainedTokens)"),
            ("Trained parameters", "\(self.training.trainedParameters)"),
            ("Learning rate", "\(manifest.train.learningRate), \(manifest.train.lrSchedule.rawValue)"),
            ("Seed", "\(lineage.seed)"),
            ("Precision", lineage.precision),
        ]
        if manifest.adapter.method == .lora {
            let scaling = manifest.adapter.rslora ? " (rank-stabilised)" : ""
            training.insert(
                ("Adapter", "LoRA, rank \(manifest.adapter.rank), alpha \(manifest.adapter.alpha)\(scaling)"), at: 0)
        }
        let sources = lineage.data.keys.sorted().flatMap { split in
            (lineage.data[split] ?? []).map { (name: split, value: "\($0.length) bytes, \($0.digest)") }
        }
        var sections = [
            ModelCard.Section(
                "Results",
                .table(
                    header: ["", "test loss (mean per \(words.unit))"] + (second.map { ["test \($0)"] } ?? []),
                    rows: rows)),
            ModelCard.Section(
                "How it was measured",
                .text(
                    "\(second.map { "Loss and \($0)" } ?? "Squared error") on \(evaluation.test.tokens) \(words.unit)s of the "
                        + "test split (\(evaluation.test.examples) sequences), which training did not see.")),
            ModelCard.Section("Beside earlier versions", .text(comparisonText)),
            ModelCard.Section("Training", .list(training)),
            ModelCard.Section("Data", .list(sources)),
        ]
        if evaluation.sets.count > 1 {
            sections.insert(ModelCard.Section("Suites and general text", suiteTable(own)), at: 3)
        }
        if let classes {
            sections.append(
                ModelCard.Section(
                    "Classes", .list(classes.enumerated().map { (name: "\($0.offset)", value: $0.element) })))
        }
        if isAdapter {
            let outputs = task == .sequenceRegression ? 1 : classes?.count
            let count = outputs.map { ", num_labels=\($0)" } ?? ""
            sections.append(
                ModelCard.Section(
                    "Use",
                    .code(
                        """
                        from peft import PeftModel
                        from transformers import AutoModel\(words.modelClass)

                        base = AutoModel\(words.modelClass).from_pretrained("\(base)"\(count))
                        model = PeftModel.from_pretrained(base, "path/to/this/folder")
                        """, language: "python")))
        }
        return ModelCard(
            title: manifest.name, base: base, library: isAdapter ? "peft" : "transformers",
            pipelineTag: words.pipelineTag, tags: isAdapter ? ["lora"] : [], sections: sections)
    }

    /// How readers know what the alias pointed at; `nil` where that was nothing that could be compared.
    private var championName: String? {
        guard let number = evaluation.champion, evaluation.test.values[.champion] != nil else { return nil }
        return "version \(number)"
    }

    private var comparisonText: String {
        guard let alias = evaluation.alias.map({ "`\($0)`" }), let champion = evaluation.champion else {
            return "There was no version to compare with"
                + (evaluation.alias.map { ": `\($0)` pointed at none." } ?? ".")
        }
        guard championName != nil else {
            return
                "Version \(champion), which \(alias) pointed at, could not be compared: it was made from another base or "
                + "for another task, or it cannot be loaded."
        }
        func number(_ value: Double) -> String { String(format: "%.4g", value) }
        func signed(_ value: Double) -> String { String(format: "%+.4g", value) }
        let sentences = (comparisons ?? []).map { one in
            let which = one.isChampion ? "which \(alias) pointed at" : "the best that \(alias) ever pointed at"
            let interval = "\(signed(one.low)) to \(signed(one.high)) at \(Quantity.percent(one.confidence))"
            return "Version \(one.version), \(which): \(one.metric) \(number(one.new)) against \(number(one.old)), "
                + "a gain of \(signed(one.gain)) (\(interval))."
        }
        guard !sentences.isEmpty else {
            return "Version \(champion), which \(alias) pointed at, has no value to compare with."
        }
        return (sentences + ["On the same test examples; a gain below zero is a loss."]).joined(separator: " ")
    }

    /// A line for each metric of each further set of examples.
    private func suiteTable(_ own: String) -> ModelCard.Section.Content {
        let sets = evaluation.sets.dropFirst()
        let columns: [(role: EvaluationRole, name: String)] = [
            (.base, "base"), (.champion, championName ?? ""), (.trained, own),
        ].filter { column in sets.contains { $0.values[column.role] != nil } }
        let rows = sets.flatMap { set in
            set.metrics.map { metric in
                [set.name == EvaluationSet.retention ? "general text" : set.name, metric, "\(set.examples)"]
                    + columns.map { set.values[$0.role]?[metric].map { String(format: "%.5g", $0) } ?? "" }
            }
        }
        return .table(header: ["", "metric", "examples"] + columns.map(\.name), rows: rows)
    }
}
