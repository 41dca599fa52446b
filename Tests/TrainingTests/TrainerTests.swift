import Foundation
import Layers
import TensorCore
import TestSupport
import Testing

@testable import Training

/// A kill: nothing after it runs.
private struct Killed: Error {}

extension Trainer {
    /// Runs to the end, with no one listening.
    @discardableResult
    fileprivate func finish(checkpoints: URL? = nil) throws -> TrainingOutcome {
        try run(checkpoints: checkpoints) { _ in }
    }

    /// The trained values, by name.
    fileprivate static func bytes(_ model: TinyModel) -> [String: [UInt32]] {
        Dictionary(uniqueKeysWithValues: model.parameters.map { ($0.name, $0.tensor.values.map(\.bitPattern)) })
    }
}

private func options(_ change: (inout TrainingOptions) -> Void = { _ in }) -> TrainingOptions {
    var options = TrainingOptions()
    options.duration = .epochs(2)
    options.stepSize = .tokens(60)
    options.microBatchSize = .tokens(25)
    options.learningRate = 2e-2
    options.warmup = .steps(2)
    options.optimizer.weightDecay = 0.01
    options.seed = 11
    change(&options)
    return options
}

private func trainer(
    _ model: TinyModel, _ training: Samples, _ validation: Samples? = nil, _ options: TrainingOptions,
    identity: [String: String] = [:]
) throws -> Trainer {
    try Trainer(
        model: model, parameters: model.parameters, options: options, training: training.dataset,
        validation: validation?.dataset, identity: identity)
}

@Suite struct TrainerTests {
    init() { Parallel.threadCount = 2 }

    @Test func lossFalls() throws {
        let samples = try Samples(count: 60)
        var losses: [Double] = []
        let outcome = try trainer(TinyModel(), samples, nil, options { $0.duration = .epochs(8) }).run { event in
            if case .stepped(let report) = event {
                losses.append(report.loss)
                #expect(report.step == losses.count && report.gradientNorm > 0 && report.remainingSeconds >= 0)
            }
        }
        #expect(outcome.ending == .completed && outcome.step == losses.count && outcome.step == outcome.steps)
        #expect(losses.last! < losses[0] - 0.8, "\(losses)")
        #expect(outcome.lastLoss == losses.last && outcome.best == nil)
        #expect(outcome.tokens == 8 * samples.dataset.tokenCount)
    }

