import Foundation
import Testing

/// What is left when the power fails: every promise holds on every disk that may be found, and would not without a sync.
///
/// The real programs are recorded once for each scenario, and the recording is replayed on a model of a disk (``Disk``).
@Suite(.serialized) struct PowerLossTests {
    static func explore(_ run: RecordedRun) async throws {
        var clock = ContinuousClock.now
        func lap(_ what: String) {
            let now = ContinuousClock.now
            print("\(run.name): \(what) \(now - clock)")
            clock = now
        }
        let explorer = Explorer(run: run)
        let all = try explorer.candidates()
        lap("\(run.recording.operations.count) operations, \(all.count) states")
        let broken = try await explorer.tryEach(all, limit: 10)
        lap("tried")
        for one in broken { Issue.record("\(one.description)\n  \(one.reasons.joined(separator: "\n  "))") }
    }

    @Test func intake() async throws { try await Self.explore(Scenarios.intake()) }
    @Test func job() async throws { try await Self.explore(Scenarios.job()) }
    @Test func verbs() async throws { try await Self.explore(Scenarios.verbs()) }
}
