import Foundation
import Layers
import TensorCore
import TestSupport
import Testing

@testable import Training

@Suite struct EvaluationTests {
    @Test func batchesDoNotChangeTheNumbers() throws {
        let samples = try Samples(count: 30, masked: true)
        let model = TinyModel()
        let one = try Evaluation(of: model, on: samples.dataset, batchTokens: 1)
        for batchTokens in [13, 100, 10_000] {
            let other = try Evaluation(of: model, on: samples.dataset, batchTokens: batchTokens)
            for (a, b) in zip(one.examples, other.examples) {
                #expect(a.tokens == b.tokens && abs(a.negativeLogLikelihood - b.negativeLogLikelihood) < 1e-4)
            }
        }
        #expect(one.tokens == samples.dataset.targetCount)
        let mean = try #require(one.meanNegativeLogLikelihood)
        #expect(abs(try #require(one.perplexity) - exp(mean)) < 1e-9)
    }

    @Test func eachExampleIsTheSumOverItsLogits() throws {
        let ids: [Int32] = [3, 1, 4, 1, 5]
        let model = TinyModel()
        let logits = model.logits(model.hiddenStates(of: TokenBatch([ids]), context: ForwardContext())).values
        var expected = 0.0
        for (row, target) in ids.dropFirst().enumerated() {
            let scores = logits[row * 17..<(row + 1) * 17].map(Double.init)
            expected += log(scores.reduce(0) { $0 + exp($1) }) - scores[Int(target)]
        }
        let evaluation = try Evaluation(of: model, on: [ids], batchTokens: 100)
        #expect(evaluation.examples[0].tokens == 4)
        #expect(abs(evaluation.examples[0].negativeLogLikelihood - expected) < 1e-5)
    }

    @Test func whatIsLongerThanTheContextIsScoredOnceInWindows() throws {
        let model = TinyModel(contextLength: 5)
        for count in [1, 2, 5, 6, 7, 10, 11, 13] {
            let ids = (0..<count).map { Int32($0 * 7 % 17) }
            let evaluation = try Evaluation(of: model, on: [ids], batchTokens: 8)
            #expect(evaluation.examples[0].tokens == count - 1)
            var expected = 0.0
            for low in stride(from: 0, to: count - 1, by: 5) {
                let inputs = Array(ids[low..<min(low + 5, count - 1)])
                let batch = TokenBatch(
                    ids: inputs, positions: inputs.indices.map(Int32.init), sequences: [0..<inputs.count],
                    targets: Array(ids[low + 1..<low + 1 + inputs.count]))
                let scored = model.score(batch, scale: 1, context: ForwardContext())
                expected += scored.negativeLogLikelihoods.reduce(0) { $0 + Double($1) }
            }
            #expect(abs(evaluation.examples[0].negativeLogLikelihood - expected) < 1e-4, "\(count) tokens")
        }
    }

    @Test func nothingScoredHasNoMean() throws {
        let evaluation = try Evaluation(of: TinyModel(), on: [[4], []], batchTokens: 10)
        #expect(evaluation.tokens == 0 && evaluation.meanNegativeLogLikelihood == nil && evaluation.perplexity == nil)
    }

    @Test func idsBeyondTheVocabularyAreErrors() throws {
        for ids in [[1, 17], [-1, 2]] as [[Int32]] {
            let error = try #require(throws: TrainingError.self) {
                try Evaluation(of: TinyModel(), on: [[1, 2], ids], batchTokens: 10)
            }
            #expect(error.code == .vocabulary && error.description.contains("sequence 1"))
        }
        let samples = try Samples([[1, 30]])
        let error = try #require(throws: TrainingError.self) {
            try Evaluation(of: TinyModel(), on: samples.dataset, batchTokens: 10)
        }
        #expect(error.code == .vocabulary && error.description.contains("30"))
    }

    @Test func itCanBeEndedBetweenBatches() throws {
        struct Enough: Error {}
        let samples = try Samples(count: 30)
        var seen: [Int] = []
        #expect(throws: Enough.self) {
            try Evaluation(of: TinyModel(), on: samples.dataset, batchTokens: 20) { tokens in
                seen.append(tokens)
                if seen.count == 3 { throw Enough() }
            }
        }
        #expect(seen.count == 3 && seen == seen.sorted())
    }
}

@Suite struct GeneratorTests {
    /// The same without a cache: the whole text goes through the model for every token.
    private func plain(_ model: TinyModel, _ prompt: [Int32], _ count: Int) -> [Int32] {
        var ids = prompt
        for _ in 0..<count {
            let logits = model.logits(model.hiddenStates(of: TokenBatch([ids]), context: ForwardContext())).values
            let last = logits.suffix(17)
            ids.append(Int32(last.firstIndex(of: last.max()!)! - last.startIndex))
        }
        return Array(ids.dropFirst(prompt.count))
    }

    @Test(arguments: 1...6 as ClosedRange<UInt64>) func theCacheChangesNothing(seed: UInt64) throws {
        let model = TinyModel(contextLength: 20, seed: seed)
        for prompt in [[3], [5, 2, 9, 1]] as [[Int32]] {
            let result = try Generator(model).greedy(prompt, maximum: 15)
            #expect(result == .init(ids: plain(model, prompt, 15), ending: .maximumReached))
        }
    }

    @Test func itStopsAtAStopTokenTheMaximumAndTheEndOfTheContext() throws {
        let model = TinyModel(contextLength: 9, seed: 2)
        let prompt: [Int32] = [5, 2, 9]
        var heard: [Int32] = []
        let full = try Generator(model).greedy(prompt, maximum: 100) { heard.append($0) }
        #expect(full.ids.count == 7 && full.ending == .contextFull, "nine inputs, the tenth token is only an output")
        #expect(heard == full.ids)
        let stop = full.ids[3]
        let stopped = try Generator(model).greedy(prompt, maximum: 100, stopIDs: [stop])
        #expect(stopped.ending == .stopToken(stop))
        #expect(stopped.ids == Array(full.ids.prefix { $0 != stop }))
        #expect(try Generator(model).greedy(prompt, maximum: 0) == .init(ids: [], ending: .maximumReached))
        let long = try #require(throws: TrainingError.self) {
            try Generator(model).greedy([Int32](repeating: 1, count: 10), maximum: 1)
        }
        #expect(long.code == .tooLong)
        #expect(
            try #require(throws: TrainingError.self) { try Generator(model).greedy([17], maximum: 1) }.code
                == .vocabulary)
    }

    @Test func aModelThatSaysNoNumbersIsAnError() throws {
        for (place, value) in [(0, Float.nan), (16, .nan), (40, .infinity)] {
            let model = TinyModel()
            var weights = model.outputHead.tensor.values
            weights[place] = value
            model.outputHead.assign(Tensor(weights, shape: model.outputHead.tensor.shape))
            let error = try #require(throws: TrainingError.self) { try Generator(model).greedy([3], maximum: 2) }
            #expect(error.code == .nonFiniteLoss)
        }
    }

    @Test func anyMaximumIsPossible() throws {
        let model = TinyModel(contextLength: 9, seed: 2)
        #expect(try Generator(model).greedy([5, 2], maximum: .max).ending == .contextFull)
    }

    @Test func anEmptyPromptIsAProgrammersError() async {
        await #expect(processExitsWith: .failure) {
            _ = try Generator(TinyModel()).greedy([], maximum: 1)
        }
    }
}
