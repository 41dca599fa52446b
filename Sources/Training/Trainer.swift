package import Foundation
package import Layers
package import TensorCore

/// Trains parameters of a model, and goes on exactly where a killed run left off.
///
/// A step runs its micro-batches forward and backward with the loss `Σ nll / (targets of the step)`, clips, and takes
/// one AdamW step. Order and dropout are functions of seed and step, so a run that continues from a checkpoint computes
/// the bytes that the uninterrupted one would have. The base is frozen by whoever made the model; only the parameters
/// given here change.
package final class Trainer {
    /// Optimizer steps of the whole run.
    package var stepCount: Int { plan.stepCount }

    private let model: any SequenceModel
    private let parameters: [Parameter]
    private let options: TrainingOptions
    private let training: TokenDataset
    private let validation: TokenDataset?
    private let hiding: TokenHiding?
    private let plan: BatchPlan
    /// Of the first epoch: the others differ little, and a run that goes on from a checkpoint must find the same.
    private lazy var largestMicroBatch = plan.largestMicroBatch(inEpoch: 0)
    private let schedule: LearningRateSchedule
    private let fingerprint: [String: String]

    private var state: TrainingState
    private var optimizer: AdamW
    /// The weights of the best validation, by name.
    private var bestWeights: [String: Tensor] = [:]

    /// Prepares a run, and reads both datasets once to check them.
    ///
    /// - Parameters:
    ///   - parameters: what is trained, each under a name of its own; they become trainable here.
    ///   - hiding: how tokens are hidden, for a model that finds them.
    ///   - identity: what else makes this run, such as the digest of the base and the options of the adapter; a
    ///     checkpoint of a run with another identity is refused.
    /// - Throws: ``TrainingError``: `invalidInput`, `nothingToTrain`, `malformed` data, `tooLong` for a sequence beyond
    ///   the model's context, `vocabulary` for ids beyond its vocabulary.
    /// - Precondition: no name twice.
    package init(
        model: any SequenceModel, parameters: [Parameter], options: TrainingOptions, training: TokenDataset,
        validation: TokenDataset? = nil, hiding: TokenHiding? = nil, identity: [String: String] = [:]
    ) throws {
        precondition(Set(parameters.map(\.name)).count == parameters.count, "Trainer: two parameters share a name")
        try options.validate()
        guard model.task != .maskedLM || hiding != nil else {
            throw TrainingError(.invalidInput, "a model for hidden tokens is trained, and no mask token is given")
        }
        self.hiding = hiding
        guard !parameters.isEmpty else { throw TrainingError(.nothingToTrain, "no parameter of the model is trained") }
        for dataset in [training] + (validation.map { [$0] } ?? []) {
            try dataset.verify()
            try checkVocabulary(dataset.vocabularySize, of: model, in: dataset.path)
            try checkLabels(of: dataset, for: model)
        }
        // Of pairs each text has a context of its own.
        guard model.task == .featureExtraction || training.longest <= model.contextLength else {
            throw TrainingError(
                .tooLong,
                "\(training.path): a sequence has \(training.longest) tokens; the model's context holds "
                    + "\(model.contextLength). Tokenise with a smaller max_length")
        }
        if let validation, validation.targetCount == 0 {
            throw TrainingError(
                .invalidInput, "\(validation.path): none of its tokens counts, so no loss can be measured")
        }
        self.model = model
        self.parameters = parameters
        self.options = options
        self.training = training
        self.validation = validation
        plan = try BatchPlan(
            training, duration: options.duration, stepSize: options.stepSize, microBatchSize: options.microBatchSize,
            packing: options.packing, seed: options.seed)
        schedule = LearningRateSchedule(
            options.schedule, warmupSteps: options.warmupSteps(stepCount: plan.stepCount), stepCount: plan.stepCount)
        fingerprint = TrainingFingerprint.of(
            options, parameters: parameters, training: training, validation: validation, identity: identity)
        state = TrainingState(fingerprint: fingerprint)
        optimizer = AdamW(options.optimizer)
    }

    /// Runs to the end, or until it is asked to stop.
    ///
    /// With validation, the parameters end as they were at the lowest validation loss. A run that has ended already is
    /// only read back.
    ///
    /// - Parameters:
    ///   - checkpoints: the folder to write to, and to continue from; `nil` writes none.
    ///   - resumingFrom: another folder of checkpoints, such as an earlier attempt's, that is only read. Whichever has
    ///     done more steps is taken.
    ///   - mustEnd: asked at the beginning and after each step, with the steps done and the seconds that another one would
    ///     take with the validation that follows; when it says yes a checkpoint is written, what there is is validated, and the
    ///     outcome is `cut`. The schedule of the learning rate is not shortened: the steps are those of the whole run.
    ///   - clock: seconds that never step back.
    ///   - shouldStop: asked after each step; when it says yes a checkpoint is written and the outcome is `stopped`.
    ///   - onEvent: told what happens; what it throws ends the run where it is, without a checkpoint.
    /// - Throws: ``TrainingError``: `nonFiniteLoss` with step and parameter, `checkpointMismatch` with what differs,
    ///   `system`, `noSpace` or a ``WeightFileError`` for what the disk refuses.
    package func run(
        checkpoints: URL? = nil, interval: CheckpointInterval = CheckpointInterval(), resumingFrom: URL? = nil,
        mustEnd: (_ step: Int, _ needed: Double) -> Bool = { _, _ in false },
        clock: () -> Double = Trainer.monotonicSeconds, shouldStop: () -> Bool = { false },
        onEvent: (TrainingEvent) throws -> Void
    ) throws -> TrainingOutcome {
        let folder = checkpoints.map { CheckpointFolder(url: $0) }
        prepareParameters()
        var savedStep = try resume(own: folder, other: resumingFrom.map { CheckpointFolder(url: $0) }, onEvent)
        try onEvent(.started(step: state.step, steps: stepCount))

        let begin = (time: clock(), step: state.step)
        var savedTime = begin.time
        func save() throws {
            guard let folder, savedStep != state.step else { return }
            try write(to: folder) { try onEvent(.checkpointAssembled(step: state.step)) }
            (savedTime, savedStep) = (clock(), state.step)
            try onEvent(.checkpointed(step: state.step))
        }

        var isStopped = false
        var isCut = state.step < stepCount && !state.hasStoppedEarly && mustEnd(state.step, 0)
        var (stepSeconds, validationSeconds) = (0.0, Double?.none)
        let firstEpoch = plan.epoch(ofStep: min(state.step, stepCount - 1))
        epochs: for epoch in firstEpoch..<plan.epochCount {
            for step in plan.steps(inEpoch: epoch) where step.index >= state.step {
                if state.hasStoppedEarly || isCut { break epochs }
                let start = clock()
                let result = try take(step)
                let end = clock()
                let report = report(
                    step, result, seconds: end - start, elapsed: end - begin.time, since: begin.step)
                try onEvent(.stepped(report))
                if try validateIfDue(step, onEvent) { validationSeconds = clock() - end }
                if state.step == stepCount || state.hasStoppedEarly { break epochs }
                let stepsSince = state.step - (savedStep ?? begin.step)
                let isDue =
                    interval.steps.map { stepsSince >= $0 } ?? false
                    || interval.seconds.map { clock() - savedTime >= $0 } ?? false
                isStopped = shouldStop()
                // Steps differ: the slowest of late is what the next one may take.
                stepSeconds = max(end - start, 0.9 * stepSeconds)
                isCut = mustEnd(
                    state.step, 1.2 * (stepSeconds + (validationSeconds ?? estimatedValidation(step, end - start))))
                if isDue || isStopped || isCut { try save() }
                if isStopped { break epochs }
            }
        }
        // What stops has a checkpoint, whatever time is left.
        if isStopped { isCut = false }
        if isCut, state.step > 0 {
            try save()
            // After the checkpoint, so that a run that goes on from there is the one that was never cut.
            if validation != nil, state.validations.last?.step != state.step { try validate(onEvent) }
        }
        if !isStopped {
            if !isCut { try save() }
            restoreBest()
        }
        return TrainingOutcome(
            ending: isStopped ? .stopped : isCut ? .cut : state.hasStoppedEarly ? .stoppedEarly : .completed,
            step: state.step,
            steps: stepCount, lastLoss: state.lastLoss, tokens: state.tokens, validations: state.validations,
            best: isStopped ? nil : state.best)
    }

    /// Seconds since some moment, from a clock that never steps back.
    package static func monotonicSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    // MARK: Steps

    private struct StepResult {
        let loss: Double
        let learningRate: Double
        let gradientNorm: Double
    }

    /// One optimizer step.
    private func take(_ step: BatchPlan.Step) throws -> StepResult {
        for parameter in parameters { parameter.zeroGradient() }
        let dropout = RandomStream(seed: options.seed).substream("dropout").substream(step.index)
        let parts = plan.microBatches(of: step)
        let (targets, draw) = try targets(of: step, parts)
        let scale = 1 / Float(targets)
        var sum = 0.0
        for (index, sequences) in parts.enumerated() {
            let batch = batch(sequences, of: step, draw: draw)
            guard batch.targetCount > 0 else { continue }
            var context = ForwardContext(dropout: dropout.substream(index))
            context.recomputesLayers = options.recomputesLayers
            Autograd.keeping(model.products) {
                let scored = model.score(batch, scale: scale, context: context)
                sum = scored.negativeLogLikelihoods.reduce(sum) { $0 + Double($1) }
                scored.loss.backward()
            }
        }
        guard parameters.contains(where: { $0.gradient != nil }) else {
            throw TrainingError(
                .nothingToTrain,
                "none of the \(parameters.count) trained parameters, such as \(parameters[0].name), takes part in "
                    + "the loss")
        }
        // Gradients first: their message names a parameter.
        let norm = try GradientNorm.measure(parameters, step: step.index + 1)
        let loss = sum / Double(targets)
        guard loss.isFinite else {
            throw TrainingError(
                .nonFiniteLoss,
                "step \(step.index + 1): the loss is \(loss), and no gradient of \(parameters[0].name) or "
                    + "another trained parameter shows why; look for a broken weight in the base")
        }
        let rate = options.learningRate * schedule.factor(step: step.index)
        let clip = options.clipNorm.flatMap { $0 > 0 ? GradientNorm.clippingFactor(norm: norm, maximum: $0) : nil }
        optimizer.step(parameters, learningRate: rate, gradientScale: clip ?? 1)
        for parameter in parameters { parameter.zeroGradient() }
        state.step = step.index + 1
        state.tokens += step.tokens
        state.lastLoss = loss
        return StepResult(loss: loss, learningRate: rate, gradientNorm: norm)
    }

    /// What the model sees of some of a step's sequences.
    ///
    /// - Parameter draw: which choice of hidden tokens.
    private func batch(_ sequences: ArraySlice<Int>, of step: BatchPlan.Step, draw: Int) -> TokenBatch {
        guard model.task == .maskedLM, let hiding else { return TokenBatch(training, sequences, for: model.task) }
        let stream = RandomStream(seed: options.seed).substream("hiding").substream(step.epoch).substream(draw)
        return TokenBatch(training, sequences, hiding: hiding, stream)
    }

    /// What counts in a step. Tokens are hidden by chance: of those that count, the ones that are; and where no single
    /// one is, another draw decides.
    private func targets(of step: BatchPlan.Step, _ parts: [ArraySlice<Int>]) throws -> (count: Int, draw: Int) {
        guard model.task == .maskedLM else { return (step.targets, 0) }
        for draw in 0..<1000 {
            let count = parts.reduce(0) { $0 + batch($1, of: step, draw: draw).targetCount }
            if count > 0 { return (count, draw) }
        }
        throw TrainingError(.nothingToTrain, "step \(step.index + 1) has no token that could be hidden")
    }

    private func report(
        _ step: BatchPlan.Step, _ result: StepResult, seconds: Double, elapsed: Double, since first: Int
    ) -> StepReport {
        StepReport(
            step: state.step, steps: stepCount, epoch: step.epoch + 1, loss: result.loss,
            learningRate: result.learningRate,
            gradientNorm: result.gradientNorm, tokens: step.tokens,
            tokensPerSecond: Double(step.tokens) / max(seconds, 1e-9),
            remainingSeconds: elapsed / Double(state.step - first) * Double(stepCount - state.step))
    }

    // MARK: Validation

    /// - Returns: whether it was.
    private func validateIfDue(_ step: BatchPlan.Step, _ onEvent: (TrainingEvent) throws -> Void) throws -> Bool {
        let isDue = options.validationInterval.map { state.step % $0 == 0 } ?? step.endsEpoch
        guard validation != nil, isDue || state.step == stepCount else { return false }
        try validate(onEvent)
        return true
    }

    /// How long the first validation may take, after a step of so many seconds: it has no backward pass, which is at least
    /// half of a step.
    private func estimatedValidation(_ step: BatchPlan.Step, _ seconds: Double) -> Double {
        guard let validation else { return 0 }
        return 0.5 * seconds * Double(validation.tokenCount) / Double(max(step.tokens, 1))
    }

    private func validate(_ onEvent: (TrainingEvent) throws -> Void) throws {
        guard let validation else { return }
        let batchTokens =
            switch options.microBatchSize {
            // No more than a step needs, so that memory is a matter of the steps alone.
            case .tokens(let tokens): min(tokens, largestMicroBatch)
            case .sequences(let sequences): sequences * max(1, min(validation.longest, model.contextLength))
            }
        let evaluation = try Evaluation(of: model, on: validation, batchTokens: batchTokens, hiding: hiding)
        guard let loss = evaluation.meanNegativeLogLikelihood, loss.isFinite else {
            throw TrainingError(
                .nonFiniteLoss, "step \(state.step): the validation loss is not finite; lower the learning rate")
        }
        let isBest = state.best.map { loss < $0.loss } ?? true
        let report = ValidationReport(step: state.step, loss: loss, isBest: isBest)
        state.validations.append(report)
        if isBest {
            state.best = report
            state.validationsWithoutImprovement = 0
            for parameter in parameters { bestWeights[parameter.name] = parameter.tensor.copied() }
        } else {
            state.validationsWithoutImprovement += 1
            if let patience = options.patience, state.validationsWithoutImprovement >= patience {
                state.hasStoppedEarly = true
            }
        }
        try onEvent(.validated(report))
    }

    private func restoreBest() {
        for parameter in parameters {
            if let best = bestWeights[parameter.name] { parameter.assign(best.copied()) }
        }
    }

    // MARK: Checkpoints

    /// Gives every parameter memory of its own, since steps change it in place.
    private func prepareParameters() {
        for parameter in parameters {
            parameter.assign(parameter.tensor.copied())
            parameter.isTrainable = true
        }
    }

    private func write(to folder: CheckpointFolder, assembled: () throws -> Void) throws {
        func source(_ name: String, _ tensor: Tensor) -> WeightSource {
            WeightSource(
                name: name, shape: tensor.shape, floats: UnsafeBufferPointer(start: tensor.pointer, count: tensor.count)
            )
        }
        state.optimizerSteps = optimizer.moments.mapValues(\.steps)
        let moments = optimizer.moments
        try withExtendedLifetime((parameters, moments, bestWeights)) {
            try folder.write(
                state, trained: parameters.map { source($0.name, $0.tensor) },
                optimizer: moments.flatMap { name, value in
                    [
                        source(CheckpointFolder.firstMoment + name, value.first),
                        source(CheckpointFolder.secondMoment + name, value.second),
                    ]
                },
                best: state.best == nil ? nil : bestWeights.map { source($0.key, $0.value) },
                assembled: assembled)
        }
    }

    /// Takes over the furthest checkpoint of the folders, if there is any.
    ///
    /// - Returns: its step, when it lies in the run's own folder.
    private func resume(
        own: CheckpointFolder?, other: CheckpointFolder?, _ onEvent: (TrainingEvent) throws -> Void
    ) throws -> Int? {
        func latest(_ folder: CheckpointFolder?) throws -> CheckpointFolder.Content? {
            try folder?.latest { try onEvent(.ignoredCheckpoint($0)) }
        }
        let (mine, theirs) = (try latest(own), try latest(other))
        let isMine = (mine?.state.step ?? -1) >= (theirs?.state.step ?? -1)
        guard let latest = isMine ? mine : theirs else { return nil }
        let earlier = [TrainingFingerprint.microBatch: options.earlierMicroBatchSizes.map { "\($0)" }]
        try latest.state.check(fingerprint, earlier: earlier, path: latest.url.path(percentEncoded: false))
        func tensor(_ name: String, _ parameter: Parameter, in file: SafetensorsFile) throws -> Tensor {
            let tensor = Tensor(uninitialized: parameter.tensor.shape)
            try file.readFloats(name, into: UnsafeMutableBufferPointer(start: tensor.pointer, count: tensor.count))
            return tensor
        }
        state = latest.state
        state.fingerprint = fingerprint
        optimizer = AdamW(options.optimizer)
        bestWeights = [:]
        for parameter in parameters {
            parameter.assign(try tensor(parameter.name, parameter, in: latest.trained))
            if let steps = state.optimizerSteps[parameter.name] {
                optimizer.moments[parameter.name] = AdamW.Moments(
                    steps: steps,
                    first: try tensor(CheckpointFolder.firstMoment + parameter.name, parameter, in: latest.optimizer),
                    second: try tensor(CheckpointFolder.secondMoment + parameter.name, parameter, in: latest.optimizer))
            }
            if let best = latest.best { bestWeights[parameter.name] = try tensor(parameter.name, parameter, in: best) }
        }
        return isMine ? state.step : nil
    }
}
