/// How much better one model is than another on the same examples, with a confidence interval: examples are drawn with
/// replacement, as many as there are, the same ones for both (Efron's percentile interval; Koehn 2004 for its use on
/// corpus metrics).
///
/// The draws follow from the seed alone: the same scores give the same interval everywhere.
package struct MetricComparison: Sendable, Equatable {
    /// Gains; negative where the second model is worse.
    package struct Interval: Codable, Sendable, Equatable {
        package var low: Double
        package var estimate: Double
        package var high: Double
    }

    /// The values of both over all examples.
    package let old: Double
    package let new: Double
    /// In the units of the metric.
    package let gain: Interval
    /// As a share of the old value; `nil` where that is 0.
    package let share: Interval?

    /// Compares two models; `nil` where the metric has no value for one of them.
    ///
    /// - Parameters:
    ///   - old: The scores of the one, an entry an example.
    ///   - new: Those of the other, on the same examples in the same order.
    ///   - confidence: The probability mass of the two-sided interval, below 1.
    package init?(
        _ metric: any Metric.Type, from old: [ScoredExample], to new: [ScoredExample], classes: Int = 0,
        confidence: Double, resamples: Int = 2000, seed: UInt64 = 1
    ) {
        precondition(old.count == new.count, "MetricComparison: \(old.count) scores beside \(new.count)")
        guard let first = metric.value(of: old, classes: classes), let second = metric.value(of: new, classes: classes),
            first.isFinite, second.isFinite
        else { return nil }
        self.old = first
        self.new = second
        let before = old.map { metric.statistics(of: $0, classes: classes) }
        let after = new.map { metric.statistics(of: $0, classes: classes) }
        var random = SplitMix64(state: seed)
        var (a, b) = (StatisticSums(), StatisticSums())
        var gains: [Double] = []
        var shares: [Double] = []
        for _ in 0..<resamples {
            a.reset()
            b.reset()
            for _ in old.indices {
                let index = Int(random.next() % UInt64(old.count))
                a.add(before[index])
                b.add(after[index])
            }
            guard let x = metric.value(of: a, classes: classes), let y = metric.value(of: b, classes: classes) else {
                continue
            }
            let gain = metric.gain(from: x, to: y)
            gains.append(gain)
            if x != 0 { shares.append(gain / abs(x)) }
        }
        let gain = metric.gain(from: first, to: second)
        self.gain = Self.interval(of: gains, around: gain, confidence)
        share = first == 0 ? nil : Self.interval(of: shares, around: gain / abs(first), confidence)
    }

    private static func interval(of draws: [Double], around estimate: Double, _ confidence: Double) -> Interval {
        let sorted = draws.sorted()
        guard !sorted.isEmpty else { return Interval(low: estimate, estimate: estimate, high: estimate) }
        func quantile(_ share: Double) -> Double {
            let place = share * Double(sorted.count - 1)
            let below = Int(place.rounded(.down))
            let above = min(below + 1, sorted.count - 1)
            return sorted[below] + (place - Double(below)) * (sorted[above] - sorted[below])
        }
        let tail = (1 - confidence) / 2
        return Interval(low: quantile(tail), estimate: estimate, high: quantile(1 - tail))
    }
}

/// SplitMix64, after Steele, Lea and Flood (2014).
private struct SplitMix64 {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
