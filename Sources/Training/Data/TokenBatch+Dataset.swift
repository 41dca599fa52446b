package import Layers

extension TokenBatch {
    /// Sequences of a dataset, one after another in the order given, each from position 0.
    ///
    /// - Parameter task: what is asked for: next tokens, or what labels say of whole sequences or of single tokens.
    package init(_ dataset: TokenDataset, _ sequences: some Collection<Int>, for task: ModelTask = .causalLM) {
        self.init(ids: [], positions: [], sequences: [], targets: [])
        let tokens = sequences.reduce(0) { $0 + dataset.length($1) }
        ids.reserveCapacity(tokens)
        positions.reserveCapacity(tokens)
        targets.reserveCapacity(tokens)
        for index in sequences { append(dataset, index, for: task) }
    }

    /// Appends sequence `index` of a dataset with what the task asks of it.
    mutating func append(_ dataset: TokenDataset, _ index: Int, for task: ModelTask) {
        guard task != .featureExtraction else { return appendPair(dataset, index) }
        let sequence = dataset[index]
        let start = ids.count
        append(
            sequence.ids, rows: 0..<sequence.ids.count, scored: task == .causalLM ? sequence.isScored : { _ in false })
        switch (task, sequence.label) {
        case (.sequenceClassification, .class(let index)?), (.imageClassification, .class(let index)?):
            labels.append(index)
        case (.sequenceClassification, _), (.imageClassification, _): labels.append(-1)
        case (.sequenceRegression, .values(let values)?):
            labels.append(Int32(sequences.count - 1))
            self.values.append(values.first ?? .nan)
        case (.sequenceRegression, _):
            labels.append(-1)
            values.append(.nan)
        case (.tokenClassification, .tokens(let indices)?): targets.replaceSubrange(start..., with: indices)
        default: break
        }
        guard let types = dataset.tokenTypes(index), types.contains(where: { $0 != 0 }) else {
            if !tokenTypes.isEmpty { tokenTypes += [Int32](repeating: 0, count: sequence.ids.count) }
            return
        }
        // Until the first pair, an empty list stands for zeros.
        if tokenTypes.isEmpty { tokenTypes = [Int32](repeating: 0, count: start) }
        tokenTypes += types.map { Int32($0) }
    }

    /// Appends the two texts of a pair as sequences of their own, of which the first asks for the second.
    private mutating func appendPair(_ dataset: TokenDataset, _ index: Int) {
        let sequence = dataset[index]
        let types = dataset.tokenTypes(index) ?? []
        let border = types.firstIndex { $0 != 0 } ?? sequence.ids.count
        let first = sequences.count
        for rows in [0..<border, border..<sequence.ids.count] where !rows.isEmpty {
            append(sequence.ids, rows: rows, scored: { _ in false })
        }
        let isPair = sequences.count == first + 2
        labels += isPair ? [Int32(first + 1), -1] : [-1]
        guard case .values(let values)? = sequence.label, let value = values.first else { return }
        self.values += isPair ? [value, .nan] : [.nan]
    }

    /// Appends `rows` of a sequence as one that attends only within itself, from position 0. Its last row predicts the
    /// token that follows in `ids`, when one does.
    mutating func append<IDs: RandomAccessCollection<Int32>>(
        _ ids: IDs, rows: Range<Int>, scored: (Int) -> Bool
    ) where IDs.Index == Int {
        let start = self.ids.count
        self.ids.append(contentsOf: ids[rows])
        positions.append(contentsOf: 0..<Int32(rows.count))
        sequences.append(start..<self.ids.count)
        for row in rows {
            let next = row + 1
            targets.append(next < ids.count && scored(next) ? ids[next] : -1)
        }
    }
}
