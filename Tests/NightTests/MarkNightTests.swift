import Artifacts
import Foundation
import PipelineSpec
import Testing

@testable import Orchestration

/// That the best version ever promoted stays the mark, in the nights after production was taken back by hand.
@Suite(.serialized) struct MarkNightTests {
    private static func lines(_ range: Range<Int>) -> String {
        let things = ["fox", "hill", "lamp", "river", "coat", "bell", "stone"]
        let colours = ["red", "green", "blue"]
        return range.map { index in
            let thing = things[index % things.count]
            return #"{"prompt": "Q: What colour is the \#(thing) in room \#(index / 7)?\nA:", "#
                + #""completion": " The \#(thing) is \#(colours[index % 7 % 3])."}"#
        }.joined(separator: "\n") + "\n"
    }

    private static let gate = "{min_examples: 20, max_regression: {}}"

    /// What the newest version was held to, and what came of it.
    private func check(_ nights: Nights) throws -> JSONValue {
        let newest = try #require(try nights.versions.last)
        guard case .array(let checks)? = try nights.record(newest)["gate"]?["checks"] else { return .null }
        return checks.first { $0["rule"] == "improvement" } ?? .null
    }

    @Test func rollingBackLowersNoMark() async throws {
        guard let nights = try Nights() else { return }
        try nights.write("Once upon a time there was a fox. It lived on a hill.\n", to: "data/general.txt")
        try nights.write(Self.lines(0..<60), to: "data/train.jsonl")
        try nights.write(Self.lines(400..<430), to: "data/test.jsonl")
        for steps in [4, 14, 40] {
            let status = try await nights.pass(nights.manifest(steps: steps, gate: Self.gate))
            try #require(status.gate == "passed", "\(status)")
        }
        let back = try nights.store.rollBack(nights.name, to: 1, reason: "to see", now: nights.now)
        #expect(back.now.number == 1)

        // Another metric is asked of the same examples. Better than 1, and worse than 3.
        let more = nights.manifest(steps: 12, gate: Self.gate)
            .replacing("evaluate: {retention", with: "evaluate: {metrics: [loss, rougeL], retention")
        let asked = try await nights.pass(more)
        #expect(asked.gate == "failed", "\(asked)")
        #expect(try check(nights)["against"] == "version 3", "\(asked)")
        let number = try #require(try nights.versions.last)
        #expect(try nights.value(number, "test", "champion") ?? 0 > nights.value(number) ?? 9, "it beats production")

        // One record more in the test file, of which no version has a value.
        try nights.write(Self.lines(400..<431), to: "data/test.jsonl")
        let grown = try await nights.pass(nights.manifest(steps: 11, gate: Self.gate))
        #expect(grown.gate == "failed", "\(grown)")
        #expect(try check(nights)["against"] == "version 3", "\(grown)")

        // What the mark needs is not collected, however little else is kept.
        var policy = RetentionPolicy()
        (policy.keepLast, policy.keepDaily, policy.keepMonthly, policy.aliasHistory) = (1, 0, 0, 0)
        (policy.graceSeconds, policy.cacheBytes) = (0, 0)
        _ = try GarbageCollector(nights.workspace, policy, now: nights.now.addingTimeInterval(86_400)).collect()
        #expect(try nights.versions == [1, 2, 3, 5], "3 is the mark, and its record knows 2")
        try nights.write(Self.lines(400..<432), to: "data/test.jsonl")
        let later = try await nights.pass(nights.manifest(steps: 10, gate: Self.gate))
        #expect(try later.gate == "failed" && check(nights)["against"] == "version 3", "\(later)")

        // Rejected, it sets none.
        _ = try nights.store.setRejected(true, ArtifactReference("tone:3"), reason: "rude", now: nights.now)
        try nights.write(Self.lines(400..<433), to: "data/test.jsonl")
        _ = try await nights.pass(nights.manifest(steps: 9, gate: Self.gate))
        #expect(try check(nights)["against"] == "version 2")
    }
}
