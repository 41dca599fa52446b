import Foundation
import TensorCore

/// Which sequences each optimizer step sees, and in which order: a pure function of dataset, sizes and seed.
///
/// Every epoch is a permutation of all sequences, drawn from `RandomStream(seed)/order/epoch`, and is cut in that order
/// into steps; no step reaches into the next epoch, so the last of an epoch may be smaller. With packing the sequences
/// of an epoch are first laid into packs, which then take the place of sequences, in a random order. A step in which no
/// token counts is left out. All steps are known before the first, so that a schedule knows its end and a run can start
/// in the middle.
package struct BatchPlan: Sendable {
    /// How long to train.
    package enum Duration: Codable, Sendable, Equatable {
        /// Passes over the data. A fraction is that part of the steps of one more pass, rounded up.
        case epochs(Double)
        /// Optimizer steps, over as many passes as they take.
        case steps(Int)
    }

    /// When an optimizer step is full.
    package enum StepSize: Codable, Sendable, Equatable {
        /// Sequences are added until there are at least so many tokens; packs, until another would not bring the number
        /// nearer.
        case tokens(Int)
        /// So many sequences.
        case sequences(Int)
    }

    /// What is computed at once. A step is cut into as many micro-batches as it takes; its result is the same but for
    /// rounding and for dropout, which draws anew in each.
    package enum MicroBatchSize: Codable, Sendable, Equatable {
        /// At most so many tokens, but at least one sequence.
        case tokens(Int)
        /// At most so many sequences.
        case sequences(Int)
    }

    /// One optimizer step.
    package struct Step: Sendable, Equatable {
        /// Counted from 0 over the whole run.
        package let index: Int
        /// Counted from 0.
        package let epoch: Int
        /// Whether the epoch ends with it.
        package let endsEpoch: Bool
        /// Indices into the dataset, in order.
        package let sequences: ArraySlice<Int>
        /// Tokens of all its sequences.
        package let tokens: Int
        /// Tokens that count; at least 1.
        package let targets: Int
    }

    /// Optimizer steps of the whole run.
    package let stepCount: Int

    private let stepSize: StepSize
    private let microBatchSize: MicroBatchSize
    private let packing: Int?
    private let order: RandomStream
    /// Tokens, and tokens that count, of every sequence.
    private let lengths: [Int32]
    private let targets: [Int32]
    /// The first step of each epoch of the run.
    private let firstSteps: [Int]

    /// Plans a run.
    ///
    /// - Parameter packing: tokens of a pack. The sequences of an epoch, or a window of them that is some hundreds of
    ///   packs long, are laid into packs by best fit, and the packs are drawn in a random order; of a step of a number
    ///   of sequences only these are arranged. A micro-batch of as many tokens is then nearly full. `nil` leaves
    ///   sequences in their random order.
    /// - Throws: ``TrainingError``: `invalidInput` for a size or a duration that is not positive, `nothingToTrain` for
    ///   a dataset in which no token counts.
    package init(
        _ dataset: TokenDataset, duration: Duration, stepSize: StepSize, microBatchSize: MicroBatchSize,
        packing: Int? = nil, seed: UInt64
    ) throws {
        switch (stepSize, microBatchSize) {
        case (.tokens(let step), .tokens(let micro)), (.tokens(let step), .sequences(let micro)),
            (.sequences(let step), .tokens(let micro)), (.sequences(let step), .sequences(let micro)):
            guard step > 0, micro > 0 else {
                throw TrainingError(
                    .invalidInput, "a batch of \(step) and a micro-batch of \(micro) must both be positive")
            }
        }
        guard packing ?? 1 > 0 else { throw TrainingError(.invalidInput, "packs of \(packing ?? 0) tokens") }
        guard dataset.targetCount > 0 else {
            throw TrainingError(
                .nothingToTrain,
                "\(dataset.path): none of its \(dataset.tokenCount) tokens counts; look at the roles and "
                    + "columns that are trained on")
        }
        self.stepSize = stepSize
        self.microBatchSize = microBatchSize
        self.packing = packing
        order = RandomStream(seed: seed).substream("order")
        lengths = (0..<dataset.count).map { Int32(dataset.length($0)) }
        targets = (0..<dataset.count).map { Int32(dataset[$0].targetCount) }

        var firstSteps: [Int] = []
        var total = 0
        switch duration {
        case .steps(let wanted):
            guard wanted > 0 else {
                throw TrainingError(.invalidInput, "\(wanted) training steps; at least 1 is needed")
            }
            while total < wanted {
                firstSteps.append(total)
                total += Self.cut(order, firstSteps.count - 1, stepSize, packing, lengths, targets).count
            }
            total = wanted
        case .epochs(let wanted):
            guard wanted > 0, wanted < 1e9 else {
                throw TrainingError(.invalidInput, "\(wanted) epochs; more than 0 are needed")
            }
            for epoch in 0..<Int(wanted.rounded(.up)) {
                let steps = Self.cut(order, epoch, stepSize, packing, lengths, targets).count
                let part = min(1, wanted - Double(epoch))
                firstSteps.append(total)
                // A hair less, so that 0.1 of 10 steps is 1 and not 2.
                total += max(1, Int((part * Double(steps) - 1e-9).rounded(.up)))
            }
        }
        self.firstSteps = firstSteps
        stepCount = total
    }

    /// Epochs that the run touches.
    package var epochCount: Int { firstSteps.count }

    /// The epoch that step `index` lies in.
    package func epoch(ofStep index: Int) -> Int {
        (firstSteps.lastIndex { $0 <= index }) ?? 0
    }

    /// The steps of an epoch, as far as the run goes.
    ///
    /// - Complexity: linear in the number of sequences; call it once an epoch.
    package func steps(inEpoch epoch: Int) -> [Step] {
        let cuts = Self.cut(order, epoch, stepSize, packing, lengths, targets)
        let first = firstSteps[epoch]
        return cuts.enumerated().prefix(stepCount - first).map { index, cut in
            Step(
                index: first + index, epoch: epoch, endsEpoch: index == cuts.count - 1, sequences: cut.sequences,
                tokens: cut.tokens, targets: cut.targets)
        }
    }

    /// The sequences of a step in the parts that are computed at once.
    package func microBatches(of step: Step) -> [ArraySlice<Int>] {
        var parts: [ArraySlice<Int>] = []
        var low = step.sequences.startIndex
        var tokens = 0
        for place in step.sequences.indices {
            let length = Int(lengths[step.sequences[place]])
            let isFull =
                switch microBatchSize {
                case .tokens(let limit): tokens + length > limit
                case .sequences(let limit): place - low == limit
                }
            if isFull && place > low {
                parts.append(step.sequences[low..<place])
                (low, tokens) = (place, 0)
            }
            tokens += length
        }
        parts.append(step.sequences[low...])
        return parts
    }

    /// The most tokens that are computed at once in an epoch, as far as the run goes.
    package func largestMicroBatch(inEpoch epoch: Int) -> Int {
        steps(inEpoch: epoch).reduce(1) { most, step in
            microBatches(of: step).reduce(most) { max($0, $1.reduce(0) { $0 + Int(lengths[$1]) }) }
        }
    }

    private struct Cut {
        let sequences: ArraySlice<Int>
        let tokens: Int
        let targets: Int
    }

    /// The steps of one epoch, without those in which no token counts.
    private static func cut(
        _ order: RandomStream, _ epoch: Int, _ size: StepSize, _ packing: Int?, _ lengths: [Int32], _ targets: [Int32]
    ) -> [Cut] {
        let order = order.substream(epoch)
        var sequences = order.permutation(lengths.count)
        // Where what is never parted ends: packs, or single sequences.
        var ends: [Int]
        switch (size, packing) {
        case (.tokens, nil): ends = Array(1...sequences.count)
        case (.tokens, let capacity?): (sequences, ends) = packed(sequences, order, capacity, lengths)
        case (.sequences(let count), _):
            ends = Array(stride(from: count, to: sequences.count, by: count)) + [sequences.count]
            guard let capacity = packing else { break }
            sequences = zip([0] + ends, ends).flatMap { start, end in
                SequencePacking.packs(sequences[start..<end], lengths: lengths, capacity: capacity).flatMap { $0 }
            }
        }

        var cuts: [Cut] = []
        var (low, tokens, counted) = (0, 0, 0)
        func sum(_ values: [Int32], _ start: Int, _ end: Int) -> Int {
            sequences[start..<end].reduce(0) { $0 + Int(values[$1]) }
        }
        for (place, end) in ends.enumerated() {
            let start = place > 0 ? ends[place - 1] : 0
            tokens += sum(lengths, start, end)
            counted += sum(targets, start, end)
            let isFull =
                switch size {
                case .sequences: true
                case .tokens(let wanted) where packing != nil && place + 1 < ends.count:
                    tokens + sum(lengths, end, ends[place + 1]) / 2 >= wanted
                case .tokens(let wanted): tokens >= wanted
                }
            guard isFull || place == ends.count - 1 else { continue }
            if counted > 0 {
                cuts.append(Cut(sequences: sequences[low..<end], tokens: tokens, targets: counted))
            }
            (low, tokens, counted) = (end, 0, 0)
        }
        return cuts
    }

    /// Packs that are drawn from at a time: enough for nearly full ones, and few beside a large epoch.
    private static let packsOfAWindow = 512

    /// The sequences pack after pack, and where each pack ends.
    private static func packed(
        _ sequences: [Int], _ order: RandomStream, _ capacity: Int, _ lengths: [Int32]
    ) -> (sequences: [Int], ends: [Int]) {
        let tokens = sequences.reduce(0) { $0 + Int(lengths[$1]) }
        // Windows of equal size, so that no small one is left at the end.
        let windows = max(1, tokens / (packsOfAWindow * capacity))
        var result: [Int] = []
        result.reserveCapacity(sequences.count)
        var ends: [Int] = []
        var start = 0
        for window in 1...windows {
            let end = sequences.count * window / windows
            let packs = SequencePacking.packs(sequences[start..<end], lengths: lengths, capacity: capacity)
            // Packs were begun from the longest sequence to the shortest.
            for pack in order.substream("packs").substream(window).permutation(packs.count) {
                result += packs[pack]
                ends.append(result.count)
            }
            start = end
        }
        return (result, ends)
    }
}
