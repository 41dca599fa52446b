/// What a run tells while it goes.
package enum TrainingEvent: Sendable, Equatable {
    /// Before the first step. `step` steps are done already when the run continues from a checkpoint, else 0.
    case started(step: Int, steps: Int)
    /// A checkpoint that cannot be used was passed over; the text names it and says why.
    case ignoredCheckpoint(String)
    case stepped(StepReport)
    case validated(ValidationReport)
    /// A checkpoint is written, and is about to get its name.
    case checkpointAssembled(step: Int)
    /// A checkpoint of the state after `step` steps is on the disk.
    case checkpointed(step: Int)
}

/// One optimizer step.
package struct StepReport: Sendable, Equatable {
    /// Steps done, this one included.
    package let step: Int
    /// Steps of the whole run.
    package let steps: Int
    /// Epochs begun, from 1.
    package let epoch: Int
    /// Nats per token that counts in this step, before the weights moved.
    package let loss: Double
    package let learningRate: Double
    /// L2 norm of all gradients together, before clipping.
    package let gradientNorm: Double
    /// Tokens of this step, counted or not.
    package let tokens: Int
    package let tokensPerSecond: Double
    /// Seconds until the last step, at the mean speed since this process began the run; validations included.
    package let remainingSeconds: Double
}

/// One validation.
package struct ValidationReport: Codable, Sendable, Equatable {
    /// Steps done before it.
    package let step: Int
    /// Nats per token that counts.
    package let loss: Double
    /// Whether it is the lowest so far.
    package let isBest: Bool
}

/// How a run ended. The parameters hold the result.
package struct TrainingOutcome: Sendable, Equatable {
    package enum Ending: Sendable, Equatable {
        /// All steps are done.
        case completed
        /// The validation loss had not fallen for as long as the patience.
        case stoppedEarly
        /// Its time was up: it has what it learned so far.
        case cut
        /// It was asked to stop and can continue from its checkpoint.
        case stopped
    }

    package let ending: Ending
    /// Steps done.
    package let step: Int
    /// Steps of the whole run.
    package let steps: Int
    /// Loss of the last step; `nil` when none was done.
    package let lastLoss: Double?
    /// Tokens seen in training, counted or not.
    package let tokens: Int
    /// Every validation, in order.
    package let validations: [ValidationReport]
    /// The validation whose weights the parameters now hold; `nil` without validation, and for a stopped run, which
    /// holds its last weights.
    package let best: ValidationReport?
}