    @Test func theFirstStepOfAWarmUpChangesNothing() throws {
        let samples = try Samples(count: 20)
        let model = TinyModel()
        let before = Trainer.bytes(model)
        let run = try trainer(model, samples, nil, options())
        #expect(throws: Killed.self) {
            try run.run { if case .stepped = $0 { throw Killed() } }
        }
        #expect(Trainer.bytes(model) == before)
    }

    @Test func theCutIntoMicroBatchesChangesOnlyRounding() throws {
        let samples = try Samples(count: 40, masked: true)
        func result(_ size: BatchPlan.MicroBatchSize) throws -> (norms: [Double], losses: [Double]) {
            var norms: [Double] = [], losses: [Double] = []
            try _ = trainer(
                TinyModel(), samples, nil,
                options {
                    $0.microBatchSize = size
                    $0.learningRate = 0
                }
            ).run { event in
                if case .stepped(let report) = event {
                    norms.append(report.gradientNorm)
                    losses.append(report.loss)
                }
            }
            return (norms, losses)
        }
        let whole = try result(.tokens(10_000))
        for size in [BatchPlan.MicroBatchSize.tokens(1), .tokens(25), .sequences(3)] {
            let other = try result(size)
            for (a, b) in zip(whole.norms, other.norms) { #expect(abs(a - b) < 1e-5 * a) }
            for (a, b) in zip(whole.losses, other.losses) { #expect(abs(a - b) < 1e-6 * a) }
        }
    }

    @Test func accumulatedGradientsAreThoseOfTheMeanOverTheTargets() throws {
        let samples = try Samples(count: 12, masked: true)
        func gradients(_ size: BatchPlan.MicroBatchSize) throws -> [String: [Float]] {
            let model = TinyModel()
            for parameter in model.parameters { parameter.isTrainable = true }
            let plan = try BatchPlan(
                samples.dataset, duration: .steps(1), stepSize: .sequences(12), microBatchSize: size, seed: 1)
            let step = plan.steps(inEpoch: 0)[0]
            #expect(step.targets == samples.dataset.targetCount)
            for part in plan.microBatches(of: step) {
                model.score(
                    TokenBatch(samples.dataset, part), scale: 1 / Float(step.targets), context: ForwardContext()
                )
                .loss.backward()
            }
            return Dictionary(uniqueKeysWithValues: model.parameters.map { ($0.name, $0.gradient?.values ?? []) })
        }
        let whole = try gradients(.tokens(10_000)), parts = try gradients(.sequences(1))
        for (name, values) in whole {
            for (a, b) in zip(values, parts[name]!) { #expect(abs(a - b) < 1e-6, "\(name)") }
        }
    }

    @Test func onlyWhatIsGivenIsTrained() throws {
        let samples = try Samples(count: 20)
        let model = TinyModel()
        let before = Trainer.bytes(model)
        try _ = Trainer(
            model: model, parameters: [model.outputHead], options: options(), training: samples.dataset
        ).finish()
        for (name, values) in Trainer.bytes(model) { #expect((values == before[name]) == (name != "head"), "\(name)") }
    }

    @Test func theResultIsTheBestValidationAndPatienceEndsTheRun() throws {
        // Validation on other text: at this rate the loss there rises soon.
        let training = try Samples(count: 20, seed: 1), validation = try Samples(count: 20, seed: 99)
        let model = TinyModel()
        var atStep: [Int: [String: [UInt32]]] = [:]
        var losses: [ValidationReport] = []
        let outcome = try trainer(
            model, training, validation,
            options {
                $0.duration = .epochs(40)
                $0.learningRate = 0.1
                $0.schedule = .constant
                $0.patience = 3
            }
        ).run { event in
            if case .stepped(let report) = event { atStep[report.step] = Trainer.bytes(model) }
            if case .validated(let report) = event { losses.append(report) }
        }
        #expect(outcome.ending == .stoppedEarly && outcome.step < outcome.steps)
        #expect(outcome.validations == losses)
        let best = try #require(outcome.best)
        #expect(best.loss == losses.map(\.loss).min() && best.step == losses[losses.count - 4].step)
        #expect(losses.suffix(3).allSatisfy { !$0.isBest })
        #expect(Trainer.bytes(model) == atStep[best.step])
        let again = try Evaluation(of: model, on: validation.dataset, batchTokens: 25).meanNegativeLogLikelihood
        #expect(again == best.loss)
    }

    @Test func validationComesAtItsStepsAndAtTheEnd() throws {
        let training = try Samples(count: 40), validation = try Samples(count: 5, seed: 2)
        func steps(_ interval: Int?) throws -> (validated: [Int], count: Int, run: Trainer) {
            let run = try trainer(TinyModel(), training, validation, options { $0.validationInterval = interval })
            let outcome = try run.finish()
            return (outcome.validations.map(\.step), outcome.steps, run)
        }
        let every = try steps(3)
        let expected = Set((1...every.count).filter { $0 % 3 == 0 } + [every.count])
        #expect(Set(every.validated) == expected && every.validated.count == expected.count)
        let epochs = try steps(nil)
        #expect(epochs.validated.count == 2 && epochs.validated.last == epochs.count)
    }

    @Test func lossesThatAreNotFiniteEndTheRunWithStepAndParameter() throws {
        let samples = try Samples(count: 20)
        let model = TinyModel()
        model.outputHead.tensor.pointer[0] = .nan
        let error = try #require(throws: TrainingError.self) { try trainer(model, samples, nil, options()).finish() }
        #expect(error.code == .nonFiniteLoss)
        #expect(error.description.contains("step 1") && error.description.contains("embedding"))
    }

    @Test func whatCannotBeTrainedIsRefused() throws {
        let samples = try Samples(count: 20)
        func code(
            _ model: TinyModel = TinyModel(), _ change: (inout TrainingOptions) -> Void = { _ in }
        ) throws -> TrainingError.Code {
            try #require(throws: TrainingError.self) { try trainer(model, samples, nil, options(change)) }.code
        }
        #expect(try code(TinyModel(contextLength: 5)) == .tooLong)
        #expect(try code(TinyModel(vocabularySize: 9)) == .vocabulary)
        #expect(try code { $0.learningRate = .nan } == .invalidInput)
        #expect(try code { $0.warmup = .fraction(3) } == .invalidInput)
        #expect(try code { $0.patience = 0 } == .invalidInput)
        #expect(try code { $0.stepSize = .tokens(0) } == .invalidInput)
        let model = TinyModel()
        let none = try #require(throws: TrainingError.self) {
            try Trainer(model: model, parameters: [], options: options(), training: samples.dataset)
        }
        #expect(none.code == .nothingToTrain)
        let apart = try #require(throws: TrainingError.self) {
            try Trainer(
                model: model, parameters: [Parameter("apart", Tensor(zeros: [2]))], options: options(),
                training: samples.dataset
            ).finish()
        }
        #expect(apart.code == .nothingToTrain && apart.description.contains("apart"))
    }
}

@Suite struct ResumeTests {
    private let training: Samples
    private let validation: Samples
    private let folder: TemporaryFolder
    private let settings = options {
        $0.duration = .epochs(6)
        $0.validationInterval = 3
        $0.patience = 4
        $0.learningRate = 0.05
    }

    private var checkpoints: URL { folder.url.appending(path: "checkpoint") }

    init() throws {
        // Products depend on the number of threads, which is the whole process's: every test that sets it says 2.
        Parallel.threadCount = 2
        training = try Samples(count: 30, masked: true)
        validation = try Samples(count: 10, seed: 50)
        folder = try TemporaryFolder()
    }

    private func model() -> TinyModel { TinyModel(dropout: 0.2) }

    private func names() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: checkpoints.path).sorted()
    }

    private func uninterrupted() throws -> (bytes: [String: [UInt32]], outcome: TrainingOutcome, losses: [Double]) {
        let model = model()
        var losses: [Double] = []
        let outcome = try trainer(model, training, validation, settings).run {
            if case .stepped(let report) = $0 { losses.append(report.loss) }
        }
        return (Trainer.bytes(model), outcome, losses)
    }

    /// Runs with a fresh model until `step`, where it is killed between the step and its checkpoint.
    private func runAndKill(at step: Int, every interval: Int, resumingFrom: URL? = nil) throws {
        let run = try trainer(model(), training, validation, settings)
        #expect(throws: Killed.self) {
            try run.run(
                checkpoints: checkpoints, interval: CheckpointInterval(steps: interval, seconds: nil),
                resumingFrom: resumingFrom
            ) {
                if case .stepped(let report) = $0, report.step == step { throw Killed() }
            }
        }
    }

    @Test func dropoutIsOnInTheseTests() throws {
        let other = TinyModel()
        try _ = trainer(other, training, validation, settings).finish()
        #expect(try uninterrupted().bytes != Trainer.bytes(other))
    }

    @Test(arguments: [(1, 1), (2, 1), (7, 2), (11, 5), (16, 3)])
    func aKilledRunEndsInTheSameBytes(kill: Int, interval: Int) throws {
        let expected = try uninterrupted()
        try runAndKill(at: kill, every: interval)
        let model = model()
        var started: Int?
        var losses: [Int: Double] = [:]
        let outcome = try trainer(model, training, validation, settings).run(checkpoints: checkpoints) {
            if case .started(let step, _) = $0 { started = step }
            if case .stepped(let report) = $0 { losses[report.step] = report.loss }
        }
        #expect(started == (kill - 1) / interval * interval)
        #expect(Trainer.bytes(model) == expected.bytes)
        #expect(outcome == expected.outcome)
        for (step, loss) in losses { #expect(loss == expected.losses[step - 1]) }
    }

    @Test func aRunKilledAgainAndAgainEndsInTheSameBytes() throws {
        let expected = try uninterrupted()
        try runAndKill(at: 3, every: 1)
        try runAndKill(at: 4, every: 1)
        try runAndKill(at: 9, every: 4)
        try runAndKill(at: 13, every: 2)
        let model = model()
        let outcome = try trainer(model, training, validation, settings).finish(checkpoints: checkpoints)
        #expect(Trainer.bytes(model) == expected.bytes && outcome == expected.outcome)
        #expect(try names() == ["step-\(outcome.step)"], "older checkpoints are removed")
    }

    @Test func earlyStoppingGoesOnCounting() throws {
        // A rate at which validation soon only gets worse.
        var settings = settings
        settings.learningRate = 0.3
        settings.schedule = .constant
        settings.duration = .epochs(30)
        settings.validationInterval = 1
        let whole = model()
        let expected = try trainer(whole, training, validation, settings).finish()
        #expect(expected.ending == .stoppedEarly)
        let run = try trainer(model(), training, validation, settings)
        #expect(throws: Killed.self) {
            try run.run(checkpoints: checkpoints, interval: CheckpointInterval(steps: 1, seconds: nil)) {
                if case .stepped(let report) = $0, report.step == expected.step - 1 { throw Killed() }
            }
        }
        let resumed = model()
        let outcome = try trainer(resumed, training, validation, settings).finish(checkpoints: checkpoints)
        #expect(outcome == expected && Trainer.bytes(resumed) == Trainer.bytes(whole))
        // Ended is ended: another run reads the result back and computes nothing.
        let again = model()
        var events: [TrainingEvent] = []
        let same = try trainer(again, training, validation, settings).run(checkpoints: checkpoints) {
            events.append($0)
        }
        #expect(same == expected && Trainer.bytes(again) == Trainer.bytes(whole))
        #expect(events == [.started(step: expected.step, steps: expected.steps)])
    }

    @Test func stoppingWritesACheckpointToGoOnFrom() throws {
        let expected = try uninterrupted()
        var steps = 0
        let stopped = try trainer(model(), training, validation, settings).run(
            checkpoints: checkpoints, interval: CheckpointInterval(steps: nil, seconds: nil),
            shouldStop: {
                steps += 1
                return steps == 5
            }
        ) { _ in }
        #expect(stopped.ending == .stopped && stopped.step == 5 && stopped.best == nil)
        #expect(try names() == ["step-5"])
        let model = model()
        #expect(try trainer(model, training, validation, settings).finish(checkpoints: checkpoints) == expected.outcome)
        #expect(Trainer.bytes(model) == expected.bytes)
    }

    @Test func aRunWhoseTimeIsUpEndsWithTheBestAndMayGoOnLater() throws {
        let expected = try uninterrupted()
        // Time for seven steps, of which each takes one second and a validation as long as is guessed.
        func cut(_ model: TinyModel) throws -> TrainingOutcome {
            try trainer(model, training, validation, settings).run(
                checkpoints: checkpoints, interval: CheckpointInterval(steps: nil, seconds: nil),
                mustEnd: { step, needed in
                    #expect(step == 0 || needed >= 0)
                    return step >= 7
                }
            ) { _ in }
        }
        let first = model()
        let outcome = try cut(first)
        #expect(outcome.ending == .cut && outcome.step == 7 && outcome.steps == expected.outcome.steps)
        #expect(outcome.validations.last?.step == 7, "the last weights count too")
        #expect(outcome.best == outcome.validations.min { $0.loss < $1.loss })
        #expect(try names() == ["step-7"])
        // A process that died before it could say so finds the same, and does not train on.
        let second = model()
        #expect(try cut(second) == outcome && Trainer.bytes(second) == Trainer.bytes(first))
        // With time again it ends as if there had been no limit.
        let whole = model()
        #expect(try trainer(whole, training, validation, settings).finish(checkpoints: checkpoints) == expected.outcome)
        #expect(Trainer.bytes(whole) == expected.bytes)
        // What has ended by itself is not cut any more.
        #expect(try cut(model()).ending == .completed)
    }

    @Test func withoutTimeNoStepIsTaken() throws {
        let outcome = try trainer(model(), training, validation, settings).run(mustEnd: { _, _ in true }) { _ in }
        #expect(outcome.ending == .cut && outcome.step == 0 && outcome.best == nil && outcome.validations.isEmpty)
        // Asked to stop and out of time at once, it stops: it can go on from there.
        let stopped = try trainer(model(), training, validation, settings).run(
            checkpoints: checkpoints, mustEnd: { step, _ in step > 0 }, shouldStop: { true }
        ) { _ in }
        #expect(stopped.ending == .stopped && stopped.step == 1)
    }

    @Test func whatANextStepNeedsIsForeseen() throws {
        var now = 0.0
        var needs: [Double] = []
        try _ = trainer(model(), training, validation, settings).run(
            mustEnd: { _, needed in
                now += 3
                needs.append(needed)
                return false
            }, clock: { now }
        ) {
            if case .validated = $0 { now += 40 }
        }
        // Three seconds pass between a step's beginning and end at most, and forty in a validation that has been seen.
        #expect(needs[0] == 0 && needs.last.map { $0 >= 48 } == true, "\(needs)")
    }

    @Test func anEarlierAttemptsFolderIsReadAndLeftAlone() throws {
        let expected = try uninterrupted()
        try runAndKill(at: 6, every: 2)
        let earlier = folder.url.appending(path: "earlier")
        try FileManager.default.moveItem(at: checkpoints, to: earlier)
        func content() throws -> [String: Data] {
            let files = FileManager.default.subpaths(atPath: earlier.path) ?? []
            return try Dictionary(
                uniqueKeysWithValues: files.filter { $0.contains(".safetensors") || $0.contains(".json") }.map {
                    ($0, try Data(contentsOf: earlier.appending(path: $0)))
                })
        }
        let before = try content()
        #expect(before.count == 4)
        // Killed again before it had a checkpoint of its own, and then after.
        try runAndKill(at: 5, every: 100, resumingFrom: earlier)
        try runAndKill(at: 9, every: 2, resumingFrom: earlier)
        let model = model()
        var started: Int?
        let outcome = try trainer(model, training, validation, settings).run(
            checkpoints: checkpoints, resumingFrom: earlier
        ) {
            if case .started(let step, _) = $0 { started = step }
        }
        #expect(started == 8, "its own folder is ahead")
        #expect(Trainer.bytes(model) == expected.bytes && outcome == expected.outcome)
        #expect(try content() == before)
    }

    @Test func checkpointsComeWithTimeToo() throws {
        var now = 0.0
        var written: [Int] = []
        try _ = trainer(model(), training, validation, settings).run(
            checkpoints: checkpoints, interval: CheckpointInterval(steps: nil, seconds: 25), clock: { now }
        ) {
            if case .stepped = $0 { now += 10 }
            if case .checkpointed(let step) = $0 { written.append(step) }
        }
        #expect(written.prefix(3) == [3, 6, 9])
    }

    @Test(arguments: ["state.json", "trained.safetensors", "optimizer.safetensors", "best.safetensors"])
    func aTornCheckpointIsPassedOver(file: String) throws {
        let expected = try uninterrupted()
        try runAndKill(at: 5, every: 4)
        // What a kill between the rename and the removal of the older one leaves, with the newer one torn.
        let torn = checkpoints.appending(path: "step-9")
        try FileManager.default.copyItem(at: checkpoints.appending(path: "step-4"), to: torn)
        let victim = torn.appending(path: file)
        let data = try Data(contentsOf: victim)
        try data.prefix(data.count / 2).write(to: victim)
        // An empty name, a half-written temporary folder, and something that is no checkpoint.
        for name in ["step-12", ".step-5.x.tmp", "step-x"] {
            try FileManager.default.createDirectory(
                at: checkpoints.appending(path: name), withIntermediateDirectories: true)
        }
        let model = model()
        var ignored: [String] = []
        var started: Int?
        let outcome = try trainer(model, training, validation, settings).run(
            checkpoints: checkpoints, interval: CheckpointInterval(steps: 5, seconds: nil)
        ) {
            if case .ignoredCheckpoint(let why) = $0 { ignored.append(why) }
            if case .started(let step, _) = $0 { started = step }
        }
        #expect(started == 4 && ignored.count == 2)
        #expect(ignored[0].contains("step-12") && ignored[1].contains("step-9"))
        #expect(Trainer.bytes(model) == expected.bytes && outcome == expected.outcome)
        #expect(try names() == ["step-\(outcome.step)", "step-x"])
    }

    @Test func aFlippedBitIsFound() throws {
        try runAndKill(at: 5, every: 4)
        let victim = checkpoints.appending(path: "step-4/optimizer.safetensors")
        var data = try Data(contentsOf: victim)
        data[data.count - 5] ^= 1
        try data.write(to: victim)
        var started: Int?
        try _ = trainer(model(), training, validation, settings).run(checkpoints: checkpoints) {
            if case .started(let step, _) = $0 { started = step }
        }
        #expect(started == 0)
    }

    @Test func aRunGoesOnWithSmallerMicroBatchesWhenItSaysSo() throws {
        let expected = try uninterrupted()
        try runAndKill(at: 5, every: 4)
        var smaller = settings
        smaller.microBatchSize = .tokens(12)
        let error = try #require(throws: TrainingError.self) {
            try trainer(model(), training, validation, smaller).finish(checkpoints: checkpoints)
        }
        #expect(error.code == .checkpointMismatch && error.description.contains("micro_batch"))
        smaller.earlierMicroBatchSizes = [settings.microBatchSize]
        var started: Int?
        let outcome = try trainer(model(), training, validation, smaller).run(checkpoints: checkpoints) {
            if case .started(let step, _) = $0 { started = step }
        }
        #expect(started == 4 && outcome.step == expected.outcome.step)
        // The same steps over the same tokens, in smaller parts.
        let (loss, other) = (try #require(outcome.lastLoss), try #require(expected.outcome.lastLoss))
        #expect(outcome.tokens == expected.outcome.tokens && abs(loss - other) < 0.5 * other, "\(loss) \(other)")
        // What is written from now on is of the smaller one.
        smaller.earlierMicroBatchSizes = []
        try trainer(model(), training, validation, smaller).finish(checkpoints: checkpoints)
    }

    @Test func aCheckpointOfAnotherRunIsRefusedWithWhatDiffers() throws {
        try runAndKill(at: 5, every: 2)
        func message(_ run: Trainer) throws -> String {
            let error = try #require(throws: TrainingError.self) { try run.finish(checkpoints: checkpoints) }
            #expect(error.code == .checkpointMismatch)
            return error.description
        }
        var changed = settings
        changed.learningRate = 0.06
        changed.seed = 12
        let options = try message(trainer(model(), training, validation, changed))
        #expect(options.contains("learning_rate was 0.05 and is now 0.06") && options.contains("seed"))
        #expect(!options.contains("training_data"))
        let other = try Samples(count: 31, masked: true)
        #expect(try message(trainer(model(), other, validation, settings)).contains("training_data"))
        #expect(try message(trainer(model(), training, nil, settings)).contains("validation_data"))
        let base = try trainer(model(), training, validation, settings, identity: ["base": "sha256:1"])
        #expect(try message(base).contains("identity.base was absent and is now sha256:1"))
        let head = model()
        let fewer = try Trainer(
            model: head, parameters: [head.outputHead], options: settings, training: training.dataset,
            validation: validation.dataset)
        #expect(try message(fewer).contains("parameters"))
    }

    @Test func whatCannotBeWrittenLeavesNothingBehind() throws {
        struct Refused: Error {}
        let folder = CheckpointFolder(url: checkpoints)
        let whole = WeightSource(name: "a", shape: [1]) { Tensor([1], shape: [1]) }
        let refused = WeightSource(name: "b", dtype: .float32, shape: [1]) { _ in throw Refused() }
        try folder.write(TrainingState(fingerprint: [:], step: 1), trained: [whole], optimizer: [whole], best: nil)
        #expect(throws: Refused.self) {
            try folder.write(
                TrainingState(fingerprint: [:], step: 2), trained: [whole], optimizer: [refused], best: nil)
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: checkpoints.path) == ["step-1"])
    }

    @Test func aFullDiskHasACodeOfItsOwn() {
        for (code, expected) in [(ENOSPC, TrainingError.Code.noSpace), (EDQUOT, .noSpace), (EIO, .system)] {
            errno = code
            #expect(OutputFile.failure("train.tokens", "cannot be written").code == expected)
        }
    }
}
