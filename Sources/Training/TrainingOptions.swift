/// How to train: every number that decides what a run computes.
package struct TrainingOptions: Codable, Sendable, Equatable {
    /// A number of optimizer steps, or a share of all of them, rounded up.
    package enum Warmup: Codable, Sendable, Equatable {
        case steps(Int)
        case fraction(Double)
    }

    package var duration: BatchPlan.Duration = .epochs(3)
    /// What one optimizer step sees.
    package var stepSize: BatchPlan.StepSize = .tokens(4096)
    /// Tokens of a pack, by which sequences are arranged; `nil` leaves them in their random order. See ``BatchPlan``.
    package var packing: Int?
    /// What is computed at once, in training and in validation.
    package var microBatchSize: BatchPlan.MicroBatchSize = .tokens(4096)
    /// What was computed at once in an earlier part of this run: its checkpoints count, although what follows differs
    /// in rounding from what would have followed.
    package var earlierMicroBatchSizes: [BatchPlan.MicroBatchSize] = []
    /// Whether the backward pass computes each layer again instead of keeping its values. It changes no result.
    package var recomputesLayers = false
    /// The peak of the schedule.
    package var learningRate = 2e-4
    package var schedule: LearningRateSchedule.Shape = .cosine
    package var warmup: Warmup = .fraction(0.03)
    package var optimizer = AdamW.Options()
    /// The largest L2 norm of all gradients together; `nil` or 0 does not clip.
    package var clipNorm: Double? = 1
    /// The order of the data and dropout are drawn from it.
    package var seed: UInt64 = 42
    /// Optimizer steps between validations; `nil` validates at the end of each epoch. The last step is always
    /// validated.
    package var validationInterval: Int?
    /// Stops after so many validations in a row without a lower loss; `nil` never stops early.
    package var patience: Int?

    package init() {}

    /// Steps of warm-up in a run of `stepCount`.
    func warmupSteps(stepCount: Int) -> Int {
        switch warmup {
        case .steps(let steps): steps
        case .fraction(let share): Int((share * Double(stepCount) - 1e-9).rounded(.up))
        }
    }

    /// Checks what no type rules out.
    ///
    /// - Throws: ``TrainingError`` with code `invalidInput`.
    func validate() throws {
        func check(_ isRight: Bool, _ message: String) throws {
            if !isRight { throw TrainingError(.invalidInput, message) }
        }
        try check(learningRate.isFinite && learningRate >= 0, "a learning rate of \(learningRate)")
        switch warmup {
        case .steps(let steps): try check(steps >= 0, "\(steps) steps of warm-up")
        case .fraction(let share):
            try check(share >= 0 && share <= 1, "a warm-up of \(share) of all steps; 0 to 1 is possible")
        }
        for beta in [optimizer.beta1, optimizer.beta2] {
            try check(beta >= 0 && beta < 1, "a beta of \(beta); AdamW's lie between 0 and 1")
        }
        try check(optimizer.epsilon > 0, "an epsilon of \(optimizer.epsilon); it must be positive")
        try check(
            optimizer.weightDecay.isFinite && optimizer.weightDecay >= 0, "a weight decay of \(optimizer.weightDecay)")
        try check(clipNorm.map { $0 >= 0 } ?? true, "a clip norm of \(clipNorm ?? 0)")
        try check(validationInterval.map { $0 > 0 } ?? true, "a validation every \(validationInterval ?? 0) steps")
        try check(patience.map { $0 > 0 } ?? true, "a patience of \(patience ?? 0) validations; at least 1 is needed")
    }
}

/// When a run writes checkpoints, besides at its end and when it is stopped. It changes no result.
package struct CheckpointInterval: Sendable, Equatable {
    /// After so many optimizer steps.
    package var steps: Int?
    /// When so much time has passed since the last one, in seconds.
    package var seconds: Double?

    package init(steps: Int? = nil, seconds: Double? = 300) {
        self.steps = steps
        self.seconds = seconds
    }
}
