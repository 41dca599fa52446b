import Adapters
import Foundation
import Layers
import Models
import PipelineSpec
import TensorCore
import Training

/// Trains an adapter on a frozen base, or every weight of it.
///
/// Output: `adapter/` in PEFT's format, or `model/` as a Hugging Face checkpoint for `method: full`, and `training.json` with the
/// loss curve. Continues exactly from its own checkpoint, or from an earlier attempt's.
enum TrainStage: Stage {
    static let descriptor = StageDescriptor(
        kind: "train", version: 4, manifestKeys: ["adapter", "train", "data.packing", "run.threads"],
        inputs: [.base, .tokenizer],
        requires: ["tokenize"], endsEarly: true)

    /// What `training.json` says.
    struct Report: Codable {
        struct Point: Codable {
            var step: Int
            var loss: Double
            /// That of the step; only of points of the curve.
            var learningRate: Double?
        }

        var steps: Int
        /// The steps there were to do, where a budget ended it before.
        var plannedSteps: Int?
        var stoppedEarly: Bool
        /// Tokens that went through the model.
        var trainedTokens: Int
        var trainedParameters: Int
        var precision: String
        /// Whether the backward pass computed each layer again.
        var recomputedLayers: Bool
        /// Most tokens in one forward pass; results depend on it in the last bits.
        var microBatchTokens: Int
        /// Mean training loss over equal parts of the run, in nats per trained token.
        var curve: [Point]
        var validations: [Point]
        /// The step whose weights are the result, when validation chose one.
        var bestStep: Int?
        /// The version that training went on from.
        var parent: PinnedVersion?
        /// How many sequences were trained on that are older than the parent, and how many newer, where not all were.
        var older: Int?
        var newer: Int?
    }

    static func run(_ run: StageRun) throws {
        let tokens = try run.input("tokenize")
        let warmStart = try WarmStart(run)
        let selection = try warmStart?.select(from: tokens)
        let training = try selection?.dataset ?? TokenDataset(tokens.appending(path: SplitName.train.tokensFile))
        let validation = try TokenDataset(tokens.appending(path: SplitName.validation.tokensFile))
        run.report(0, "loading \(run.base.lastPathComponent)")
        let task = try run.task()
        let model = try loadBase(run, for: task)
        let product = try Product(model, run, task, from: warmStart)
        try product.check(run, classes: task.classes)
        let sizes = TrainingSizes(run.manifest, task, longest: training.longest)
        var options = sizes.options(halvings: run.request.memoryHalvings ?? 0)
        options.recomputesLayers = try recomputesLayers(run, task, model, longest: sizes.longest)
        let trainer = try Trainer(
            model: model, parameters: product.parameters, options: options, training: training,
            validation: validation.targetCount > 0 ? validation : nil, hiding: task.hiding(model),
            identity: try identity(run, warmStart))
        let bytes = 4 * product.parameters.reduce(0) { $0 + $1.tensor.count }
        let limit = run.request.limit.map { TrainingLimit($0, since: run.began, productBytes: bytes) }
        var monitor = Monitor(run, sizes, limit)
        let outcome = try run.keepingCheckpoints {
            try trainer.run(
                checkpoints: run.directory.checkpoint, interval: checkpointInterval(run),
                resumingFrom: run.request.resumeFrom.map { URL(filePath: $0, directoryHint: .isDirectory) },
                mustEnd: { limit?.ends(after: $0, needing: $1) ?? false },
                shouldStop: { run.isStopRequested }, onEvent: { try monitor.take($0) })
        }
        guard outcome.ending != .stopped else { throw StageError.stopped }
        if outcome.ending == .cut {
            guard outcome.step > 0 else {
                throw StageError(
                    "budget_spent",
                    "run.budget left no time for a single one of \(outcome.steps) steps; give it more, or let it begin earlier"
                )
            }
            run.cut = StageCut(step: outcome.step, steps: outcome.steps)
            run.log("budget: \(run.cut?.text ?? "")")
        }

        try product.write(run, classes: task.classes)
        let report = Report(
            steps: outcome.step, plannedSteps: outcome.ending == .cut ? outcome.steps : nil,
            stoppedEarly: outcome.ending == .stoppedEarly,
            trainedTokens: sizes.rows(outcome.tokens),
            trainedParameters: product.parameters.reduce(0) { $0 + $1.tensor.count },
            precision: run.manifest.trainingPrecision.rawValue,
            recomputedLayers: options.recomputesLayers, microBatchTokens: run.halved(sizes.microBatchTokens),
            curve: monitor.curve(),
            validations: outcome.validations.map { Report.Point(step: $0.step, loss: $0.loss) },
            bestStep: outcome.best?.step, parent: warmStart?.parent, older: selection?.older, newer: selection?.newer)
        try run.write(report, to: "training.json")
        run.metrics["steps"] = Double(outcome.step)
        if outcome.ending == .cut { run.metrics["planned_steps"] = Double(outcome.steps) }
        run.metrics["training_loss"] = outcome.lastLoss
        run.metrics[StageMetric.validationLoss] = outcome.best?.loss
        let operations = try operations(run, model, product, training, task)
        run.metrics[StageMetric.operationsPerToken] = operations
        run.metrics[StageMetric.precisionBits] = Double(run.manifest.trainingPrecision.bits)
        run.metrics[StageMetric.trainingGigaflops] = monitor.meanTokensPerSecond.map { $0 * operations / 1e9 }
        run.metrics["tokens_per_second"] = monitor.tokensPerSecond
        run.noteCost()
        run.report(1, "trained \(outcome.step) steps")
    }

