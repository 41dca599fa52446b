import Foundation
import Testing

/// What is left when the power fails: every promise holds on every disk that may be found, and would not without a sync.
///
/// The real programs are recorded once for each scenario, and the recording is replayed on a model of a disk (``Disk``).
@Suite struct PowerLossTests {
    static func explore(_ run: RecordedRun) async throws {
        var clock = ContinuousClock.now
        func lap(_ what: String) {
            let now = ContinuousClock.now
            print("\(run.name): \(what) \(now - clock)")
            clock = now
        }
        let explorer = Explorer(run: run)
        let all = try await explorer.candidates()
        lap("\(run.recording.operations.count) operations, \(all.count) states")
        let broken = try await explorer.tryEach(all, limit: 10)
        lap("tried")
        for one in broken { Issue.record("\(one.description)\n  \(one.reasons.joined(separator: "\n  "))") }
        guard broken.isEmpty else { return }
        let known = Dictionary(uniqueKeysWithValues: all.map { ($0.digest, $0.told) })
        let sites = Set(run.recording.operations.compactMap { SyncSite($0, below: run.disk) }).sorted()
        for site in sites {
            let ignores: (Operation) -> Bool = { SyncSite($0, below: run.disk) == site }
            let new = try await explorer.candidates(ignoring: ignores).filter { $0.told > known[$0.digest] ?? -1 }
            var found = try await explorer.tryEach(new.filter(\.isAllLost), ignoring: ignores, limit: 1)
            if found.isEmpty {
                found = try await explorer.tryEach(new.filter { !$0.isAllLost }, ignoring: ignores, limit: 1)
            }
            lap("\(site): \(new.count) new, \(found.first.map { "\($0.reasons)" } ?? "NOTHING FAILS")")
        }
    }

    @Test func intake() async throws { try await Self.explore(Scenarios.intake()) }
    @Test func job() async throws { try await Self.explore(Scenarios.job()) }
    @Test func verbs() async throws { try await Self.explore(Scenarios.verbs()) }
}
