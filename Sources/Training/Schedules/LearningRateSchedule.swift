import Foundation

/// How the learning rate moves over a run: a factor on the peak rate for each optimizer step.
///
/// As transformers' `get_*_schedule_with_warmup`, whose scheduler steps after the optimizer: step 0, the first, has
/// factor `lambda(0)`. With a warm-up of w steps, step s < w has factor `s / w`, so the very first step changes nothing
/// (its factor is 0, though the optimizer gathers its moments) and step w is the first at the peak. The last of n steps
/// is step n − 1, so a decay to 0 at step n is never quite reached.
package struct LearningRateSchedule: Sendable, Equatable {
    /// What follows the warm-up of w steps, in a run of n.
    package enum Shape: String, Codable, Sendable, CaseIterable {
        /// 1.
        case constant
        /// `(n − s) / (n − w)`.
        case linear
        /// `(1 + cos(π (s − w) / (n − w))) / 2`.
        case cosine
        /// Warm-up, stable, decay: 1 until the last tenth (`d = max(1, n / 10)` steps, rounded, at most what the
        /// warm-up leaves), then `1 − (s − (n − d)) / d`, linear. It is `get_wsd_schedule(…, num_decay_steps=d,
        /// decay_type="linear")`.
        case wsd
    }

    package let shape: Shape
    /// Steps of linear warm-up, w.
    package let warmupSteps: Int
    /// Steps of the run, n.
    package let stepCount: Int

    package init(_ shape: Shape, warmupSteps: Int, stepCount: Int) {
        self.shape = shape
        self.warmupSteps = warmupSteps
        self.stepCount = stepCount
    }

    /// The factor on the peak learning rate in step `step`, counted from 0.
    package func factor(step: Int) -> Double {
        guard step >= warmupSteps else { return Double(step) / Double(max(1, warmupSteps)) }
        let length = Double(max(1, stepCount - warmupSteps))
        switch shape {
        case .constant:
            return 1
        case .linear:
            return max(0, Double(stepCount - step) / length)
        case .cosine:
            return max(0, 0.5 * (1 + cos(Double.pi * Double(step - warmupSteps) / length)))
        case .wsd:
            let tenth = max(1, Int((Double(stepCount) / 10).rounded()))
            let decay = min(tenth, max(0, stepCount - warmupSteps))
            let into = step - (stepCount - decay)
            guard into >= 0 else { return 1 }
            guard into < decay else { return 0 }
            return 1 - Double(into) / Double(decay)
        }
    }
}
