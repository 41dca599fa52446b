import TensorCore

/// A confidence interval for what one thing does differently from another on the same examples.
///
/// Both are measured on each example, and examples are drawn again with replacement, as pairs: what makes an example hard
/// for both drops out. The interval is the percentile interval of B. Efron and R. Tibshirani, *An Introduction to the
/// Bootstrap* (1993), sections 12.5 and 13.3; P. Koehn, *Statistical Significance Tests for Machine Translation Evaluation*
/// (2004), pairs it so. It is a function of the values and the seed alone, whatever the number of threads.
///
/// With a few dozen examples such an interval is narrower than it should be; that there are enough is the caller's rule.
package struct PairedBootstrap: Sendable, Equatable {
    /// Candidate less reference, over all examples as they are.
    package let difference: Double
    /// Where the difference lies with the confidence asked for.
    package let interval: ClosedRange<Double>
    /// The share of the resamples in which the candidate's value is below the reference's.
    package let shareBelowZero: Double
    /// How many examples there were.
    package let count: Int

    /// Compares two means over examples, each example of its own weight.
    ///
    /// For a loss per token the values are nats per token of each example and the weights its tokens.
    ///
    /// - Parameters:
    ///   - weights: not negative and not all 0; `nil` where each example counts alike.
    ///   - confidence: of the two-sided interval, between 0 and 1.
    /// - Throws: ``TrainingError`` with code `invalidInput` when there is no example, the counts differ, or a value is not
    ///   finite, saying which.
    package init(
        reference: [Double], candidate: [Double], weights: [Double]? = nil, confidence: Double = 0.95,
        resamples: Int = 10_000, seed: UInt64 = 0
    ) throws {
        let weights = weights ?? [Double](repeating: 1, count: reference.count)
        guard reference.count == candidate.count, reference.count == weights.count else {
            throw TrainingError(
                .invalidInput,
                "pairs are compared, but there are \(reference.count) values, \(candidate.count) and "
                    + "\(weights.count) weights")
        }
        for index in reference.indices {
            guard reference[index].isFinite, candidate[index].isFinite else {
                throw TrainingError(
                    .invalidInput, "example \(index) has a value that is not finite; nothing to compare")
            }
            guard weights[index].isFinite, weights[index] >= 0 else {
                throw TrainingError(.invalidInput, "example \(index) has the weight \(weights[index])")
            }
        }
        guard weights.contains(where: { $0 > 0 }) else {
            throw TrainingError(.invalidInput, "there is no example to compare")
        }
        let differences = reference.indices.map { (candidate[$0] - reference[$0]) * weights[$0] }
        let whole = differences.reduce(0, +) / weights.reduce(0, +)
        try self.init(count: reference.count, confidence: confidence, resamples: resamples, seed: seed) { drawn in
            var (sum, weight) = (0.0, 0.0)
            for index in drawn {
                sum += differences[index]
                weight += weights[index]
            }
            // Only where every example that was drawn has the weight 0.
            return weight > 0 ? sum / weight : whole
        }
    }

    /// Compares by any statistic of a set of examples, such as a score of a whole corpus.
    ///
    /// - Parameter difference: candidate less reference on the examples with these indices, some of which occur more than
    ///   once; called from several threads at once.
    /// - Throws: as ``init(reference:candidate:weights:confidence:resamples:seed:)``.
    package init(
        count: Int, confidence: Double = 0.95, resamples: Int = 10_000, seed: UInt64 = 0,
        difference: (_ examples: [Int]) -> Double
    ) throws {
        precondition(confidence > 0 && confidence < 1 && resamples > 0, "PairedBootstrap: no such interval")
        guard count > 0 else { throw TrainingError(.invalidInput, "there is no example to compare") }
        self.count = count
        self.difference = difference(Array(0..<count))
        let stream = RandomStream(seed: seed).substream("paired bootstrap")
        var estimates = [Double](repeating: 0, count: resamples)
        estimates.withUnsafeMutableBufferPointer { estimates in
            // Each element is written by one thread.
            nonisolated(unsafe) let estimates = estimates
            Parallel.forEachRange(resamples, grain: 64) { range in
                var drawn = [Int](repeating: 0, count: count)
                for resample in range {
                    let draws = stream.substream(resample)
                    for index in 0..<count {
                        // The upper half of the product is uniform below `count`, but for 1 in 2^64 / count.
                        drawn[index] = Int(draws.bits(at: index).multipliedFullWidth(by: UInt64(count)).high)
                    }
                    estimates[resample] = difference(drawn)
                }
            }
        }
        guard self.difference.isFinite, estimates.allSatisfy(\.isFinite) else {
            throw TrainingError(.invalidInput, "a difference is not finite; nothing to compare")
        }
        estimates.sort()
        // The k-th smallest and the k-th largest, k = ⌊(resamples + 1) · α / 2⌋; the difference itself is always inside.
        let outside = max(1, Int(Double(resamples + 1) * (1 - confidence) / 2)) - 1
        interval = min(estimates[outside], self.difference)...max(estimates[resamples - 1 - outside], self.difference)
        shareBelowZero = Double(estimates.count { $0 < 0 }) / Double(resamples)
    }
}
