import Artifacts
import Foundation
import Layers
import Models
import PipelineSpec
import Tokenizers
import Training

/// Makes the sets of an evaluation: the test split as the tokenize stage left it, and suites and general text, which are
/// tokenised here, so that a suite that changes makes nothing be trained again.
struct EvaluationSets {
    private let run: StageRun
    private let task: JobTask
    /// `nil` where no text is read.
    private let tokenizer: Tokenizer?
    private let limits: ModelLimits
    /// Below the stage's output.
    private let folder: URL

    init(_ run: StageRun, _ task: JobTask, _ tokenizer: Tokenizer?) throws {
        self.run = run
        self.task = task
        self.tokenizer = tokenizer
        limits = try ModelRegistry.limits(ModelConfiguration(folder: run.base))
        folder = run.output.appending(path: "sets", directoryHint: .isDirectory)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    /// Every set of the job, the test split first.
    func make() throws -> [EvaluationSet] {
        let evaluate = run.manifest.evaluate
        var sets = [try split(.test)]
        // Only a model that writes can forget how.
        if task.kind == .causalLM, let files = run.request.suites?[DataFiles.retention] {
            var suite = JobManifest.Suite()
            suite.maxLength = run.manifest.data.maxLength
            sets.append(try suiteSet(EvaluationSet.retention, suite, files))
        }
        for (name, suite) in evaluate.suites.sorted(by: { $0.key < $1.key }) {
            guard let files = run.request.suites?[name] else {
                throw StageError("missing_input", "the files of evaluate.suites.\(name) were not pinned")
            }
            guard name != EvaluationSet.test, name != EvaluationSet.retention else {
                throw StageError(
                    "invalid_name", "evaluate.suites.\(name): this is the name of a set that is always there")
            }
            sets.append(try suiteSet(name, suite, files))
        }
        return sets
    }

    // MARK: The job's own splits

    /// A split of the job's data, to be judged by the metrics of `evaluate.metrics`; its set has the split's name.
    func split(_ split: SplitName) throws -> EvaluationSet {
        let folder = try run.input("tokenize"), name = split.rawValue
        let file = folder.appending(path: split.tokensFile)
        let test = try TokenDataset(file)
        guard test.targetCount > 0 else {
            throw StageError(
                "no_test_data",
                "the \(name) split has no token to score; give data.\(name) a larger share, or files of its own")
        }
        let metrics = try metrics(run.manifest.evaluate.metrics)
        var alternatives: (file: URL, questions: [EvaluationSet.Alternatives.Question])?
        // Of tasks that judge parts of a text only the share that is right is known.
        let judgesWholes = [.sequenceClassification, .imageClassification].contains(task.kind)
        var classes = judgesWholes ? task.classes?.count ?? 0 : 0
        let hasClasses = classes > 0 || task.kind == .causalLM && test.hasLabels
        try require(metrics, in: name, hasClasses: hasClasses, hasChoices: false)
        if task.model == .causalLM, metrics.contains(where: { $0.evidence == .classes }) {
            let training = try TokenDataset(folder.appending(path: SplitName.train.tokensFile))
            let names = try ClassEndings(test, training)
            classes = names.endings.count
            alternatives = try writeAnswers(test.count, name) { index in
                guard let answer = test[index].classIndex else { return nil }
                return (names.endings.map { names.prompt(of: test[index]) + $0 }, names.endings.map(\.count), answer)
            }
        }
        return try EvaluationSet(
            name: name, file: file, metrics: metrics, alternatives: alternatives, classes: classes,
            maxNewTokens: JobManifest.Suite().maxNewTokens)
    }

    /// The metrics by name; where no text is written, how much was judged rightly is always asked. Of a squared error
    /// there is no perplexity.
    private func metrics(_ wanted: [JobManifest.Metric]) throws -> [any Metric.Type] {
        if task.kind == .sequenceRegression {
            return try EvaluationSet.metrics(wanted).filter { $0.name != JobManifest.Metric.perplexity.rawValue }
        }
        let isJudging = task.kind != .causalLM && !wanted.contains(.accuracy)
        return try EvaluationSet.metrics(wanted) + (isJudging ? [MetricRegistry.metric(named: "accuracy")] : [])
    }

    /// - Throws: ``StageError`` when examples do not say what a metric needs.
    private func require(_ metrics: [any Metric.Type], in set: String, hasClasses: Bool, hasChoices: Bool) throws {
        for metric in metrics {
            let isPossible =
                switch metric.evidence {
                case .likelihood: true
                case .classes:
                    hasClasses || ![.causalLM, .sequenceRegression].contains(task.kind) && metric.name == "accuracy"
                case .choices: hasChoices
                case .text: task.model == .causalLM
                }
            guard isPossible else {
                throw StageError(
                    "unsuited_metric",
                    "\(set): \(metric.name) cannot be measured on these examples; it needs "
                        + (metric.evidence == .classes
                            ? "records with a class"
                            : metric.evidence == .choices ? ChoiceFormat.shape : "a model that writes"))
            }
        }
    }

    // MARK: Suites

    private func suiteSet(_ name: String, _ suite: JobManifest.Suite, _ files: [PinnedFile]) throws -> EvaluationSet {
        let metrics = try EvaluationSet.metrics(suite.metrics)
        guard let tokenizer, [.causalLM, .sequenceClassification].contains(task.kind) else {
            throw StageError(
                "unsupported",
                "evaluate.suites: a job of the task \(task.kind.rawValue) is judged by its test split only")
        }
        var reader = try SuiteReader(
            suite, base: run.base, tokenizer, limits, task, asksClasses: metrics.contains { $0.evidence == .classes })
        let examples = try reader.read(files)
        guard !examples.isEmpty else {
            throw StageError("no_test_data", "evaluate: \(name) has no example that can be scored")
        }
        let file = folder.appending(path: "\(name).tokens")
        let writer = try TokenDatasetWriter(file)
        for example in examples {
            let main = example.main
            try writer.append(main.ids, scored: main.scored, label: main.label, types: main.types)
        }
        _ = try writer.finish()
        let hasChoices = examples.allSatisfy { $0.answers != nil }
        let alternatives =
            hasChoices
            ? try writeAnswers(examples.count, name) { index in
                guard let answers = examples[index].answers else { return nil }
                return (answers.map { ($0.ids, $0.scored) }, examples[index].answerBytes, examples[index].answer)
            } : nil
        try require(
            metrics, in: name, hasClasses: examples.allSatisfy { $0.main.label != nil } || reader.isAboutClasses,
            hasChoices: hasChoices)
        return try EvaluationSet(
            name: name, file: file, metrics: metrics, alternatives: alternatives, classes: reader.classes,
            maxNewTokens: suite.maxNewTokens)
    }

    private typealias Sequence = (ids: [Int32], scored: [Bool]?)

    /// Writes the answers to every example one after the other.
    private func writeAnswers(
        _ count: Int, _ name: String, _ answers: (Int) throws -> (sequences: [Sequence], bytes: [Int], answer: Int)?
    ) throws -> (file: URL, questions: [EvaluationSet.Alternatives.Question]) {
        let file = folder.appending(path: "\(name).choices.tokens")
        let writer = try TokenDatasetWriter(file)
        var questions: [EvaluationSet.Alternatives.Question] = []
        var written = 0
        for index in 0..<count {
            guard let (sequences, bytes, answer) = try answers(index) else {
                throw StageError("unsuited_metric", "\(name): example \(index) names no class")
            }
            for sequence in sequences { try writer.append(sequence.ids, scored: sequence.scored) }
            questions.append(
                .init(sequences: written..<written + sequences.count, answer: answer, bytes: bytes))
            written += sequences.count
        }
        _ = try writer.finish()
        return (file, questions)
    }
}

/// How the names of classes end examples of a model that writes them, as the job's own examples show.
private struct ClassEndings {
    /// The tokens behind the prompt, by class.
    let endings: [[Int32]]

