import Artifacts
import Foundation
import PipelineSpec
import TestSupport
import Testing
import Tokenizers

@testable import Stages
@testable import Training

/// Suites, what is kept of an evaluation, and what the next one takes over.
@Suite(.serialized) struct EvaluateTests {
    @Test func manifestAndRegistryKnowTheSameMetrics() {
        #expect(Set(JobManifest.Metric.allCases.map(\.rawValue)) == Set(MetricRegistry.metrics.map { $0.name }))
        for metric in MetricRegistry.metrics {
            let word = JobManifest.Metric(rawValue: metric.name)
            #expect(word?.isHigherBetter == metric.isHigherBetter, "\(metric.name)")
            // What has to be asked of a model says which tasks cannot have it.
            #expect(word?.isPossible(for: .causalLM, .completion) == ![.classes, .choices].contains(metric.evidence))
            #expect(word?.isPossible(for: .auto, .auto) == (metric.evidence != .choices), "\(metric.name)")
            if metric.evidence == .text { #expect(word?.isPossible(for: .sequenceClassification, .auto) == false) }
        }
        #expect(
            Set(JobManifest.SuiteFormat.allCases.map(\.rawValue)).subtracting(["choices"]).allSatisfy {
                JobManifest.DataFormat(rawValue: $0) != nil
            })
    }

    private static let questions = (0..<24).map { index in
        let answer = index % 3
        let colours = ["red", "blue", "green"]
        let thing = ["fire", "sky", "grass"][answer]
        return (
            plain: #"{"prompt": "Day \#(index): the \#(thing) is", "completion": " \#(colours[answer])."}"#,
            choice:
                #"{"question": "Day \#(index): the \#(thing) is", "choices": ["red.", "blue.", "green."], "answer": \#(answer)}"#
        )
    }

