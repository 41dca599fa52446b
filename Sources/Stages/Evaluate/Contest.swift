import Adapters
import Artifacts
import Foundation
import Layers
import Models
import PipelineSpec
import TensorCore
import Tokenizers
import Training

/// Lets every model that matters answer every set, one model in memory at a time.
struct Contest {
    private let run: StageRun
    private let task: JobTask
    private let product: TrainedProduct
    /// `nil` where no text is read.
    let tokenizer: Tokenizer?
    private let scorer: SetScorer
    private let earlier: EarlierScores
    /// What besides models and sets decides about scores.
    private let conditions: String
    private let progress: ContestProgress

    init(_ run: StageRun, _ task: JobTask) throws {
        self.run = run
        self.task = task
        product = try TrainedProduct(run.input("train"))
        let progress = ContestProgress { fraction, seconds in
            run.report(
                ProgressEvent(time: Date().timeIntervalSince1970, fraction: fraction, etaSeconds: seconds))
        }
        self.progress = progress
        tokenizer = task.kind != .imageClassification ? try Tokenizer.load(folder: run.base) : nil
        scorer = SetScorer(
            tokenizer: tokenizer, hiding: { task.hiding($0) },
            stopIDs: try LoadedModel.stopIDs(in: run.base).union(tokenizer?.eosTokenID.map { [$0] } ?? []),
            batchTokens: { TrainingSizes(run.manifest, task, longest: $0).datasetTokens(run.halved(2048)) }
        ) { share in
            if run.isStopRequested { throw StageError.stopped }
            progress.reach(share)
        }
        conditions =
            "evaluate \(EvaluateStage.descriptor.version), numerics \(Numerics.version), threads \(run.request.threads), "
            + EngineDescription.text
        earlier = EarlierScores(
            run.request.previous.map { URL(filePath: $0, directoryHint: .isDirectory) }, conditions: conditions)
    }

    /// A published version, and what its record says of it.
    private struct Rival {
        let version: PinnedVersion
        let record: RivalRecord
        let product: TrainedProduct
    }

    /// Scores everything, and writes `examples.jsonl` of each set, and what was written in place of some of the test split.
    func hold(_ sets: [EvaluationSet]) throws -> EvaluationReport {
        var samples = AnswerSamples(
            run.manifest.evaluate.samples, of: task.model == .causalLM ? sets.first : nil, tokenizer)
        var scores = [ExampleScores](repeating: ExampleScores(), count: sets.count)
        var digests: [EvaluationRole: String] = [:]
        digests[.trained] = try product.digest(on: run.request.base)
        let cost = try scoreOwn(sets, &scores, &digests, &samples)

        var (champion, others, incomparable) = try rivals()
        if champion == nil, run.request.rivals?.champion != nil { progress.expect(-Self.work(of: sets)) }
        do {
            if let champion {
                digests[.champion] = try digest(of: champion)
                try score(champion, as: .champion, on: Array(sets.indices), sets, &scores, &samples)
            }
        } catch let error where Self.isVersionsFault(error) {
            incomparable = "version \(champion?.version.number ?? 0) cannot be loaded (\(error))"
            champion = nil
            digests[.champion] = nil
            for index in scores.indices { scores[index].columns[.champion] = nil }
        }
        let asked = try incomparable == nil ? askPast(others, beside: champion, sets, &samples) : []
        let best = takeBest(of: asked, sets, &scores)
        var reports: [EvaluationReport.SetReport] = []
        for (index, set) in sets.enumerated() {
            var models = digests
            models[.best] = try best[index].map { try digest(of: $0) }
            var own = try report(set, scores[index], models, best[index]?.version.number)
            own.others = values(of: asked, but: own.best, on: index, set)
            reports.append(own)
            try scores[index].write(of: set.name, in: run.output)
        }
        if !samples.samples.isEmpty { try run.write(samples.samples, to: AnswerSamples.fileName) }
        return EvaluationReport(
            conditions: conditions, sets: reports, alias: run.request.rivals?.alias,
            champion: run.request.rivals?.champion?.number, incomparable: incomparable, cost: cost)
    }

    /// What the trained model alone comes to on a set, by metric.
    func scoreTrained(on set: EvaluationSet) throws -> [String: Double] {
        let loaded =
            switch product {
            case .adapter(let folder): try AdaptedModel(base: run.base, adapter: folder, for: task.model)
            case .checkpoint(let folder): try AdaptedModel(base: folder, for: task.model)
            }
        progress.expect(SetScorer.work(of: set))
        let scores = try progress.doing(SetScorer.work(of: set)) { try scorer.score(loaded.model, on: set) }
        return try values(of: scores, set.references(tokenizer), as: .trained, on: set)
    }

    // MARK: The models of the job