    /// The floating-point operations of a token, counted as forecasts count them.
    private static func operations(
        _ run: StageRun, _ model: any SequenceModel, _ product: Product, _ training: TokenDataset, _ task: JobTask
    ) throws -> Double {
        let rows = TrainingSizes(run.manifest, task, longest: training.longest).rows(training.tokenCount)
        return TrainingOperations(
            model, trainedParameters: product.parameters.reduce(0) { $0 + $1.tensor.count },
            trainsAll: run.manifest.adapter.method == .full,
            trainedShare: Double(training.targetCount) / Double(max(training.tokenCount, 1)),
            sequence: rows / max(training.count, 1)
        ).perToken
    }

    private static func loadBase(_ run: StageRun, for task: JobTask) throws -> any SequenceModel {
        let seed = run.manifest.train.seed
        let matrixType = run.manifest.trainingPrecision.matrixType
        return switch run.manifest.base {
        case .folder:
            try ModelRegistry.load(
                folder: run.base, for: task.model, newHeadSeed: task.newHeadSeed(seed), matrixType: matrixType)
        case .random: try ModelRegistry.random(ModelConfiguration(folder: run.base), for: task.model, seed: seed)
        }
    }

    /// Whether memory is saved by computing layers again: as the manifest says, where the estimate is above what there is, or
    /// where memory has run out before.
    private static func recomputesLayers(
        _ run: StageRun, _ task: JobTask, _ model: any SequenceModel, longest: Int
    ) throws -> Bool {
        guard (model as? any LanguageModel)?.balanceLossWeight == nil else { return false }
        switch run.manifest.train.gradientCheckpointing {
        case .on: return true
        case .off: return false
        case .auto:
            if run.request.memoryHalvings ?? 0 > 0 { return true }
            return try MemoryEstimate(of: run.manifest, task, microBatches: nil, longestSequence: longest)
                .recomputesLayers
        }
    }

    /// What a checkpoint must agree with, besides options and data.
    private static func identity(_ run: StageRun, _ warmStart: WarmStart?) throws -> [String: String] {
        // Mappings have no order of their own.
        let adapter = String(decoding: try ProtocolJSON.encode(run.manifest.adapter), as: UTF8.self)
        var identity = [
            "numerics": "\(Numerics.version)", "adapter": adapter, "engine": EngineDescription.text,
            "precision": run.manifest.trainingPrecision.rawValue,
        ]
        for file in run.request.base { identity["base \(URL(filePath: file.path).lastPathComponent)"] = file.digest }
        identity["threads"] = "\(run.request.threads)"
        identity["parent"] = warmStart?.parent.digest
        return identity
    }

