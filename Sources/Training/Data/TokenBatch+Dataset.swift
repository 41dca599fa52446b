package import Layers

extension TokenBatch {
    /// Sequences of a dataset, one after another in the order given, each from position 0.
    package init(_ dataset: TokenDataset, _ sequences: some Collection<Int>) {
        self.init(ids: [], positions: [], sequences: [], targets: [])
        let tokens = sequences.reduce(0) { $0 + dataset.length($1) }
        ids.reserveCapacity(tokens)
        positions.reserveCapacity(tokens)
        targets.reserveCapacity(tokens)
        for index in sequences {
            append(dataset[index].ids, rows: 0..<dataset.length(index), scored: dataset[index].isScored)
        }
    }

    /// Appends `rows` of a sequence as one that attends only within itself, from position 0. Its last row predicts the
    /// token that follows in `ids`, when one does.
    mutating func append(_ ids: UnsafeBufferPointer<Int32>, rows: Range<Int>, scored: (Int) -> Bool) {
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
