import Foundation
import Synchronization
import Testing

@testable import TensorCore

@Suite struct ThreadTeamTests {
    /// Marks every index of `0..<count` as often as a section hands it out.
    private static func marks(_ count: Int, _ section: (_ mark: (Range<Int>) -> Void) -> Void) -> [Int] {
        let marks = UnsafeMutablePointer<Int>.allocate(capacity: count)
        defer { marks.deallocate() }
        marks.initialize(repeating: 0, count: count)
        section { range in for index in range { marks[index] += 1 } }
        return Array(UnsafeBufferPointer(start: marks, count: count))
    }

    @Test func manyShortSectionsFromSeveralThreadsDoEachPartOnce() {
        Parallel.threadCount = 3
        let wrong = Atomic<Int>(0)
        // Each caller compares with what one thread computes, while the others take the team away from it.
        DispatchQueue.concurrentPerform(iterations: 4) { caller in
            for round in 0..<1500 {
                let count = (round * 7 + caller) % 97
                let ranges = Self.marks(count) { mark in Parallel.forEachRange(count, grain: 1 + round % 5, mark) }
                let items = Self.marks(count) { mark in Parallel.forEachItem(count) { mark($0..<$0 + 1) } }
                let once = [Int](repeating: 1, count: count)
                if ranges != once || items != once { wrong.wrappingAdd(1, ordering: .relaxed) }
            }
        }
        #expect(wrong.load(ordering: .relaxed) == 0)
    }

    @Test func aSectionInsideASectionDoesEachPartOnce() {
        Parallel.threadCount = 3
        for _ in 0..<200 {
            let marks = Self.marks(30 * 40) { mark in
                Parallel.forEachRange(30) { outer in
                    for row in outer {
                        Parallel.forEachRange(40) { inner in
                            mark(row * 40 + inner.lowerBound..<row * 40 + inner.upperBound)
                        }
                    }
                }
            }
            #expect(marks == [Int](repeating: 1, count: 30 * 40))
        }
    }

    @Test func tensorsOfSeveralThreadsAreComputedAsAlone() {
        Parallel.threadCount = 3
        @Sendable func result(_ seed: UInt64) -> [Float] {
            let random = RandomStream(seed: seed)
            let weight = Parameter("w", random.normal([96, 64], standardDeviation: 0.2), isTrainable: true)
            let x = random.substream("x").normal([48, 64], standardDeviation: 1)
            let targets = (0..<48).map { Int32($0) }
            x.crossEntropy(head: weight.tensor, targets: targets, scale: 0.5).loss.backward()
            return weight.gradient?.values ?? []
        }
        let expected = (0..<4).map { result(UInt64($0)) }
        let wrong = Atomic<Int>(0)
        DispatchQueue.concurrentPerform(iterations: 4) { caller in
            for _ in 0..<60 where result(UInt64(caller)) != expected[caller] {
                wrong.wrappingAdd(1, ordering: .relaxed)
            }
        }
        #expect(wrong.load(ordering: .relaxed) == 0)
    }
}
