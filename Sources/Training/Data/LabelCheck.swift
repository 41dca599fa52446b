import Layers

/// Checks that a dataset says what the model is asked: classes that its head has, for sequences that fit into its context.
///
/// - Throws: ``TrainingError``: `invalidInput` for labels that are missing, of another kind or beyond the head; `tooLong`.
func checkLabels(of dataset: TokenDataset, for model: any SequenceModel) throws {
    guard let classes = model.task.labelCount else { return }
    for index in 0..<dataset.count {
        let sequence = dataset[index]
        let place = "\(dataset.path): sequence \(index)"
        let found: [Int32]
        switch (model.task, sequence.label) {
        case (.sequenceClassification, .class(let label)?), (.imageClassification, .class(let label)?): found = [label]
        case (.tokenClassification, .tokens(let labels)?): found = labels
        case (_, let label):
            throw TrainingError(
                .invalidInput,
                "\(place) has \(label == nil ? "no label" : "a label of another kind"), and the model is for \(model.task)"
            )
        }
        if let worst = found.first(where: { $0 >= classes }) {
            throw TrainingError(.invalidInput, "\(place) has class \(worst), and the model is for \(model.task)")
        }
        guard sequence.ids.count <= model.contextLength else {
            throw TrainingError(
                .tooLong,
                "\(place) has \(sequence.ids.count) tokens; the model's context holds \(model.contextLength). Tokenise with a "
                    + "smaller max_length")
        }
    }
}
