import Layers

/// Checks that a dataset says what the model is asked: classes that its head has, or a number, for sequences that fit into
/// its context.
///
/// - Throws: ``TrainingError``: `invalidInput` for labels that are missing, of another kind or beyond the head; `tooLong`.
func checkLabels(of dataset: TokenDataset, for model: any SequenceModel) throws {
    if model.task == .featureExtraction { return try checkPairs(of: dataset, contextLength: model.contextLength) }
    let classes = model.task.labelCount ?? 1
    guard model.task.labelCount != nil || model.task == .sequenceRegression else { return }
    for index in 0..<dataset.count {
        let sequence = dataset[index]
        let place = "\(dataset.path): sequence \(index)"
        let found: [Int32]
        switch (model.task, sequence.label) {
        case (.sequenceClassification, .class(let label)?), (.imageClassification, .class(let label)?): found = [label]
        case (.tokenClassification, .tokens(let labels)?): found = labels
        case (.sequenceRegression, .values(let values)?) where values.count == 1: found = []
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

/// Checks that every sequence is a pair of texts that fit.
private func checkPairs(of dataset: TokenDataset, contextLength: Int) throws {
    for index in 0..<dataset.count {
        let place = "\(dataset.path): sequence \(index)"
        let types = dataset.tokenTypes(index) ?? []
        guard let border = types.firstIndex(where: { $0 != 0 }), border > 0, dataset.label(index) != nil else {
            throw TrainingError(
                .invalidInput,
                "\(place) is not a pair of texts with what is asked of it, and sentence embeddings need that")
        }
        let longest = max(border, types.count - border)
        guard longest <= contextLength else {
            throw TrainingError(
                .tooLong,
                "\(place) has a text of \(longest) tokens; the model's context holds \(contextLength). Tokenise with a "
                    + "smaller max_length")
        }
    }
}