    private func scoreOwn(
        _ sets: [EvaluationSet], _ scores: inout [ExampleScores], _ digests: inout [EvaluationRole: String],
        _ samples: inout AnswerSamples
    ) throws -> EvaluationReport.Cost {
        let all = Array(sets.indices)
        let hasBase = try { if case .folder = run.manifest.base { try task.isTask(ofBase: run.base) } else { false } }()
        if hasBase { digests[.base] = Digest.listing(run.request.base.map { ($0.path.lastPathComponent, $0.digest) }) }
        let models = (hasBase ? 2 : 1) + (run.request.rivals?.champion == nil ? 0 : 1)
        progress.expect(Double(models) * (Self.work(of: sets) + samples.work))
        let parameters: Int
        switch product {
        case .adapter(let folder):
            let loaded = try AdaptedModel(base: run.base, adapter: folder, for: task.model)
            parameters = loaded.model.parameters.reduce(0) { $0 + $1.tensor.count }
            if let digest = digests[.base] {
                try loaded.withoutAdapter { try ask(loaded.model, .base, digest, on: all, sets, &scores, &samples) }
            }
            try ask(loaded.model, .trained, digests[.trained] ?? "", on: all, sets, &scores, &samples)
        case .checkpoint(let folder):
            if let digest = digests[.base] {
                let base = try AdaptedModel(base: run.base, for: task.model)
                try ask(base.model, .base, digest, on: all, sets, &scores, &samples)
            }
            let loaded = try AdaptedModel(base: folder, for: task.model)
            parameters = loaded.model.parameters.reduce(0) { $0 + $1.tensor.count }
            try ask(loaded.model, .trained, digests[.trained] ?? "", on: all, sets, &scores, &samples)
        }
        let training = try run.read(
            TrainStage.Report.self, from: try run.input("train").appending(path: "training.json"))
        return EvaluationReport.Cost(
            trainedParameters: training.trainedParameters, parameters: parameters,
            trainedShare: Double(training.trainedParameters) / Double(max(parameters, 1)),
            productBytes: try product.weightBytes)
    }

    /// Scores a model on sets, or takes what is known of it.
    private func ask(
        _ model: any SequenceModel, _ role: EvaluationRole, _ digest: String, on indices: [Int],
        _ sets: [EvaluationSet], _ scores: inout [ExampleScores], _ samples: inout AnswerSamples
    ) throws {
        if role != .best, samples.isMissing(role) {
            run.report(progress.fraction, "\(role.rawValue) writes samples")
            try progress.doing(samples.work) {
                try samples.ask(model, as: role, stopIDs: scorer.stopIDs, progress: scorer.progress)
            }
        }
        for index in indices {
            run.report(progress.fraction, "\(role.rawValue) on \(sets[index].name)")
            if let known = earlier.scores(of: digest, on: sets[index]) {
                scores[index].columns[role] = known
                progress.expect(-SetScorer.work(of: sets[index]))
            } else {
                scores[index].columns[role] = try progress.doing(SetScorer.work(of: sets[index])) {
                    try scorer.score(model, on: sets[index])
                }
            }
        }
    }

    private static func work(of sets: [EvaluationSet]) -> Double { sets.reduce(0) { $0 + SetScorer.work(of: $1) } }

    // MARK: Published versions

    private func score(
        _ rival: Rival, as role: EvaluationRole, on indices: [Int], _ sets: [EvaluationSet],
        _ scores: inout [ExampleScores], _ samples: inout AnswerSamples
    ) throws {
        let digest = try digest(of: rival)
        var open: [Int] = []
        for index in indices {
            if let known = earlier.scores(of: digest, on: sets[index]) {
                scores[index].columns[role] = known
                if role == .champion { progress.expect(-SetScorer.work(of: sets[index])) }
            } else {
                open.append(index)
            }
        }
        guard !open.isEmpty || role == .champion && samples.isMissing(role) else { return }
        // Which one is the best is known only now.
        if role == .best { progress.expect(Self.work(of: open.map { sets[$0] })) }
        let folder = URL(filePath: rival.version.path, directoryHint: .isDirectory)
        let loaded =
            switch product {
            case .adapter: try AdaptedModel(base: run.base, adapter: folder, for: task.model)
            case .checkpoint: try AdaptedModel(base: folder, for: task.model)
            }
        try ask(loaded.model, role, digest, on: open, sets, &scores, &samples)
    }

    /// Of the weights of a version and their configuration, on the job's base.
    private func digest(of rival: Rival) throws -> String { try rival.product.digest(on: run.request.base) }

