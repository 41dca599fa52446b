import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Training

/// Training and evaluation of models that judge whole sequences.
@Suite struct ClassificationTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func model(labels: Int = 3) throws -> any SequenceModel {
        let configuration = try ModelConfiguration(folder: Fixtures.folder("golden/bert_cls"))
        return try ModelRegistry.random(configuration, for: .sequenceClassification(labels: labels), seed: 4)
    }

    /// Sequences whose first token tells their class.
    private func dataset(_ name: String, count: Int, classes: Int32 = 3, from first: Int = 0) throws -> TokenDataset {
        let writer = try TokenDatasetWriter(folder.url.appending(path: name))
        let random = RandomStream(seed: 9)
        for index in first..<first + count {
            let stream = random.substream(index)
            let length = 4 + Int(stream.bits(at: 0) % 5)
            var ids = (0..<length).map { Int32(10 + stream.bits(at: $0 + 2) % 30) }
            let label = Int32(index) % classes
            ids[0] = 50 + label
            try writer.append(ids, scored: ids.map { _ in false }, label: .class(label))
        }
        return try writer.finish()
    }

    @Test func batchesCarryClassesAndTypes() throws {
        let writer = try TokenDatasetWriter(folder.url.appending(path: "pairs.tokens"))
        try writer.append([2, 5, 6], scored: [false, false, false], label: .class(1), types: [0, 0, 0])
        try writer.append([2, 7, 3, 8], scored: [false, false, false, false], label: .class(0), types: [0, 0, 1, 1])
        let data = try writer.finish()
        let batch = TokenBatch(data, [1, 0], for: .sequenceClassification(labels: 2))
        #expect(batch.labels == [0, 1] && batch.tokenTypes == [0, 0, 1, 1, 0, 0, 0])
        #expect(batch.targets.allSatisfy { $0 < 0 } && batch.targetCount == 2)
        #expect(batch.sequences == [0..<4, 4..<7] && batch.positions == [0, 1, 2, 3, 0, 1, 2])
        #expect(TokenBatch(data, [0], for: .sequenceClassification(labels: 2)).tokenTypes.allSatisfy { $0 == 0 })

        let tokens = try TokenDatasetWriter(folder.url.appending(path: "tokens.tokens"))
        try tokens.append([2, 5, 6], scored: [false, false, false], label: .tokens([-1, 2, 0]))
        let labelled = TokenBatch(try tokens.finish(), [0], for: .tokenClassification(labels: 3))
        #expect(labelled.targets == [-1, 2, 0] && labelled.labels.isEmpty && labelled.targetCount == 2)
    }

    @Test func batchesCarryNumbers() throws {
        let writer = try TokenDatasetWriter(folder.url.appending(path: "numbers.tokens"))
        for (ids, value) in [([2, 5, 6] as [Int32], Float(1.5)), ([2, 7], -3)] {
            try writer.append(ids, scored: ids.map { _ in false }, label: .values([value]))
        }
        let data = try writer.finish()
        let batch = TokenBatch(data, [1, 0], for: .sequenceRegression)
        #expect(batch.values == [-3, 1.5] && batch.labels == [0, 1] && batch.targetCount == 2)
        let configuration = try ModelConfiguration(folder: Fixtures.folder("golden/bert_cls"))
        let model = try ModelRegistry.random(configuration, for: .sequenceRegression, seed: 4)
        let evaluation = try Evaluation(of: model, on: data, batchTokens: 50)
        let outputs = Autograd.withoutGradients { model.outputs(of: batch, context: ForwardContext()).values }
        #expect(outputs.count == 2 && evaluation.accuracy == nil && evaluation.tokens == 2)
        for (example, error) in zip(evaluation.examples, [outputs[1] - 1.5, outputs[0] + 3]) {
            #expect(abs(example.negativeLogLikelihood - Double(error * error)) < 1e-4)
        }
        #expect(throws: TrainingError.self) { try Evaluation(of: self.model(), on: data, batchTokens: 50) }
        let classes = try dataset("classes.tokens", count: 3)
        #expect(throws: TrainingError.self) { try Evaluation(of: model, on: classes, batchTokens: 50) }
    }

    @Test func classesAreLearnedAndCounted() throws {
        let training = try dataset("train.tokens", count: 60), test = try dataset("test.tokens", count: 30, from: 60)
        let model = try model()
        let before = try #require(Evaluation(of: model, on: test, batchTokens: 50).meanNegativeLogLikelihood)
        var options = TrainingOptions()
        options.duration = .epochs(20)
        options.stepSize = .sequences(10)
        options.microBatchSize = .tokens(40)
        options.learningRate = 5e-3
        let trainer = try Trainer(
            model: model, parameters: model.parameters, options: options, training: training, validation: test)
        var losses: [Double] = []
        let outcome = try trainer.run {
            if case .stepped(let report) = $0 { losses.append(report.loss) }
        }
        #expect(outcome.steps == 120 && losses.count == 120)
        #expect(abs(losses[0] - log(3)) < 0.3, "a mean over sequences, near chance at first")
        let evaluation = try Evaluation(of: model, on: test, batchTokens: 50)
        let after = try #require(evaluation.meanNegativeLogLikelihood)
        #expect(evaluation.tokens == 30 && after < 0.3 * before)
        #expect(try #require(evaluation.accuracy) > 0.9)
        #expect(outcome.best.map { abs($0.loss - after) < 1e-6 } == true, "validation measures the same")

        // The count is that of the largest logits.
        let batch = TokenBatch(test, 0..<30, for: model.task)
        let logits = Autograd.withoutGradients { model.outputs(of: batch, context: ForwardContext()).values }
        let right = batch.labels.indices.filter { row in
            let best = (0..<3).max { logits[row * 3 + $0] < logits[row * 3 + $1] }
            return best == Int(batch.labels[row])
        }
        #expect(evaluation.examples.reduce(0) { $0 + ($1.correct ?? 0) } == right.count)
        #expect(evaluation.examples.allSatisfy { $0.tokens == 1 && $0.correct != nil })
    }

    @Test func theSizeOfMicroBatchesDoesNotMatter() throws {
        let data = try dataset("train.tokens", count: 12)
        let model = try model()
        func likelihoods(_ tokens: Int) throws -> [Double] {
            try Evaluation(of: model, on: data, batchTokens: tokens).examples.map(\.negativeLogLikelihood)
        }
        #expect(try zip(likelihoods(1), likelihoods(500)).allSatisfy { abs($0 - $1) < 1e-5 })
    }

    @Test func dataThatDoesNotFitTheHeadIsRefused() throws {
        let model = try model()
        func refusal(_ data: TokenDataset) -> TrainingError? {
            #expect(throws: TrainingError.self) {
                try Trainer(model: model, parameters: model.parameters, options: TrainingOptions(), training: data)
            }
        }
        let four = try dataset("four.tokens", count: 8, classes: 4)
        #expect(refusal(four)?.description.contains("class 3") == true)
        #expect(throws: TrainingError.self) { try Evaluation(of: model, on: four, batchTokens: 50) }
        let plain = try TokenDatasetWriter(folder.url.appending(path: "plain.tokens"))
        try plain.append([1, 2, 3])
        #expect(refusal(try plain.finish())?.description.contains("no label") == true)
        let long = try TokenDatasetWriter(folder.url.appending(path: "long.tokens"))
        let ids = [Int32](repeating: 5, count: model.contextLength + 1)
        try long.append(ids, scored: ids.map { _ in false }, label: .class(0))
        #expect(refusal(try long.finish())?.code == .tooLong)
    }

    /// A decoder that writes the name of the class goes on learning it as text.
    @Test func aLanguageModelLearnsTokensWhateverTheLabels() throws {
        let writer = try TokenDatasetWriter(folder.url.appending(path: "both.tokens"))
        try writer.append([2, 5, 6, 7], scored: [false, false, true, true], label: .class(1))
        let data = try writer.finish()
        #expect(TokenBatch(data, [0]).targets == [-1, 6, 7, -1] && TokenBatch(data, [0]).labels.isEmpty)
        let evaluation = try Evaluation(of: TinyModel(), on: data, batchTokens: 50)
        #expect(evaluation.tokens == 2 && evaluation.examples[0].correct != nil)
    }
}