    init(_ datasets: TokenDataset...) throws {
        var found: [Int: [Int32]] = [:]
        for dataset in datasets where dataset.hasLabels {
            for index in 0..<dataset.count {
                let sequence = dataset[index]
                guard let label = sequence.classIndex, found[label] == nil else { continue }
                found[label] = Array(sequence.ids[sequence.firstScored...])
            }
        }
        endings = try (0..<((found.keys.max() ?? -1) + 1)).map { index in
            guard let ending = found[index] else {
                throw StageError("unsuited_metric", "test: no example is of class \(index), so its name is not known")
            }
            return ending
        }
    }

    func prompt(of sequence: TokenSequence) -> [Int32] { Array(sequence.ids[..<sequence.firstScored]) }
}

/// A prompt with an ending, of which only the ending counts.
private func + (prompt: [Int32], ending: [Int32]) -> (ids: [Int32], scored: [Bool]?) {
    let ids: [Int32] = [prompt, ending].flatMap { $0 }
    return (ids, ids.indices.map { $0 >= prompt.count })
}

extension TokenSequence {
    /// The class of the whole, where it has one.
    var classIndex: Int? { if case .class(let index)? = label { Int(index) } else { nil } }
    /// The first token that counts; the number of tokens where none does.
    var firstScored: Int { ids.indices.first { isScored($0) } ?? ids.count }
}