    /// A line whose model has learned what colour things have.
    private func line(_ folder: URL) throws -> StageLine? {
        guard let base = try TestData.folder("models/stories260K") else { return nil }
        func write(_ lines: [String], _ name: String) throws -> String {
            let file = folder.appending(path: name)
            try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: file)
            return file.path
        }
        var manifest = JobManifest(name: "balls", base: .folder(base.path))
        manifest.data.train = [try write(Self.questions.map(\.plain), "train.jsonl")]
        manifest.data.test = .files([try write(Self.questions.prefix(9).map(\.plain), "test.jsonl")])
        manifest.data.validation = .fraction(0)
        manifest.data.maxLength = 64
        manifest.train.duration = .steps(100)
        manifest.train.batchSize = 8
        manifest.train.learningRate = 1e-2
        manifest.evaluate.metrics = [.exactMatch, .tokenAccuracy, .bytePerplexity, .rougeL, .bleu]
        manifest.evaluate.retention = [
            try write(
                ["Once upon a time there was a girl. She had a ball.", "", "The cat sat on the mat all day."],
                "general.txt")
        ]
        var choices = JobManifest.Suite()
        (choices.data, choices.metrics) = (
            [try write(Self.questions.map(\.choice), "choices.jsonl")], [.acc, .accNorm]
        )
        var some = JobManifest.Suite()
        (some.data, some.limit) = (manifest.data.train, 5)
        manifest.evaluate.suites = ["balls": choices, "some": some]
        return try StageLine(manifest)
    }

    private func report(_ run: (result: StageResult, directory: RunDirectory)) throws -> EvaluationReport {
        #expect(run.result.failure == nil)
        let file = run.directory.out.appending(path: EvaluationReport.fileName)
        return try JSONDecoder().decode(EvaluationReport.self, from: Data(contentsOf: file))
    }

    @Test func everySetIsJudgedByItsOwnMetrics() throws {
        let folder = try TemporaryFolder()
        guard let line = try line(folder.url) else { return }
        for kind in ["tokenize", "train"] { #expect(try line.run(kind).result.failure == nil) }
        line.manifest.evaluate.samples = 2
        let run = try line.run("evaluate")
        let report = try report(run)
        #expect(report.sets.map(\.name) == ["test", "retention", "balls", "some"])

        let file = run.directory.out.appending(path: AnswerSamples.fileName)
        let samples = try JSONDecoder().decode([AnswerSamples.Sample].self, from: Data(contentsOf: file))
        #expect(samples.map(\.prompt) == ["Day 0: the fire is", "Day 1: the sky is"])
        #expect(samples.map(\.reference) == [" red.", " blue."])
        let written = try #require(try ExampleScores(of: "test", in: run.directory.out).columns[.trained])
        for (sample, score) in zip(samples, written) {
            // The same words, of which a sample has fewer at most.
            let (one, other) = (sample.answers[.trained] ?? "", score.text ?? "")
            #expect(!one.isEmpty && other.hasPrefix(one) && sample.answers[.base] != one)
        }

        // How far it has come is told all along, and never goes back.
        let lines = try String(contentsOf: run.directory.progress, encoding: .utf8).split(separator: "\n")
        let fractions = try lines.map {
            try JSONDecoder().decode(ProgressEvent.self, from: Data($0.utf8)).fraction
        }
        #expect(fractions == fractions.sorted() && Set(fractions).count > 8, "\(fractions)")
        #expect(
            fractions.contains { $0 > 0.9 && $0 < 1 } && fractions.contains { $0 > 0.3 && $0 < 0.7 }, "\(fractions)")

        let test = try #require(report["test"])
        let (before, after) = (try #require(test.values[.base]), try #require(test.values[.trained]))
        #expect(test.examples == 9 && (after["loss"] ?? 9) < (before["loss"] ?? 0))
        // The base cannot tell its end token from two hundred others that it never saw, so no text ends where it should,
        // and none is exact.
        #expect(before["exact_match"] == 0 && after["exact_match"] == 0, "\(after)")
        #expect((before["token_accuracy"] ?? 1) < 0.6 && (after["token_accuracy"] ?? 0) > 0.7, "\(before), \(after)")
        // What greedy decoding writes is what exact match foretells, so texts that match exactly are those.
        let scores = try ExampleScores(of: "test", in: run.directory.out)
        let trained = try #require(scores.columns[.trained])
        for (index, score) in trained.enumerated() {
            let isExact = score.correct == score.tokens
            let wanted = ["red.", "blue.", "green."][index % 3]
            let text = score.text?.trimmingCharacters(in: .whitespaces)
            #expect(isExact == (text == wanted), "\(index): \(score)")
        }
        #expect((after["rougeL"] ?? 0) >= (after["exact_match"] ?? 1))
        // The likelihoods of examples add up to the loss.
        let tokens = trained.reduce(0) { $0 + $1.tokens }
        #expect(abs(trained.reduce(0) { $0 + $1.nll } / Double(tokens) - (after["loss"] ?? 0)) < 1e-9)
        // A space, a word and a point.
        #expect(trained[0].bytes == 5 && trained[1].bytes == 6, "\(trained[0]) \(trained[1])")

        let balls = try #require(report["balls"])
        #expect((balls.values[.trained]?["acc"] ?? 0) > 0.8, "\(balls.values)")
        #expect((balls.values[.base]?["acc"] ?? 1) < 0.7)
        let first = try #require(try ExampleScores(of: "balls", in: run.directory.out).columns[.trained]?.first)
        #expect(first.choices?.count == 3 && first.choiceBytes == [4, 5, 6] && first.label == 0)
        #expect(report["some"]?.examples == 5)
        #expect((report["retention"]?.values[.base]?["loss"] ?? 0) > 0)
        #expect(report.cost.trainedParameters > 0 && report.cost.trainedShare < 0.5 && report.cost.productBytes > 1000)
        #expect((run.result.metrics["cpu_seconds"] ?? 0) > 0 && (run.result.metrics["energy_wh_estimated"] ?? 0) > 0)
        #expect(run.result.metrics["balls.acc"] == balls.values[.trained]?["acc"])

        // No text of the data is in what is written of examples.
        for set in report.sets {
            let lines = try String(contentsOf: ExampleScores.file(of: set.name, in: run.directory.out), encoding: .utf8)
            #expect(!lines.contains(": the "))
        }
    }

    @Test func theSameModelOnTheSameSetIsAskedOnce() throws {
        let folder = try TemporaryFolder()
        guard let line = try line(folder.url) else { return }
        line.manifest.evaluate.metrics = [.loss]
        for kind in ["tokenize", "train"] { try line.run(kind) }
        let first = try line.run("evaluate")
        let again = try line.run("evaluate", previous: first.directory.out)
        #expect(try report(first) == report(again))
        for set in ["test", "retention", "balls"] {
            let files = [first, again].map { ExampleScores.file(of: set, in: $0.directory.out) }
            #expect(try Data(contentsOf: files[0]) == Data(contentsOf: files[1]), "\(set)")
        }
        // Scores that were taken over show it: with others in the earlier evaluation, these are others.
        let file = ExampleScores.file(of: "test", in: first.directory.out)
        var scores = try ExampleScores(of: "test", in: first.directory.out)
        scores.columns[.base]?[0].nll += 1
        try scores.write(of: "test", in: first.directory.out)
        let taken = try report(line.run("evaluate", previous: first.directory.out))
        #expect(taken.test.values[.base]?["loss"] != (try report(first)).test.values[.base]?["loss"])
        // Another suite is asked about; the rest stays.
        let suite = URL(filePath: line.manifest.evaluate.suites["balls"]?.data[0] ?? "")
        try Data((Self.questions.prefix(5).map(\.choice).joined(separator: "\n") + "\n").utf8).write(to: suite)
        let changed = try report(line.run("evaluate", previous: first.directory.out))
        #expect(changed["balls"]?.examples == 5 && changed["balls"]?.digest != taken["balls"]?.digest)
        #expect(changed.test == taken.test)
        withExtendedLifetime(file) {}
    }

    @Test func theCardSaysWhatAVersionWasComparedWith() throws {
        let folder = try TemporaryFolder()
        guard let line = try line(folder.url) else { return }
        line.manifest.evaluate.metrics = [.loss]
        func package(steps: Int) throws -> (card: String, record: VersionRecord, folder: URL) {
            line.manifest.train.duration = .steps(steps)
            for kind in ["tokenize", "train", "evaluate"] { #expect(try line.run(kind).result.failure == nil) }
            let packaged = try line.run("package")
            #expect(packaged.result.failure == nil)
            let folder = packaged.directory.out.appending(path: "adapter")
            let record = try JSONDecoder().decode(
                VersionRecord.self, from: Data(contentsOf: folder.appending(path: "lorajobs.json")))
            let card = try String(contentsOf: folder.appending(path: "README.md"), encoding: .utf8)
            for text in ["fire", "grass", "Once upon", "ball.", ": the "] { #expect(!card.contains(text), "\(text)") }
            return (card, record, folder)
        }
        line.rivals = PinnedRivals(alias: "production", champion: nil, promoted: [])
        let first = try package(steps: 5)
        #expect(first.record.comparisons == [] && first.record.gate == nil)
        #expect(
            first.card.contains("There was no version to compare with: `production` pointed at none."), "\(first.card)")
        let old = try #require(first.record.evaluation["balls"]?.values[.trained]?["acc"])
        let shown = String(format: "%.5g", old)
        #expect(first.card.contains("|  | metric | examples | base | with this adapter |"), "\(first.card)")
        #expect(first.card.contains("| balls | acc | 24 | ") && first.card.contains(" | \(shown) |"))
        #expect(first.card.contains("| some | loss | 5 | ") && first.card.contains("| general text | loss | "))

        line.rivals = PinnedRivals(
            alias: "production", champion: PinnedVersion(number: 7, digest: "", path: first.folder.path), promoted: [])
        let second = try package(steps: 60)
        let one = try #require(second.record.comparisons?.first)
        #expect(one.version == 7 && one.isChampion && one.metric == "loss" && one.confidence == 0.95)
        #expect(one.old == first.record.metrics["loss"] && one.new == second.record.metrics["loss"])
        #expect(0 < one.low && one.low < one.gain && one.gain < one.high && abs(one.old - one.new - one.gain) < 1e-12)
        let sentence = String(
            format:
                "Version 7, which `production` pointed at: loss %.4g against %.4g, a gain of %+.4g "
                + "(%+.4g to %+.4g at 95%%)",
            one.new, one.old, one.gain, one.low, one.high)
        #expect(second.card.contains(sentence), "\(second.card)")
        #expect(second.card.contains(String(format: "| version 7 | %.4f |", one.old)))
        #expect(second.card.contains("|  | metric | examples | base | version 7 | with this adapter |"))
        #expect(second.card.contains(" | \(shown) | "), "the suite's figure of the version before")

        // A version that cannot be compared is named, and why; what its error says is not told.
        let broken = folder.url.appending(path: "8")
        try FileManager.default.createDirectory(at: broken, withIntermediateDirectories: true)
        line.rivals = PinnedRivals(
            alias: "production", champion: PinnedVersion(number: 8, digest: "", path: broken.path), promoted: [])
        let third = try package(steps: 5)
        #expect(third.card.contains("Version 8, which `production` pointed at, could not be compared"), "\(third.card)")
        #expect(third.record.comparisons == [] && !third.card.contains(broken.path))
    }

    /// What trials are ranked by is what an evaluation of the same examples says.
    @Test func trialsAreScoredOnTheValidationSplitAlone() throws {
        let folder = try TemporaryFolder()
        guard let line = try line(folder.url) else { return }
        // The same examples on both sides.
        line.manifest.data.validation = line.manifest.data.test
        line.manifest.evaluate.suites = [:]
        let tokens = try line.run("tokenize").directory.out
        #expect(try line.run("train").result.failure == nil)
        let test = try #require(try report(line.run("evaluate")).test.values[.trained])
        try FileManager.default.removeItem(at: tokens.appending(path: SplitName.test.tokensFile))
        let run = try line.run("score")
        #expect(run.result.failure == nil)
        let file = run.directory.out.appending(path: "score.json")
        let score = try JSONDecoder().decode([String: Double].self, from: Data(contentsOf: file))
        #expect(
            score.keys == test.keys && Set(score.keys).isSuperset(of: ["rougeL", "token_accuracy", "loss"]), "\(score)")
        // Sums in another order, where another test has changed the number of threads meanwhile.
        for (name, value) in score { #expect(abs(value - (test[name] ?? .nan)) < 1e-4, "\(name): \(value), \(test)") }
        #expect(score.allSatisfy { run.result.metrics["validation_\($0.key)"] == $0.value })

        line.manifest.evaluate.metrics = [.accuracy]
        #expect(try line.run("score").result.failure?.code == "unsuited_metric")
    }

    /// The best of the past is the best by what the gate looks at, not by what stands first among the metrics.
    @Test func theMarkIsChosenByTheMetricOfTheGate() throws {
        let folder = try TemporaryFolder()
        guard let line = try line(folder.url) else { return }
        line.manifest.evaluate = JobManifest.Evaluate()
        line.manifest.evaluate.metrics = [.loss, .rougeL]
        for kind in ["tokenize", "train"] { #expect(try line.run(kind).result.failure == nil) }
        let first = try line.run("evaluate")
        let today = try report(first).test
        let product = line.folder.url.appending(path: "train.1/out/adapter")
        let base = try FileManager.default.contentsOfDirectory(atPath: line.manifest.base.path).sorted()
            .map { "\(line.manifest.base.path)/\($0)" }.filter { !$0.hasSuffix("original") }
        struct Record: Encodable {
            struct Evaluation: Encodable { var sets: [EvaluationReport.SetReport] }
            struct Lineage: Encodable { var base: [PinnedFile] }
            var evaluation: Evaluation
            var lineage: Lineage
        }
        func version(_ number: Int, loss: Double, rougeL: Double) throws -> PinnedVersion {
            let url = folder.url.appending(path: "version-\(number)", directoryHint: .isDirectory)
            try FileManager.default.copyItem(at: product, to: url)
            var set = today
            set.values = [.trained: ["loss": loss, "rougeL": rougeL]]
            // Whatever else is asked about these examples, their likelihoods and texts are the same.
            set.digest = "sha256:other"
            let record = Record(evaluation: .init(sets: [set]), lineage: .init(base: try Digest.pin(paths: base)))
            try JSONEncoder().encode(record).write(to: url.appending(path: "lorajobs.json"))
            return PinnedVersion(number: number, digest: "", path: url.path)
        }
        let versions = [
            try version(1, loss: 3, rougeL: 0.9), try version(2, loss: 1, rougeL: 0.2),
            try version(3, loss: 2, rougeL: 0.5),
        ]
        line.rivals = PinnedRivals(alias: "production", champion: versions[2], promoted: versions.reversed())
        for (metric, best) in [(JobManifest.Metric.rougeL, 1), (.loss, 2)] {
            var gate = JobManifest.Gate()
            gate.metric = metric
            line.manifest.gate = gate
            let report = try report(line.run("evaluate", previous: first.directory.out))
            #expect(report.test.best == best && report.champion == 3, "\(metric): \(report.test)")
        }
        // An alias that was taken away has pointed at these all the same.
        line.rivals = PinnedRivals(alias: "production", champion: nil, promoted: versions.reversed())
        let alone = try report(line.run("evaluate", previous: first.directory.out))
        #expect(alone.test.best == 2 && alone.test.strongest == 2 && alone.champion == nil)
    }

    @Test func aMetricThatExamplesCannotHaveIsRefused() throws {
        let folder = try TemporaryFolder()
        guard let line = try line(folder.url) else { return }
        line.manifest.evaluate.metrics = [.accuracy]
        for kind in ["tokenize", "train"] { try line.run(kind) }
        let failure = try #require(try line.run("evaluate").result.failure)
        #expect(failure.code == "unsuited_metric" && failure.message.contains("accuracy"), "\(failure)")
        line.manifest.evaluate.metrics = [.loss]
        line.manifest.evaluate.suites["some"]?.metrics = [.acc]
        #expect(try line.run("evaluate").result.failure?.message.contains("choices") == true)
    }

    @Test func questionsAreReadInTheirUsualForms() throws {
        func read(_ json: String) throws -> ChoiceQuestion {
            let value = try JSONDecoder().decode(JSONValue.self, from: Data(json.utf8))
            guard case .object(let members) = value else { throw UnusableRecord(reason: "no object") }
            func ordered(_ value: JSONValue) -> OrderedJSON {
                switch value {
                case .null: .null
                case .bool(let value): .bool(value)
                case .integer(let value): .integer(value)
                case .number(let value): .number(value)
                case .string(let text): .string(text)
                case .array(let values): .array(values.map(ordered))
                case .object(let members):
                    .object(members.sorted { $0.key < $1.key }.map { ($0.key, ordered($0.value)) })
                }
            }
            return try ChoiceFormat.read(
                RecordFields(values: members.map { ($0.key, ordered($0.value)) }, columns: [:]))
        }
        #expect(try read(#"{"question": "q", "choices": ["a", "b"], "answer": 1}"#).answer == 1)
        #expect(try read(#"{"prompt": "q", "choices": ["a", "b"], "answer": "B"}"#).answer == 1)
        #expect(
            try read(#"{"question": "q", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"}"#)
                .answer == 1)
        #expect(try read(#"{"context": "q", "endings": ["a", "b"], "label": "0"}"#).answer == 0)
        for broken in [
            #"{"question": "q", "choices": ["a"], "answer": 0}"#,
            #"{"question": "q", "choices": ["a", "b"], "answer": 2}"#,
            #"{"question": "q", "choices": ["a", "b"]}"#, #"{"choices": ["a", "b"], "answer": 0}"#,
        ] { #expect(throws: UnusableRecord.self) { try read(broken) } }
    }
}