    /// An adapter is small: losing ten seconds is the most a crash should cost. A whole model is written once a minute.
    /// `LORAJOBS_CHECKPOINT_SECONDS` overrides both.
    private static func checkpointInterval(_ run: StageRun) -> CheckpointInterval {
        let override = ProcessInfo.processInfo.environment["LORAJOBS_CHECKPOINT_SECONDS"].flatMap(Double.init)
        return CheckpointInterval(seconds: override ?? (run.manifest.adapter.method == .full ? 60 : 10))
    }
}

/// What is trained, and how it is written.
private enum Product {
    case adapter(AttachedAdapter)
    case checkpoint(FullTraining)

    init(_ model: any SequenceModel, _ run: StageRun, _ task: JobTask, from warmStart: WarmStart?) throws {
        let adapter = run.manifest.adapter
        guard adapter.method != .full else {
            self = .checkpoint(try FullTraining(model))
            return
        }
        let method = try AdapterRegistry.method(named: adapter.method.rawValue)
        self = .adapter(
            try AttachedAdapter(
                method.init(AdapterOptions(manifest: adapter)), targets: TargetModules(manifest: adapter.targets),
                to: model,
                modulesToSave: task.model.modulesToSave + model.newModules + adapter.modulesToSave,
                seed: run.manifest.train.seed,
                dialect: NameDialect(adapter.names)
            ) { stored, optional in
                guard let warmStart else { return }
                try PEFTFolder.fill(stored, optional: optional, from: warmStart.folder)
            })
    }

    var parameters: [Parameter] {
        switch self {
        case .adapter(let adapter): adapter.parameters
        case .checkpoint(let full): full.parameters
        }
    }

    /// Finds what would keep ``write(_:classes:)`` from writing, before hours have gone into it.
    func check(_ run: StageRun, classes: [String]?) throws {
        guard case .checkpoint(let full) = self else { return }
        try CheckpointWriter.check(full.model, base: run.base, classes: classes)
    }

    func write(_ run: StageRun, classes: [String]?) throws {
        switch self {
        case .adapter(let adapter):
            try PEFTFolder.write(
                adapter, to: run.output.appending(path: TrainedProduct.adapterFolder),
                baseModelNameOrPath: BaseName(path: run.manifest.base.path).description)
        case .checkpoint(let full):
            try CheckpointWriter.write(
                full.model, to: run.output.appending(path: TrainedProduct.checkpointFolder), base: run.base,
                classes: classes)
        }
    }
}

/// Turns the trainer's events into progress, and keeps the loss curve.
private struct Monitor {
    private let run: StageRun
    private let sizes: TrainingSizes
    private let limit: TrainingLimit?
    private var losses: [(step: Int, loss: Double, learningRate: Double)] = []
    private var pending: [StepReport] = []
    private var lastReport = 0.0
    private(set) var tokensPerSecond: Double?
    /// Of the steps of this process: tokens, and seconds.
    private var total = (tokens: 0, seconds: 0.0, steps: 0)

    /// Progress lines are at most this often.
    private static let interval = 0.5
    /// Points of the curve that is kept.
    private static let curvePoints = 200

    init(_ run: StageRun, _ sizes: TrainingSizes, _ limit: TrainingLimit?) {
        self.run = run
        self.sizes = sizes
        self.limit = limit
    }

    mutating func take(_ event: TrainingEvent) throws {
        switch event {
        case .started(let step, let steps):
            run.log(step > 0 ? "continuing after step \(step) of \(steps)" : "training \(steps) steps")
        case .ignoredCheckpoint(let reason): run.log("checkpoint passed over: \(reason)")
        case .stepped(let report):
            step(report)
            try Failpoint.workerStepped.hit()
        case .validated(let report):
            run.log(
                "step \(report.step): validation loss \(String(format: "%.4f", report.loss))\(report.isBest ? ", best so far" : "")"
            )
        case .checkpointAssembled: try Failpoint.checkpointAssembled.hit()
        case .checkpointed(let step):
            run.log("checkpoint after step \(step)")
            try Failpoint.checkpointRenamed.hit()
        }
    }