    /// Asks the versions that may be the best that the alias ever pointed at, beside the champion, on each set.
    ///
    /// Who may be it is what records say; where they leave more than one, each is asked on today's examples.
    ///
    /// - Returns: What each made of the sets that it was asked on.
    private func askPast(
        _ others: [Rival], beside champion: Rival?, _ sets: [EvaluationSet], _ samples: inout AnswerSamples
    ) throws -> [(rival: Rival, scores: [ExampleScores])] {
        let past = ([champion].compactMap { $0 } + others).map {
            (number: $0.version.number, evaluation: $0.record.evaluation)
        }
        var wanted: [Int: [Int]] = [:]
        for (index, set) in sets.enumerated() {
            let mark = try Mark(of: set, by: markMetric(of: set), among: past)
            for number in mark.candidates(beside: champion?.version.number) {
                wanted[number, default: []].append(index)
            }
        }
        return try others.compactMap { rival in
            guard let indices = wanted[rival.version.number] else { return nil }
            var scores = [ExampleScores](repeating: ExampleScores(), count: sets.count)
            do {
                try score(rival, as: .best, on: indices, sets, &scores, &samples)
            } catch let error where Self.isVersionsFault(error) {
                run.log("version \(rival.version.number) sets no mark, because it cannot be loaded: \(error)")
                return nil
            }
            return (rival, scores)
        }
    }

    /// Takes on each set the scores of the best version that was asked.
    private func takeBest(
        of asked: [(rival: Rival, scores: [ExampleScores])], _ sets: [EvaluationSet],
        _ scores: inout [ExampleScores]
    ) -> [Int: Rival] {
        var best: [Int: Rival] = [:]
        for (index, set) in sets.enumerated() {
            let metric = markMetric(of: set)
            var leading: Double?
            for (rival, own) in asked {
                guard let column = own[index].columns[.best], let value = values(of: column, on: set)[metric.name],
                    leading.map({ metric.gain(from: $0, to: value) > 0 }) ?? true
                else { continue }
                leading = value
                best[index] = rival
                scores[index].columns[.best] = column
            }
        }
        return best
    }

    /// What else is known on a set of versions that were asked; `nil` for nothing.
    private func values(
        of asked: [(rival: Rival, scores: [ExampleScores])], but best: Int?, on index: Int, _ set: EvaluationSet
    ) -> [Int: [String: Double]]? {
        let found = asked.compactMap { rival, scores -> (Int, [String: Double])? in
            guard rival.version.number != best, let column = scores[index].columns[.best] else { return nil }
            return (rival.version.number, values(of: column, on: set))
        }
        return found.isEmpty ? nil : Dictionary(found) { $1 }
    }

    /// Every metric of a set that has a finite value.
    private func values(of column: [ExampleScore], on set: EvaluationSet) -> [String: Double] {
        let examples = zip(column, set.references(tokenizer)).map { ScoredExample($0, reference: $1) }
        let values = set.metrics.map { ($0.name, $0.value(of: examples, classes: set.classes)) }
        return Dictionary(values.compactMap { name, value in value.flatMap { $0.isFinite ? (name, $0) : nil } }) { $1 }
    }

    /// What the best on a set is best by: on the test split what the gate looks at, elsewhere what stands first.
    private func markMetric(of set: EvaluationSet) -> any Metric.Type {
        let wanted = set.name == EvaluationSet.test ? run.manifest.gate?.metric.rawValue : nil
        return set.metrics.first { $0.name == wanted } ?? set.metrics[0]
    }

    /// The champion, and every version that may be the best on some set.
    private func rivals() throws -> (champion: Rival?, others: [Rival], incomparable: String?) {
        guard let pinned = run.request.rivals else { return (nil, [], nil) }
        guard let version = pinned.champion else { return (nil, try pinned.promoted.compactMap { try rival($0) }, nil) }
        guard let champion = try rival(version) else {
            return (
                nil, [],
                "version \(version.number), which \(pinned.alias) points at, was made from another base or for another task"
            )
        }
        let others = try pinned.promoted.filter { $0.number != version.number }.compactMap { try rival($0) }
        return (champion, others, nil)
    }

    /// A version that can be compared; `nil` for one that was made from another base.
    private func rival(_ version: PinnedVersion) throws -> Rival? {
        let folder = URL(filePath: version.path, directoryHint: .isDirectory)
        // A record that cannot be read vouches for nothing.
        guard let data = try? Data(contentsOf: folder.appending(path: Version.recordFile)),
            let record = try? JSONDecoder().decode(RivalRecord.self, from: data)
        else { return nil }
        let product: TrainedProduct =
            switch self.product {
            case .adapter: .adapter(folder)
            case .checkpoint: .checkpoint(folder)
            }
        let isOfBase = Set((record.lineage?.base ?? []).map(\.digest)) == Set(run.request.base.map(\.digest))
        if case .adapter = product, !isOfBase || record.classes != task.classes { return nil }
        return Rival(version: version, record: record, product: product)
    }

