package import Layers
package import TensorCore

/// Which tokens a model for hidden tokens has to find, and what it sees in their place (Devlin et al. 2019, arXiv
/// 1810.04805).
///
/// Of the tokens that count, 15% are chosen. Of these 80% become the mask token, 10% any token of the vocabulary, and 10%
/// stay. The draw is a function of stream, sequence and position, so it does not depend on how a step is cut.
package struct TokenHiding: Sendable, Equatable {
    /// The id that stands for a hidden token.
    package let maskID: Int32
    /// Ids are drawn below it.
    package let vocabularySize: Int

    /// The share of the tokens that are to be found.
    package static let share = 0.15

    package init(maskID: Int32, vocabularySize: Int) {
        self.maskID = maskID
        self.vocabularySize = vocabularySize
    }

    /// What becomes of one token.
    enum Fate: Equatable {
        /// It is read as it is, and not asked for.
        case read
        /// It is asked for, and this is read.
        case asked(Int32)
    }

    /// What becomes of the token `id` at `position` of sequence `index`.
    func fate(of id: Int32, at position: Int, of index: Int, _ stream: RandomStream) -> Fate {
        let stream = stream.substream(index)
        func uniform(_ draw: Int) -> Double { Double(stream.bits(at: 3 * position + draw) >> 11) * 0x1p-53 }
        guard uniform(0) < Self.share else { return .read }
        switch uniform(1) {
        case ..<0.8: return .asked(maskID)
        case ..<0.9: return .asked(Int32(uniform(2) * Double(vocabularySize)))
        default: return .asked(id)
        }
    }
}

extension TokenBatch {
    /// Sequences of a dataset with some of their tokens hidden, each of which is asked for where it stood.
    ///
    /// - Parameter stream: another one for each pass over the data.
    package init(
        _ dataset: TokenDataset, _ sequences: some Collection<Int>, hiding: TokenHiding, _ stream: RandomStream
    ) {
        self.init(ids: [], positions: [], sequences: [], targets: [])
        for index in sequences { append(dataset, index, hiding: hiding, stream) }
    }

    /// Appends sequence `index` of a dataset with some of its tokens hidden.
    mutating func append(_ dataset: TokenDataset, _ index: Int, hiding: TokenHiding, _ stream: RandomStream) {
        let start = ids.count
        append(dataset, index, for: .maskedLM)
        let sequence = dataset[index]
        for position in sequence.ids.indices where sequence.isScored(position) {
            let id = sequence.ids[position]
            guard case .asked(let seen) = hiding.fate(of: id, at: position, of: index, stream) else { continue }
            ids[start + position] = seen
            targets[start + position] = id
        }
    }
}
