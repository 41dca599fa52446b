import Layers
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

    /// Sequences of very different lengths, as chats have: many short, few long.
    private func uneven(_ count: Int) throws -> Samples {
        let random = RandomStream(seed: 3)
        return try Samples(
            (0..<count).map { index in
                let bits = random.bits(at: index)
                return [Int32](repeating: 1, count: 2 + Int(bits % (bits % 7 == 0 ? 900 : 120)))
            })
    }

    @Test func packsAreNearlyFullAndEverySequenceComesOnce() throws {
        let samples = try uneven(3000)
        let lengths = (0..<3000).map { samples.dataset.length($0) }
        func fill(_ packing: Int?) throws -> Double {
            let plan = try BatchPlan(
                samples.dataset, duration: .epochs(2), stepSize: .tokens(4096), microBatchSize: .tokens(2048),
                packing: packing, seed: 5)
            var (parts, tokens) = (0, 0)
            for epoch in 0..<2 {
                let steps = plan.steps(inEpoch: epoch)
                #expect(steps.flatMap(\.sequences).sorted() == Array(0..<3000))
                for step in steps {
                    #expect(step.tokens == step.sequences.reduce(0) { $0 + lengths[$1] })
                    let sizes = plan.microBatches(of: step).map { $0.reduce(0) { $0 + lengths[$1] } }
                    #expect(sizes.reduce(0, +) == step.tokens && sizes.allSatisfy { $0 <= 2048 })
                    (parts, tokens) = (parts + sizes.count, tokens + step.tokens)
                    if packing != nil { #expect(step.endsEpoch || abs(step.tokens - 4096) <= 1024) }
                }
            }
            return Double(tokens) / Double(parts * 2048)
        }
        #expect(try fill(2048) > 0.99)
        #expect(try fill(nil) < 0.9, "the order as it is drawn leaves a tenth of the room")
    }

    @Test func packingIsDrawnAnewEachEpochAndFromTheSeedAlone() throws {
        let samples = try uneven(400)
        func order(_ seed: UInt64, _ epoch: Int, _ micro: Int = 2048) throws -> [ArraySlice<Int>] {
            try BatchPlan(
                samples.dataset, duration: .epochs(2), stepSize: .tokens(4096), microBatchSize: .tokens(micro),
                packing: 2048, seed: seed
            ).steps(inEpoch: epoch).map(\.sequences)
        }
        #expect(try order(1, 0) == order(1, 0) && order(1, 0) != order(2, 0) && order(1, 0) != order(1, 1))
        // Smaller micro-batches, which a lack of memory asks for, do not change what the steps hold.
        #expect(try order(1, 1) == order(1, 1, 512))
        let counted = try BatchPlan(
            samples.dataset, duration: .epochs(1), stepSize: .sequences(16), microBatchSize: .tokens(2048),
            packing: 2048, seed: 1)
        let drawn = RandomStream(seed: 1).substream("order").substream(0).permutation(400)
        for (index, step) in counted.steps(inEpoch: 0).enumerated() {
            #expect(Set(step.sequences) == Set(drawn[16 * index..<16 * index + 16]), "only arranged within the step")
        }
    }

    @Test func noSequenceOfAPackSeesAnother() throws {
        let samples = try Samples(count: 40, masked: true)
        let model = TinyModel()
        let plan = try BatchPlan(
            samples.dataset, duration: .epochs(1), stepSize: .tokens(48), microBatchSize: .tokens(48), packing: 48,
            seed: 2)
        func likelihoods(_ sequences: some Collection<Int>) -> [Float] {
            model.score(TokenBatch(samples.dataset, sequences), scale: 1, context: ForwardContext())
                .negativeLogLikelihoods
        }
        for step in plan.steps(inEpoch: 0) {
            for pack in plan.microBatches(of: step) {
                let batch = TokenBatch(samples.dataset, pack)
                #expect(batch.positions == pack.flatMap { Array(0..<Int32(samples.dataset.length($0))) })
                let together = likelihoods(pack), alone = pack.flatMap { likelihoods([$0]) }
                #expect(together.count == alone.count)
                #expect(zip(together, alone).allSatisfy { abs($0 - $1) < 1e-5 })
            }
        }
    }

    @Test func bestFitLeavesTheLeastRoom() {
        let lengths: [Int32] = [5, 7, 3, 6, 4, 2, 3, 12]
        let packs = SequencePacking.packs(0..<8, lengths: lengths, capacity: 10)
        #expect(packs == [[7], [1, 2], [3, 4], [0, 6, 5]])
        #expect(SequencePacking.packs([], lengths: [], capacity: 10).isEmpty)
        // Whatever the lengths: no pack is too large, and no two could have been one.
        let random = RandomStream(seed: 9)
        for trial in 0..<50 {
            let capacity = 1 + Int(random.bits(at: trial) % 200)
            let stream = random.substream(trial)
            let lengths = (0..<120).map { 1 + Int32(stream.bits(at: $0) % 150) }
            let packs = SequencePacking.packs(Array(0..<120), lengths: lengths, capacity: capacity)
            #expect(packs.flatMap { $0 }.sorted() == Array(0..<120))
            let sums = packs.map { $0.reduce(0) { $0 + Int(lengths[$1]) } }
            #expect(zip(packs, sums).allSatisfy { $0.count == 1 || $1 <= capacity })
            let smallest = sums.sorted().prefix(2)
            #expect(smallest.count < 2 || smallest.reduce(0, +) > capacity)
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
