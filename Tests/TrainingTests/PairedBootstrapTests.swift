import TensorCore
import Testing

@testable import Training

@Suite struct PairedBootstrapTests {
    /// Values with a spread of 1 around `mean`.
    private static func normal(_ count: Int, mean: Double, seed: UInt64) -> [Double] {
        RandomStream(seed: seed).normal([count], standardDeviation: 1).values.map { Double($0) + mean }
    }

    @Test func pairsLeaveOutWhatIsHardForBoth() throws {
        let hard = Self.normal(200, mean: 0, seed: 1)
        let noise = Self.normal(200, mean: 0, seed: 2).map { $0 * 0.01 }
        let result = try PairedBootstrap(
            reference: hard.map { $0 * 10 }, candidate: zip(hard, noise).map { $0 * 10 - 0.1 + $1 })
        #expect(abs(result.difference + 0.1) < 0.005)
        #expect(result.interval.upperBound < -0.09 && result.interval.lowerBound > -0.11)
        #expect(result.shareBelowZero == 1 && result.count == 200)
    }

    /// The interval of a mean is close to that of the normal distribution.
    @Test func theIntervalIsAsWideAsTheErrorOfTheMean() throws {
        let values = Self.normal(1000, mean: 0.5, seed: 3)
        let mean = values.reduce(0, +) / 1000
        let error = (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 1000).squareRoot() / 1000.squareRoot()
        let zeros = [Double](repeating: 0, count: 1000)
        for (confidence, z) in [(0.95, 1.95996), (0.90, 1.64485), (0.99, 2.57583)] {
            let result = try PairedBootstrap(reference: zeros, candidate: values, confidence: confidence)
            #expect(abs(result.difference - mean) < 1e-12)
            #expect(abs(result.interval.lowerBound - (mean - z * error)) < 0.06 * error * z)
            #expect(abs(result.interval.upperBound - (mean + z * error)) < 0.06 * error * z)
        }
    }

    /// Of many samples with a known difference, so many intervals hold it as the confidence promises.
    @Test func theIntervalHoldsTheTruthAsOftenAsItPromises() throws {
        var held = 0
        for trial in 0..<400 {
            let values = Self.normal(60, mean: 0.3, seed: UInt64(100 + trial))
            let result = try PairedBootstrap(
                reference: [Double](repeating: 0, count: 60), candidate: values, confidence: 0.9, resamples: 400,
                seed: UInt64(trial))
            if result.interval.contains(0.3) { held += 1 }
        }
        // 360 are promised; a percentile interval of 60 values falls a little short, and four errors of the count are 24.
        #expect((330...384).contains(held), "\(held) of 400")
    }

    @Test func aWeightCountsAsSoManyExamples() throws {
        let result = try PairedBootstrap(reference: [1, 2], candidate: [2, 2], weights: [3, 1])
        #expect(result.difference == 0.75)
        #expect(result.interval == 0...1)
        let whole = try PairedBootstrap(count: 2) { examples in
            Double(examples.count { $0 == 0 }) / 2
        }
        #expect(whole.difference == 0.5 && whole.interval == 0...1)
    }

    @Test func theSeedDecidesAndTheThreadsDoNot() throws {
        let values = Self.normal(50, mean: 0, seed: 4)
        let zeros = [Double](repeating: 0, count: 50)
        func interval(seed: UInt64) throws -> PairedBootstrap {
            try PairedBootstrap(reference: zeros, candidate: values, resamples: 999, seed: seed)
        }
        let first = try interval(seed: 7)
        #expect(try interval(seed: 7) == first)
        #expect(try interval(seed: 8) != first)
        #expect(first.interval.contains(first.difference))
    }

    @Test func equalsDifferByNothing() throws {
        let values = Self.normal(10, mean: 2, seed: 5)
        let result = try PairedBootstrap(reference: values, candidate: values)
        #expect(result.difference == 0 && result.interval == 0...0 && result.shareBelowZero == 0)
    }

    @Test func whatCannotBeComparedIsRefused() {
        func code(_ reference: [Double], _ candidate: [Double], _ weights: [Double]? = nil) -> TrainingError.Code? {
            do {
                _ = try PairedBootstrap(reference: reference, candidate: candidate, weights: weights)
                return nil
            } catch { return (error as? TrainingError)?.code }
        }
        #expect(code([], []) == .invalidInput)
        #expect(code([1], [1, 2]) == .invalidInput)
        #expect(code([1], [.infinity]) == .invalidInput)
        #expect(code([.nan], [1]) == .invalidInput)
        #expect(code([1], [1], [0]) == .invalidInput)
        #expect(code([1], [1], [-1]) == .invalidInput)
        #expect(code([1], [1]) == nil)
    }
}