    private mutating func step(_ report: StepReport) {
        losses.append((report.step, report.loss, report.learningRate))
        pending.append(report)
        // The first step warms up.
        if total.steps > 0 {
            total.tokens += report.tokens
            total.seconds += Double(report.tokens) / report.tokensPerSecond
        }
        total.steps += 1
        let now = Date().timeIntervalSince1970
        guard now - lastReport >= Self.interval || report.step == report.steps else { return }
        lastReport = now
        let seconds = pending.reduce(0) { $0 + Double($1.tokens) / $1.tokensPerSecond }
        let tokens = sizes.rows(pending.reduce(0) { $0 + $1.tokens })
        tokensPerSecond = Double(tokens) / seconds
        run.report(
            ProgressEvent(
                time: now, fraction: Double(report.step) / Double(report.steps), step: report.step, steps: report.steps,
                loss: pending.reduce(0) { $0 + $1.loss } / Double(pending.count), learningRate: report.learningRate,
                tokensPerSecond: tokensPerSecond,
                etaSeconds: min(report.remainingSeconds, max(0, limit?.left ?? .infinity))))
        pending = []
    }

    /// Over all steps but the first; `nil` when there are too few to tell.
    var meanTokensPerSecond: Double? {
        total.steps > 2 && total.seconds > 0 ? Double(sizes.rows(total.tokens)) / total.seconds : nil
    }

    /// Mean losses over at most ``curvePoints`` equal parts of what this process trained.
    func curve() -> [TrainStage.Report.Point] {
        let size = max(1, (losses.count + Self.curvePoints - 1) / Self.curvePoints)
        return stride(from: 0, to: losses.count, by: size).map { start in
            let part = losses[start..<min(start + size, losses.count)]
            return TrainStage.Report.Point(
                step: part.last?.step ?? 0, loss: part.reduce(0) { $0 + $1.loss } / Double(part.count),
                learningRate: part.last?.learningRate)
        }
    }
}

extension TrainingOptions {
    /// The manifest's section `train` in the trainer's terms.
    init(_ train: JobManifest.Train) {
        self.init()
        switch train.duration {
        case .epochs(let epochs): duration = .epochs(epochs)
        case .steps(let steps):
            duration = .steps(steps)
            // Epochs may be longer than such a run; a tenth of it is often enough to see the best.
            validationInterval = max(1, steps / 10)
        }
        learningRate = train.learningRate
        schedule = LearningRateSchedule.Shape(rawValue: train.lrSchedule.rawValue) ?? .cosine
        switch train.warmup {
        case .steps(let steps): warmup = .steps(steps)
        case .fraction(let share): warmup = .fraction(share)
        }
        optimizer.weightDecay = train.weightDecay
        clipNorm = train.clipNorm
        seed = train.seed
        patience = train.earlyStopping?.patience
    }
}

extension NameDialect {
    init(_ names: JobManifest.ModuleNames) {
        self =
            switch names {
            case .transformers4: .transformers4
            case .transformers5: .transformers5
            }
    }
}

extension AdapterOptions {
    /// The manifest's section `adapter` in the adapters' terms.
    ///
    /// - Throws: ``AdapterError`` for a pattern that cannot be read.
    init(manifest adapter: JobManifest.Adapter) throws {
        self.init(
            rank: adapter.rank, alpha: adapter.alpha, dropout: adapter.dropout, useRSLoRA: adapter.rslora,
            rankPattern: try ModulePatternMap(JobManifest.Adapter.ordered(adapter.rankPattern)),
            alphaPattern: try ModulePatternMap(JobManifest.Adapter.ordered(adapter.alphaPattern)))
    }
}

extension TargetModules {
    /// The manifest's `adapter.targets` in the adapters' terms: a name in a list may also be that of an expert parameter.
    init(manifest targets: JobManifest.Targets) throws {
        let selection: Selection =
            switch targets {
            case .allLinear: .allLinear
            case .architectureDefault: .architectureDefault
            case .suffixes(let names): .names(.list(names))
            case .regex(let pattern): .names(.pattern(pattern))
            }
        guard case .suffixes(let names) = targets else {
            try self.init(selection)
            return
        }
        try self.init(selection, parameters: names)
    }
}
