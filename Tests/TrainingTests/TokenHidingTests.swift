import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Training

/// Models that find hidden tokens, and models of sentence embeddings.
@Suite struct TokenHidingTests {
    private let folder: TemporaryFolder
    private let hiding = TokenHiding(maskID: 3, vocabularySize: 60)

    init() throws { folder = try TemporaryFolder() }

    /// Sequences whose tokens are known by their place and one another; the first and the last token stand for no text.
    private func dataset(_ count: Int, length: Int = 12) throws -> TokenDataset {
        let writer = try TokenDatasetWriter(folder.url.appending(path: "\(UUID().uuidString).tokens"))
        for index in 0..<count {
            let ids = [2] + (0..<length - 2).map { Int32(10 + $0 + index % 2 * 15) } + [1]
            try writer.append(ids, scored: ids.indices.map { $0 > 0 && $0 < length - 1 })
        }
        return try writer.finish()
    }

    @Test func fifteenPercentAreAskedForAndEightyPercentOfThoseAreMasked() {
        let stream = RandomStream(seed: 4)
        var (asked, masked, kept, other) = (0, 0, 0, Set<Int32>())
        let count = 200 * 500
        for sequence in 0..<200 {
            for position in 0..<500 {
                guard case .asked(let id) = hiding.fate(of: 40, at: position, of: sequence, stream) else { continue }
                asked += 1
                if id == 3 { masked += 1 } else if id == 40 { kept += 1 } else { other.insert(id) }
            }
        }
        #expect(abs(Double(asked) / Double(count) - 0.15) < 0.005)
        // One in sixty of what is drawn is the mask, or the token itself.
        #expect(abs(Double(masked) / Double(asked) - 0.8) < 0.02)
        #expect(abs(Double(kept) / Double(asked) - 0.1) < 0.02)
        #expect(other.count == 58 && other.allSatisfy { (0..<60).contains($0) })
    }

