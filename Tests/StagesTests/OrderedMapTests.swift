import Foundation
import Synchronization
import Testing

@testable import Stages

@Suite struct OrderedMapTests {
    private struct Failure: Error, Equatable { let value: Int }

    @Test(arguments: [1, 2, 5])
    func resultsComeInTheOrderOfTheValues(threads: Int) throws {
        var results: [Int] = []
        try OrderedMap<Int, Int>.run(threads: threads) { value in
            // Later values are done sooner.
            if value % 7 == 0 { Thread.sleep(forTimeInterval: 0.003) }
            return value * value
        } deliver: {
            results.append($0)
        } produce: { submit in
            for value in 0..<200 { try submit(value) }
        }
        #expect(results == (0..<200).map { $0 * $0 })
    }

    @Test func onlyAFewValuesAreUnderWay() throws {
        let started = Atomic<Int>(0)
        var delivered = 0
        var most = 0
        try OrderedMap<Int, Int>.run(threads: 3) { value in
            started.wrappingAdd(1, ordering: .relaxed)
            return value
        } deliver: { _ in
            most = max(most, started.load(ordering: .relaxed) - delivered)
            delivered += 1
        } produce: { submit in
            for value in 0..<500 { try submit(value) }
        }
        #expect(delivered == 500 && most <= 8, "\(most)")
    }

    /// The first in order wins, whichever was met first.
    @Test(arguments: [1, 2, 4])
    func theFirstErrorInOrderIsThrown(threads: Int) throws {
        var delivered: [Int] = []
        let error = #expect(throws: Failure.self) {
            try OrderedMap<Int, Int>.run(threads: threads) { value in
                if value == 5 {
                    Thread.sleep(forTimeInterval: 0.02)
                    throw Failure(value: 5)
                }
                if value > 5 { throw Failure(value: value) }
                return value
            } deliver: {
                delivered.append($0)
            } produce: { submit in
                for value in 0..<8 { try submit(value) }
                throw Failure(value: 100)
            }
        }
        #expect(error?.value == 5 && delivered == [0, 1, 2, 3, 4])
    }

    @Test func anErrorOfTheProducerComesAfterAllItHasSubmitted() throws {
        var delivered = 0
        let error = #expect(throws: Failure.self) {
            try OrderedMap<Int, Int>.run(threads: 2) { $0 } deliver: { _ in
                delivered += 1
            } produce: { submit in
                for value in 0..<5 { try submit(value) }
                throw Failure(value: 100)
            }
        }
        #expect(error?.value == 100 && delivered == 5)
    }
}
