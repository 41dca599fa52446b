import TensorCore
import TestSupport
import Testing

@testable import Training

@Suite struct BatchPlanTests {
    private func plan(
        _ samples: Samples, _ duration: BatchPlan.Duration, _ size: BatchPlan.StepSize = .tokens(40),
        _ micro: BatchPlan.MicroBatchSize = .tokens(15), seed: UInt64 = 5
    ) throws -> BatchPlan {
        try BatchPlan(samples.dataset, duration: duration, stepSize: size, microBatchSize: micro, seed: seed)
    }

    @Test(arguments: [BatchPlan.StepSize.tokens(40), .sequences(6)])
    func everySequenceComesOnceAnEpochInAnOrderOfItsOwn(size: BatchPlan.StepSize) throws {
        let samples = try Samples(count: 101)
        let plan = try plan(samples, .epochs(3), size)
        var orders: [[Int]] = []
        var index = 0
        for epoch in 0..<plan.epochCount {
            let steps = plan.steps(inEpoch: epoch)
            let order = steps.flatMap(\.sequences)
            #expect(order.sorted() == Array(0..<101))
            orders.append(order)
            for step in steps {
                #expect(step.index == index && step.epoch == epoch && plan.epoch(ofStep: index) == epoch)
                #expect(step.endsEpoch == (step.index == steps.last?.index))
                let tokens = step.sequences.map { samples.dataset.length($0) }
                #expect(step.tokens == tokens.reduce(0, +))
                #expect(step.targets == step.sequences.reduce(0) { $0 + samples.dataset[$1].targetCount })
                switch size {
                case .tokens(let wanted):
                    #expect(step.tokens - tokens.last! < wanted, "full before its last sequence")
                    #expect(step.endsEpoch || step.tokens >= wanted)
                case .sequences(let wanted):
                    #expect(step.endsEpoch ? step.sequences.count <= wanted : step.sequences.count == wanted)
                }
                index += 1
            }
        }
        #expect(index == plan.stepCount)
        #expect(Set(orders).count == 3)
        #expect(orders[1] == RandomStream(seed: 5).substream("order").substream(1).permutation(101))
    }

    @Test func microBatchesKeepTheOrderAndTheLimit() throws {
        let samples = try Samples(count: 60)
        for micro in [BatchPlan.MicroBatchSize.tokens(15), .tokens(1), .sequences(1), .sequences(2), .tokens(1000)] {
            let plan = try plan(samples, .epochs(1), .tokens(40), micro)
            for step in plan.steps(inEpoch: 0) {
                let parts = plan.microBatches(of: step)
                #expect(parts.flatMap { $0 } == Array(step.sequences))
                for part in parts {
                    let tokens = part.reduce(0) { $0 + samples.dataset.length($1) }
                    switch micro {
                    case .tokens(let limit): #expect(tokens <= limit || part.count == 1)
                    case .sequences(let limit): #expect((1...limit).contains(part.count))
                    }
                }
            }
        }
    }

    @Test func durationsGiveTheNumberOfSteps() throws {
        let samples = try Samples(count: 100)
        let size = BatchPlan.StepSize.sequences(10)
        #expect(try plan(samples, .epochs(1), size).stepCount == 10)
        #expect(try plan(samples, .epochs(2.5), size).stepCount == 25)
        #expect(try plan(samples, .epochs(0.1), size).stepCount == 1)
        #expect(try plan(samples, .epochs(0.11), size).stepCount == 2)
        #expect(try plan(samples, .epochs(0.0001), size).stepCount == 1)
        let counted = try plan(samples, .steps(23), size)
        #expect(counted.stepCount == 23 && counted.epochCount == 3)
        #expect(counted.steps(inEpoch: 2).map(\.index) == [20, 21, 22])
        #expect(counted.steps(inEpoch: 2).allSatisfy { !$0.endsEpoch })
        for wrong in [BatchPlan.Duration.epochs(0), .epochs(-1), .epochs(.nan), .steps(0)] {
            #expect(try #require(throws: TrainingError.self) { try plan(samples, wrong) }.code == .invalidInput)
        }
    }

    @Test func stepsInWhichNothingCountsAreLeftOut() throws {
        let sequences = (0..<20).map { _ in [Int32](repeating: 1, count: 4) }
        let samples = try Samples(
            sequences, scored: sequences.indices.map { [Bool](repeating: $0 % 2 == 0, count: 4) })
        let plan = try plan(samples, .epochs(2), .sequences(1))
        #expect(plan.stepCount == 20, "half of the sequences count")
        #expect(plan.steps(inEpoch: 1).allSatisfy { $0.targets == 3 })
        let silent = try Samples(sequences, scored: sequences.map { _ in [Bool](repeating: false, count: 4) })
        let error = try #require(throws: TrainingError.self) { try self.plan(silent, .epochs(1)) }
        #expect(error.code == .nothingToTrain)
    }
}
