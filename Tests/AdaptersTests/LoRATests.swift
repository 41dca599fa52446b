import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

@Suite struct LoRATests {
    private func projection(_ layout: WeightLayout, input: Int = 5, output: Int = 4) -> Projection {
        let random = RandomStream(seed: 2)
        let shape = layout == .outputByInput ? [output, input] : [input, output]
        return Projection(
            path: "h.0.map", weight: Parameter("w", random.normal(shape, standardDeviation: 1)),
            bias: Parameter("b", random.substream(1).normal([output], standardDeviation: 1)), layout: layout)
    }

    private func adaptation(_ projection: Projection, dropout: Double = 0) throws -> LoRAAdaptation {
        let method = try LoRA(rank: 3, alpha: 6, dropout: dropout)
        let adaptation = try #require(
            method.adaptations(for: [projection], random: RandomStream(seed: 1))[0] as? LoRAAdaptation)
        adaptation.b.assign(RandomStream(seed: 9).normal(adaptation.b.tensor.shape, standardDeviation: 1))
        return adaptation
    }

    @Test(arguments: [WeightLayout.outputByInput, .inputByOutput], [0.0, 0.4])
    func gradientsAreDerivatives(layout: WeightLayout, dropout: Double) throws {
        let projection = projection(layout)
        let adaptation = try adaptation(projection, dropout: dropout)
        let x = Parameter("x", RandomStream(seed: 4).normal([6, 5], standardDeviation: 1))
        let weights = RandomStream(seed: 5).normal([1, 4], standardDeviation: 1)
        let context = ForwardContext(dropout: RandomStream(seed: 6))
        let report = GradientCheck.run(adaptation.parameters + [x]) {
            let y = adaptation.forward(x.tensor, projection: projection, context: context)
            return y.linear(weights).reshaped([1, 6]).linear(Tensor([1, -1, 2, 0.5, 1, 3], shape: [1, 6])).reshaped([])
        }
        #expect(report.largestError < 2e-3, "\(report.place)")
    }

    @Test(arguments: [WeightLayout.outputByInput, .inputByOutput])
    func deltaIsTheProductOfTheFactors(layout: WeightLayout) throws {
        let projection = projection(layout)
        let adaptation = try adaptation(projection)
        let delta = adaptation.weightDelta(for: projection)
        #expect(delta.shape == projection.weight.tensor.shape)
        let (a, b) = (adaptation.a.tensor.values, adaptation.b.tensor.values)
        for output in 0..<4 {
            for input in 0..<5 {
                let expected = 2 * (0..<3).reduce(Float(0)) { $0 + b[output * 3 + $1] * a[$1 * 5 + input] }
                let place = layout == .outputByInput ? output * 5 + input : input * 4 + output
                #expect(abs(delta.values[place] - expected) < 1e-5)
            }
        }
    }

    @Test func startIsPEFTs() throws {
        let projection = projection(.outputByInput, input: 400, output: 8)
        let method = try LoRA(rank: 16, alpha: 16)
        let first = try method.adaptations(for: [projection], random: RandomStream(seed: 1))[0].parameters
        #expect(first[0].tensor.shape == [16, 400] && first[1].tensor.shape == [8, 16])
        let a = first[0].tensor.values, bound = Float(1) / 20
        #expect(
            a.allSatisfy { abs($0) <= bound } && a.contains { $0 > 0.9 * bound } && a.contains { $0 < -0.9 * bound })
        // The variance of a uniform distribution of this width.
        let variance = a.reduce(0) { $0 + $1 * $1 } / Float(a.count)
        #expect(abs(variance / (bound * bound / 3) - 1) < 0.05)
        #expect(first[1].tensor.values.allSatisfy { $0 == 0 })
    }

    @Test func dropoutActsOnTheAdapterAloneAndOnlyInTraining() throws {
        let projection = projection(.outputByInput)
        let x = RandomStream(seed: 4).normal([64, 5], standardDeviation: 1)
        let training = ForwardContext(dropout: RandomStream(seed: 6)), evaluation = ForwardContext()
        func run(_ adaptation: LoRAAdaptation, _ context: ForwardContext) -> [Float] {
            adaptation.forward(x, projection: projection, context: context).values
        }
        let plain = try adaptation(projection), dropped = try adaptation(projection, dropout: 0.5)
        #expect(run(plain, training) == run(plain, evaluation), "without dropout, training draws nothing")
        #expect(run(dropped, evaluation) == run(plain, evaluation))
        #expect(run(dropped, training) != run(plain, evaluation))
        #expect(run(dropped, training) == run(dropped, training), "the stream decides the mask")
        #expect(run(dropped, training) != run(dropped, ForwardContext(dropout: RandomStream(seed: 7))))
        // Each map draws from a stream of its own name, so that no two share a mask.
        let masked = x.dropout(0.5, stream: RandomStream(seed: 6).substream("h.0.map"))
        let delta = masked.linear(dropped.a.tensor).linear(dropped.b.tensor, scale: 2)
        #expect(
            largestDifference(run(dropped, training), Tensor.sum(projection.base(x), delta.detached()).values) < 1e-5)
        dropped.b.assign(Tensor(zeros: dropped.b.tensor.shape))
        #expect(run(dropped, training) == projection.base(x).values, "the base sees the whole input")
    }

    @Test func scaleFollowsPatternsAndThenTheRootOfTheRank() throws {
        let model = try ModelRegistry.load(folder: Fixtures.folder("golden/llama"))
        for (stabilised, divisor) in [(false, Float(4)), (true, 2)] {
            let method = try LoRA(
                rank: 8, alpha: 16, useRSLoRA: stabilised,
                rankPattern: ModulePatternMap([("layers\\.0\\.self_attn\\.q_proj", 4), ("q_proj", 16)]),
                alphaPattern: ModulePatternMap([("v_proj", 10), (".*\\.q_proj", 20)]))
            let adapter = try AttachedAdapter(method, targets: .list(["q_proj", "v_proj"]), to: model, seed: 1)
            let found = Dictionary(
                uniqueKeysWithValues: adapter.modules.compactMap { module in
                    (module.adaptation as? LoRAAdaptation).map { (module.projection.path, $0) }
                })
            let q0 = try #require(found["model.layers.0.self_attn.q_proj"])
            let q1 = try #require(found["model.layers.1.self_attn.q_proj"])
            let v0 = try #require(found["model.layers.0.self_attn.v_proj"])
            #expect(q0.a.tensor.shape[0] == 4 && q0.scale == 20 / divisor)
            #expect(q1.a.tensor.shape[0] == 16 && q1.scale == (stabilised ? 5 : 1.25))
            #expect(v0.a.tensor.shape[0] == 8 && abs(v0.scale - 10 / (stabilised ? Float(8).squareRoot() : 8)) < 1e-6)

            let folder = try TemporaryFolder()
            try PEFTFolder.write(adapter, to: folder.url, baseModelNameOrPath: nil)
            adapter.detach()
            let read = try PEFTFolder.read(folder.url, attachingTo: model)
            #expect(read.method.peftFields == method.peftFields)
            read.detach()
        }
    }

    @Test func settingsThatCannotBeAreRefused() {
        for make in [
            { try LoRA(rank: 0) }, { try LoRA(alpha: .nan) }, { try LoRA(dropout: 1) }, { try LoRA(dropout: -0.1) },
            { try LoRA(rankPattern: ModulePatternMap([("q_proj", 0)])) },
        ] {
            let error = #expect(throws: AdapterError.self) { try make() }
            #expect(error?.code == .configuration)
        }
        #expect(throws: AdapterError.self) { try AdapterRegistry.method(named: "lorra") }
    }

    @Test func fullTrainingTrainsEveryWeightAndCopiesMappedOnes() throws {
        let folder = try Fixtures.folder("golden/gpt2")
        let model = try ModelRegistry.load(folder: folder)
        let full = try FullTraining(model)
        #expect(full.parameters.count == model.parameters.count)
        let batch = TokenBatch([[3, 14, 15, 9, 26, 5]])
        let adamW = ReferenceAdamW(full.parameters, learningRate: 1e-2, decay: 0)
        var losses: [Float] = []
        for _ in 0..<3 {
            let loss = model.score(batch, scale: 1 / Float(batch.targetCount), context: ForwardContext()).loss
            losses.append(loss.scalar)
            loss.backward()
            #expect(full.parameters.allSatisfy { $0.gradient != nil })
            adamW.update()
        }
        #expect(losses[2] < losses[0])
        let file = try SafetensorsFile(folder.appending(path: "model.safetensors"))
        let changed = try model.parameters.filter { try $0.tensor.values != file.floats(of: $0.name) }
        #expect(changed.count == model.parameters.count)
    }
}