    @Test func whatIsHiddenDependsOnTheSequenceAndNotOnItsBatch() throws {
        let data = try dataset(20), stream = RandomStream(seed: 1)
        let whole = TokenBatch(data, 0..<20, hiding: hiding, stream)
        let parts = (0..<20).map { TokenBatch(data, [$0], hiding: hiding, stream) }
        #expect(whole.ids == parts.flatMap(\.ids) && whole.targets == parts.flatMap(\.targets))
        #expect(
            whole.targetCount > 10 && TokenBatch(data, 0..<20, hiding: hiding, stream.substream(1)).ids != whole.ids)
        let plain = TokenBatch(data, 0..<20, for: .maskedLM)
        for (row, target) in whole.targets.enumerated() {
            #expect(target < 0 ? whole.ids[row] == plain.ids[row] : target == plain.ids[row])
            // What stands for no text is never hidden.
            #expect(target < 0 || target >= 10)
        }
        #expect(plain.targetCount == 0)
    }

    private func model(_ task: ModelTask) throws -> any SequenceModel {
        try ModelRegistry.random(ModelConfiguration(folder: Fixtures.folder("golden/bert_mlm")), for: task, seed: 4)
    }

    @Test func hiddenTokensAreFoundAfterTraining() throws {
        let training = try dataset(60), model = try model(.maskedLM)
        #expect(throws: TrainingError.self) {
            try Trainer(model: model, parameters: model.parameters, options: TrainingOptions(), training: training)
        }
        #expect(throws: TrainingError.self) { try Evaluation(of: model, on: training, batchTokens: 64) }
        let hiding = TokenHiding(maskID: 3, vocabularySize: model.vocabularySize)
        func judge() throws -> Evaluation {
            try Evaluation(of: model, on: training, batchTokens: 64, hiding: hiding)
        }
        let before = try judge()
        #expect(try judge() == before, "the same tokens are hidden every time")
        var options = TrainingOptions()
        options.duration = .epochs(25)
        options.stepSize = .sequences(10)
        options.learningRate = 1e-2
        let trainer = try Trainer(
            model: model, parameters: model.parameters, options: options, training: training, hiding: hiding)
        var losses: [Double] = []
        _ = try trainer.run { if case .stepped(let report) = $0 { losses.append(report.loss) } }
        let after = try judge()
        let ratio = try #require(after.meanNegativeLogLikelihood) / (try #require(before.meanNegativeLogLikelihood))
        #expect(ratio < 0.5, "\(ratio)")
        #expect(try #require(after.accuracy) > 2 * (try #require(before.accuracy)) + 0.1)
        #expect(abs(losses[0] - log(Double(model.vocabularySize))) < 1, "a mean over what is hidden")
    }

    /// However a step is cut, it is the same step.
    @Test func aStepIsTheSumOfItsParts() throws {
        let training = try dataset(16), vocabulary = try model(.maskedLM).vocabularySize
        func losses(_ microBatch: Int) throws -> [Double] {
            let model = try model(.maskedLM)
            var options = TrainingOptions()
            options.duration = .steps(4)
            options.stepSize = .sequences(8)
            options.microBatchSize = .sequences(microBatch)
            let trainer = try Trainer(
                model: model, parameters: model.parameters, options: options, training: training,
                hiding: TokenHiding(maskID: 3, vocabularySize: vocabulary))
            var losses: [Double] = []
            _ = try trainer.run { if case .stepped(let report) = $0 { losses.append(report.loss) } }
            return losses
        }
        #expect(try zip(losses(1), losses(8)).allSatisfy { abs($0 - $1) < 1e-4 })
    }

    // MARK: Pairs

    private func pairs(_ count: Int, scores: Bool = false) throws -> TokenDataset {
        let writer = try TokenDatasetWriter(folder.url.appending(path: "\(UUID().uuidString).tokens"))
        for index in 0..<count {
            let topic = Int32(10 + index % 12)
            let first: [Int32] = [2, topic, topic, 1], second: [Int32] = [2, topic + 20, 1]
            try writer.append(
                first + second, scored: [Bool](repeating: false, count: 7),
                label: scores ? .values([index % 2 == 0 ? 0.9 : 0.1]) : .class(0), types: [0, 0, 0, 0, 1, 1, 1])
        }
        return try writer.finish()
    }

    @Test func aPairIsTwoSequencesOfWhichOneAsks() throws {
        let batch = TokenBatch(try pairs(3), [2, 0], for: .featureExtraction)
        #expect(
            batch.sequences == [0..<4, 4..<7, 7..<11, 11..<14] && batch.positions.prefix(7) == [0, 1, 2, 3, 0, 1, 2])
        #expect(batch.labels == [1, -1, 3, -1] && batch.values.isEmpty && batch.tokenTypes.isEmpty)
        #expect(batch.targetCount == 2)
        let scored = TokenBatch(try pairs(2, scores: true), 0..<2, for: .featureExtraction)
        #expect(scored.values[0] == 0.9 && scored.values[2] == 0.1 && scored.values[1].isNaN)
        let single = try TokenDatasetWriter(folder.url.appending(path: "single.tokens"))
        try single.append([2, 5, 1], scored: [false, false, false], label: .class(0))
        let data = try single.finish()
        #expect(throws: TrainingError.self) { try Evaluation(of: model(.featureExtraction), on: data, batchTokens: 9) }
    }

    @Test(arguments: [true, false]) func embeddingsMoveTogether(hasScores: Bool) throws {
        let training = try pairs(24, scores: hasScores), model = try model(.featureExtraction)
        let before = try Evaluation(of: model, on: training, batchTokens: 84)
        #expect(before.tokens == 24 && (before.accuracy == nil) == hasScores)
        var options = TrainingOptions()
        options.duration = .epochs(30)
        options.stepSize = .sequences(12)
        options.microBatchSize = .sequences(12)
        options.learningRate = 5e-3
        let trained = model.parameters.filter { !$0.name.contains("pooler") }
        _ = try Trainer(model: model, parameters: trained, options: options, training: training).run { _ in }
        let after = try Evaluation(of: model, on: training, batchTokens: 84)
        let ratio = try #require(after.meanNegativeLogLikelihood) / (try #require(before.meanNegativeLogLikelihood))
        #expect(ratio < 0.5, "\(ratio)")
        if !hasScores { #expect(try #require(after.accuracy) > 0.9) }
    }
}
