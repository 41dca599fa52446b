import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Training

/// Values of torch 2.13 and transformers 5.23, made by `Tests/Reference/training_reference.py`.
private struct Reference: Decodable {
    struct Run: Decodable {
        let decay: Double
        let clip: Double?
        let start: [String: [Float]]
        let gradients: [[String: [Float]?]]
        let norms: [Double?]
        let after: [[String: [Float]]]
    }

    struct Schedule: Decodable {
        let kind: LearningRateSchedule.Shape
        let warmup: Int
        let steps: Int
        let factors: [Double]
    }

    let adamw: [Run]
    let schedules: [Schedule]

    static func load() throws -> Reference {
        let data = try Data(contentsOf: Fixtures.folder("training/reference.json"))
        return try JSONDecoder().decode(Reference.self, from: data)
    }
}

/// Gives a trainable parameter exactly this gradient: the gradient of `Σ x·g`.
private func setGradient(_ parameter: Parameter, _ values: [Float]?) {
    parameter.zeroGradient()
    guard let values else { return }
    let row = parameter.tensor.reshaped([1, values.count])
    row.linear(Tensor(values, shape: [1, values.count])).backward()
}

@Suite struct OptimizerTests {
    @Test func everyStepIsTorchs() throws {
        for run in try Reference.load().adamw {
            let parameters = [("a", [3, 5]), ("b", [7])].map { name, shape in
                Parameter(name, Tensor(run.start[name]!, shape: shape), isTrainable: true)
            }
            var options = AdamW.Options()
            options.weightDecay = run.decay
            let optimizer = AdamW(options)
            for (step, gradients) in run.gradients.enumerated() {
                for parameter in parameters { setGradient(parameter, gradients[parameter.name]!) }
                var scale = 1.0
                if let clip = run.clip {
                    let norm = try GradientNorm.measure(parameters, step: step)
                    let expected = try #require(run.norms[step])
                    #expect(abs(norm - expected) <= 1e-6 * expected)
                    scale = GradientNorm.clippingFactor(norm: norm, maximum: clip)
                }
                optimizer.step(parameters, learningRate: 1e-2 / Double(1 + step), gradientScale: scale)
                for parameter in parameters {
                    for (ours, theirs) in zip(parameter.tensor.values, run.after[step][parameter.name]!) {
                        // Two roundings of single precision an element and step.
                        #expect(abs(ours - theirs) <= 1e-6 * max(1, abs(theirs)), "step \(step) of \(parameter.name)")
                    }
                }
            }
            #expect(optimizer.moments["a"]?.steps == 6 && optimizer.moments["b"]?.steps == 5)
        }
    }

    @Test func bytesDoNotDependOnTheThreads() async {
        // In a process of its own: the number of threads is the whole process's.
        await #expect(processExitsWith: .success) {
            func run(_ threads: Int) throws -> ([Float], Double) {
                Parallel.threadCount = threads
                let random = RandomStream(seed: 3)
                let parameter = Parameter("w", random.normal([200_003], standardDeviation: 1), isTrainable: true)
                let optimizer = AdamW(AdamW.Options())
                setGradient(parameter, random.substream(1).normal([200_003], standardDeviation: 1).values)
                let norm = try GradientNorm.measure([parameter], step: 0)
                optimizer.step([parameter], learningRate: 1e-3, gradientScale: 0.5)
                return (parameter.tensor.values, norm)
            }
            let one = try run(1)
            for threads in [2, 3, 5] {
                let other = try run(threads)
                precondition(other == one, "\(threads) threads")
            }
        }
    }

    @Test func aGradientThatIsNotFiniteNamesStepAndParameter() throws {
        let parameters = ["good", "bad"].map { Parameter($0, Tensor(zeros: [2]), isTrainable: true) }
        setGradient(parameters[0], [1, 2])
        setGradient(parameters[1], [1, .infinity])
        let error = try #require(throws: TrainingError.self) { try GradientNorm.measure(parameters, step: 12) }
        #expect(error.code == .nonFiniteLoss)
        #expect(error.description.contains("step 12") && error.description.contains("bad"))
    }

    @Test func schedulesAreTransformers() throws {
        let schedules = try Reference.load().schedules
        #expect(Set(schedules.map(\.kind)) == Set(LearningRateSchedule.Shape.allCases))
        for expected in schedules {
            let schedule = LearningRateSchedule(expected.kind, warmupSteps: expected.warmup, stepCount: expected.steps)
            for (step, factor) in expected.factors.enumerated() {
                #expect(
                    abs(schedule.factor(step: step) - factor) < 1e-12,
                    "\(expected.kind) \(expected.warmup) step \(step)")
            }
        }
    }

    @Test func aWarmUpLongerThanTheRunStillHasAFactorForEveryStep() {
        for shape in LearningRateSchedule.Shape.allCases {
            let schedule = LearningRateSchedule(shape, warmupSteps: 10, stepCount: 4)
            #expect((0..<4).map { schedule.factor(step: $0) } == [0, 0.1, 0.2, 0.3])
        }
    }
}
