import Testing

@testable import TensorCore

@Suite struct TapeTests {
    @Test func frozenWeightsGetNoGradientAndKeepNoInput() {
        let frozen = Parameter("frozen", Tensor([1, 2, 3, 4], shape: [2, 2]))
        let trained = Parameter("trained", Tensor([1, 0, 0, 1], shape: [2, 2]), isTrainable: true)
        let x = Tensor([1, -1], shape: [1, 2])
        let below = x.linear(frozen.tensor)
        #expect(!below.requiresGradient, "nothing below the lowest trained weight is recorded")
        let y = below.linear(trained.tensor).linear(Tensor([1, 1], shape: [1, 2]))
        y.backward()
        #expect(frozen.gradient == nil)
        #expect(trained.gradient?.values == [-1, -1, -1, -1])
    }

    @Test func gradientsOfSharedInputsAddUp() {
        let w = Parameter("w", Tensor([2], shape: [1, 1]), isTrainable: true)
        let a = w.tensor.scaled(by: 3)
        let b = Tensor.sum(a, a.scaled(by: 2))
        b.backward()
        #expect(w.gradient?.scalar == 9)
        Tensor.sum(w.tensor, w.tensor).backward()
        #expect(w.gradient?.scalar == 11, "gradients add up until they are forgotten")
        w.zeroGradient()
        #expect(w.gradient == nil)
    }

    @Test func aGradientIsAddedToWhereItLiesUnlessOthersSeeIt() {
        let node = Node(leafOf: [2])
        node.add(Tensor([1, 2], shape: [2]))
        let address = node.gradient?.pointer
        node.add(Tensor([10, 20], shape: [2]))
        node.accumulate { buffer, isFirst in
            #expect(!isFirst)
            buffer[0] += 100
        }
        #expect(node.gradient?.values == [111, 22] && node.gradient?.pointer == address)
        let seen = node.gradient
        node.add(Tensor([1, 1], shape: [2]))
        #expect(seen?.values == [111, 22] && node.gradient?.values == [112, 23])
    }

    @Test func comparisonsSeeWhatIsNotANumber() {
        let x = Tensor([1, -4, 2], shape: [3]), y = Tensor([1, -1, 2.5], shape: [3])
        #expect(x.largestDifference(from: y) == 3 && x.largestMagnitude == 4)
        #expect(!x.hasEqualElements(to: y) && x.hasEqualElements(to: x.copied()))
        for place in 0..<3 {
            var values = y.values
            values[place] = .nan
            let broken = Tensor(values, shape: [3])
            #expect(x.largestDifference(from: broken).isNaN && !broken.hasEqualElements(to: broken))
        }
    }

    @Test func sumInPlaceNeverChangesWhatOthersSee() {
        let x = Tensor([1, 2], shape: [2]), y = Tensor([10, 20], shape: [2])
        let z = Tensor.sum(x, y)
        #expect(x.values == [1, 2] && y.values == [10, 20] && z.values == [11, 22])
        var addend: Tensor? = Tensor([5, 5], shape: [1, 2])
        let address = addend?.pointer
        let w = Tensor([1, 2], shape: [1, 2]).linear(Tensor([1, 0, 0, 1], shape: [2, 2]), adding: addend.take())
        #expect(w.values == [6, 7] && w.pointer == address, "a product accumulates into an addend nobody else holds")
    }

    @Test func withoutGradientsRecordsNothing() {
        let w = Parameter("w", Tensor([2], shape: [1, 1]), isTrainable: true)
        #expect(!Autograd.withoutGradients { w.tensor.scaled(by: 2) }.requiresGradient)
    }

    @Test func resultsDoNotDependOnWhoIsBusy() {
        Parallel.threadCount = 2
        let random = RandomStream(seed: 1)
        let x = random.normal([64, 300], standardDeviation: 1), w = random.normal([500, 300], standardDeviation: 1)
        let expected = x.linear(w).values
        for _ in 0..<20 { #expect(x.linear(w).values == expected) }
    }

    @Test func randomStreamsAreUniformIndependentAndRepeatable() {
        let stream = RandomStream(seed: 42)
        let values = stream.uniform([100_000], low: -1, high: 3).values
        let mean = values.reduce(0.0) { $0 + Double($1) } / 100_000
        #expect(abs(mean - 1) < 0.02 && values.allSatisfy { $0 >= -1 && $0 < 3 })
        #expect(stream.uniform([100_000], low: -1, high: 3).values == values)
        #expect(
            stream.substream(1).uniform([8], low: 0, high: 1).values
                != stream.substream(2).uniform([8], low: 0, high: 1).values)
        let normal = stream.normal([100_001], standardDeviation: 2).values
        let variance = normal.reduce(0.0) { $0 + Double($1) * Double($1) } / 100_001
        #expect(abs(variance - 4) < 0.1)
        #expect(stream.permutation(1000).sorted() == Array(0..<1000))
    }

    @Test func dropoutKeepsTheMeanAndRepeatsItsMask() {
        let x = Tensor([Float](repeating: 1, count: 50_000), shape: [50_000])
        let stream = RandomStream(seed: 9)
        let y = x.dropout(0.3, stream: stream).values
        let mean = y.reduce(0.0) { $0 + Double($1) } / 50_000
        #expect(abs(mean - 1) < 0.02)
        #expect(abs(Double(y.filter { $0 == 0 }.count) / 50_000 - 0.3) < 0.01)
        #expect(x.dropout(0.3, stream: stream).values == y)
    }

    @Test func sizeClassesHoldWhatWasAskedFor() {
        for bytes in [0, 1, 63, 64, 65, 100, 4096, 5000, 1 << 20, (1 << 20) + 1, 9_437_184] {
            let size = BufferPool.sizeClass(bytes)
            #expect(size >= bytes && (bytes < 256 || Double(size) <= Double(bytes) * 1.26 + 64))
            #expect(BufferPool.sizeClass(size) == size)
        }
    }
}