    /// Whether an error says that a version is not what it should be, and not that this stage cannot go on.
    private static func isVersionsFault(_ error: any Error) -> Bool {
        error is AdapterError || error is WeightFileError || error is ModelError || error is CocoaError
    }

    // MARK: The report

    /// The metrics of a set that have a value.
    ///
    /// - Throws: ``StageError`` where one of the trained model is not finite.
    private func values(
        of scores: [ExampleScore], _ references: [String?], as role: EvaluationRole, on set: EvaluationSet
    ) throws -> [String: Double] {
        let examples = zip(scores, references).map { ScoredExample($0, reference: $1) }
        var values: [String: Double] = [:]
        for metric in set.metrics {
            guard let value = metric.value(of: examples, classes: set.classes) else { continue }
            guard value.isFinite || role != .trained else {
                throw StageError(
                    "non_finite_loss",
                    "the model's \(metric.name) on \(set.name) is \(value); lower the learning rate, or look for a broken "
                        + "weight in the base")
            }
            if value.isFinite { values[metric.name] = value }
        }
        return values
    }

    private func report(
        _ set: EvaluationSet, _ scores: ExampleScores, _ models: [EvaluationRole: String], _ best: Int?
    ) throws -> EvaluationReport.SetReport {
        var values: [EvaluationRole: [String: Double]] = [:]
        var confusion: [[Int]]?
        let references = set.references(tokenizer)
        for (role, column) in scores.columns {
            let own = try self.values(of: column, references, as: role, on: set)
            if !own.isEmpty { values[role] = own }
            if role == .trained, set.classes > 0, set.metrics.contains(where: { $0.evidence == .classes }) {
                confusion = ConfusionTable(column.map { ScoredExample($0) }, classes: set.classes).counts
            }
        }
        var strongest = values[.champion] == nil ? nil : run.request.rivals?.champion?.number
        let mark = markMetric(of: set)
        if let best, let new = values[.best]?[mark.name],
            values[.champion]?[mark.name].map({ mark.gain(from: $0, to: new) > 0 }) ?? true
        {
            strongest = best
        }
        return EvaluationReport.SetReport(
            name: set.name, digest: set.digest,
            evidence: Dictionary(uniqueKeysWithValues: set.evidence.map { ($0.rawValue, $1) }),
            examples: set.examples.count,
            tokens: scores.columns[.trained]?.reduce(0) { $0 + $1.tokens } ?? 0, metrics: set.metrics.map { $0.name },
            classes: set.classes, values: values, models: models.filter { scores.columns[$0.key] != nil },
            best: best, strongest: strongest, confusion: confusion)
    }
}

/// What is read of a version's record; of one that an older program wrote, some is missing.
private struct RivalRecord: Decodable {
    struct Lineage: Decodable {
        var base: [PinnedFile]?
    }

    var evaluation: PastEvaluation?
    var lineage: Lineage?
    var classes: [String]?
}

extension EvaluationSet {
    /// The text that was to be written, an entry an example; nothing where no metric asks.
    func references(_ tokenizer: Tokenizer?) -> [String?] {
        guard maxNewTokens != nil, let tokenizer else { return [String?](repeating: nil, count: examples.count) }
        return (0..<examples.count).map { ScoredText(examples[$0], tokenizer).reference }
    }
}

extension TrainedProduct {
    /// The files that decide what the model says, beside the base of an adapter.
    private var files: [URL] {
        get throws {
            let (folder, names): (URL, (String) -> Bool) =
                switch self {
                case .adapter(let folder):
                    (folder, { $0 == "adapter_model.safetensors" || $0 == "adapter_config.json" })
                case .checkpoint(let folder): (folder, { $0.hasSuffix(".safetensors") || $0 == "config.json" })
                }
            return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
                .filter { names($0.lastPathComponent) }.sorted { $0.lastPathComponent < $1.lastPathComponent }
        }
    }

    /// Tells the model from any other.
    func digest(on base: [PinnedFile]) throws -> String {
        var listing = try files.map { (path: $0.lastPathComponent, digest: try Digest.sha256(of: $0)) }
        if case .adapter = self {
            listing += base.map { (path: "base/" + $0.path.lastPathComponent, digest: $0.digest) }
        }
        return Digest.listing(listing)
    }

    /// Bytes of the weights.
    var weightBytes: Int64 {
        get throws {
            try files.filter { $0.pathExtension == "safetensors" }.reduce(0) { sum, file in
                sum + Int64(try file.resourceValues(forKeys: [.fileSizeKey]).fileSize ?? 0)
            }
        }
    }
}

extension String {
    /// The name of the file that a path leads to.
    fileprivate var lastPathComponent: String { String(split(separator: "/").last ?? "") }
}
