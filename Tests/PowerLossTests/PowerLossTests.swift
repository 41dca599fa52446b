import Foundation
import PipelineSpec
import TestSupport
import Testing

/// What is left when the power fails: every promise holds on every disk that may be found, and would not hold if any
/// sync were missing.
///
/// The real programs are recorded once for each scenario, and the recording is replayed on a model of a disk (``Disk``).
/// With `LORAJOBS_SOAK=1` many more states are tried, random ones too; `LORAJOBS_SEED` repeats a run. They take hours:
/// `LORAJOBS_SOAK_SCENARIO` chooses one of the recorded runs, `LORAJOBS_SOAK_ORDER` one of the two orders of names, and
/// `LORAJOBS_SOAK_PART=2/8` the second of eight equal parts, for machines or nights that share the work; the first does the
/// short form as well. Each part records a run of its own, and two recordings differ by a few operations: all states of
/// one are tried only where there is one part.
@Suite struct PowerLossTests {
    private static let environment = ProcessInfo.processInfo.environment
    static let isSoak = environment["LORAJOBS_SOAK"] == "1"
    static let seed = environment["LORAJOBS_SEED"].flatMap(UInt64.init) ?? (isSoak ? .random(in: 1 ... .max) : 1)

    /// Syncs that nothing here needs, and why they are made all the same.
    static let settled = [
        "file Jobs/lorajobs.sqlite-journal":
            "SQLite's own: its one transaction before the write-ahead log changes an empty database, to which nothing "
            + "need be rolled back",
        "file Jobs/runs/ULID/tokenize.N/.reserve": reserve, "file Jobs/runs/ULID/train.N/.reserve": reserve,
        "file Jobs/runs/ULID/evaluate.N/.reserve": reserve, "file Jobs/runs/ULID/package.N/.reserve": reserve,
    ]
    private static let reserve =
        "Foundation's own, for every file it writes: the room kept for a stage's last word must be there, not last"

    /// The scenarios that are asked for.
    private static let scenarios: [Scenario] = {
        guard let asked = environment["LORAJOBS_SOAK_SCENARIO"] else { return Scenario.allCases }
        guard let scenario = Scenario(rawValue: asked) else {
            preconditionFailure("LORAJOBS_SOAK_SCENARIO is \(Scenario.allCases.map(\.rawValue)), not \(asked)")
        }
        return [scenario]
    }()

    @Test(arguments: scenarios)
    func whatWasToldIsKept(_ scenario: Scenario) async throws {
        if Self.isSoak { Backtraces.keepNone() }
        let run = try await scenario.record()
        if Self.part.index == 0 { try await shortForm(run) }
        if Self.isSoak { try await soak(run) }
    }

    /// What differs most, the built program on some of it, and every sync taken away in turn.
    private func shortForm(_ run: RecordedRun) async throws {
        let explorer = Explorer(run: run, seed: Self.seed)
        let states = try await explorer.candidates()
        say("\(run.name): \(run.recording.operations.count) operations, \(states.count) states")
        // An exploration that finds next to nothing to lose would prove as little.
        #expect(states.count > 100)
        record(try await explorer.tryEach(states))

        // The built program, on some of them.
        var generator = SeededGenerator(Self.seed)
        let some = states.filter(\.isAllLost).shuffled(using: &generator).prefix(Self.isSoak ? 20 : 2)
        record(try await explorer.tryEach(Array(some), withProgram: true))

        let tried = Dictionary(uniqueKeysWithValues: states.map { ($0.digest, $0.told) })
        try await everySyncIsNeeded(explorer, tried)
    }

    /// Takes away one sync after the other, everywhere it is made: each time, some state must break a promise.
    ///
    /// A program cannot see whether a sync has done anything, so the recording without it is the recording of a program
    /// without it.
    ///
    /// - Parameter tried: The states that hold, and how much had been told in them.
    private func everySyncIsNeeded(_ explorer: Explorer, _ tried: [UInt64: Int]) async throws {
        let run = explorer.run
        let sites = Set(run.recording.operations.compactMap { SyncSite($0, in: run) }).sorted()
        // A hint for whoever wants fewer: what was synced by another just before, or had not changed.
        for (site, count) in try run.idleSyncs() { say("\(run.name): \(count) idle syncs of \(site)") }
        for site in sites {
            let ignores: (Operation) -> Bool = { SyncSite($0, in: run) == site }
            // Only what is new: another disk, or a known one at a time when more had been told.
            let new = try await explorer.candidates(ignoring: ignores).filter { $0.told > tried[$0.digest] ?? -1 }
            var found = try await explorer.tryEach(new.filter(\.isAllLost), ignoring: ignores, limit: 1)
            if found.isEmpty {
                found = try await explorer.tryEach(new.filter { !$0.isAllLost }, ignoring: ignores, limit: 1)
            }
            say("\(run.name): without the sync of \(site): \(found.first?.reasons.first ?? "all is kept")")
            if Self.settled[site.description] == nil {
                #expect(!found.isEmpty, "\(run.name): without the sync of \(site), nothing is lost that was told")
            }
        }
    }

    /// Every state at every moment, random ones, and those of a file system that keeps the order of names.
    private func soak(_ run: RecordedRun) async throws {
        say("\(run.name): soaking; repeat with LORAJOBS_SOAK=1 LORAJOBS_SEED=\(Self.seed)")
        let asked = Self.environment["LORAJOBS_SOAK_ORDER"]
        let orderings = [Disk.Ordering.arbitrary, .journaled].filter { asked == nil || asked == "\($0)" }
        #expect(!orderings.isEmpty, "LORAJOBS_SOAK_ORDER is arbitrary or journaled, not \(asked ?? "")")
        for ordering in orderings {
            let explorer = Explorer(
                run: run, ordering: ordering, randomStates: 10, isExhaustive: true, seed: Self.seed)
            let all = try await explorer.candidates()
            let states = all.indices.filter { $0 % Self.part.count == Self.part.index }.map { all[$0] }
            let share = Self.part.count > 1 ? "part \(Self.part.index + 1) of \(Self.part.count) of \(all.count): " : ""
            say("\(run.name): \(share)\(states.count) states, order of names: \(ordering)")
            let step = max(1, states.count / 20)
            let broken = try await explorer.tryEach(
                states,
                onState: { done in
                    guard done % step == 0 || done == states.count else { return }
                    say("\(run.name): \(done) of \(states.count) states tried, order of names: \(ordering)")
                })
            record(broken)
        }
    }

    /// Which of how many parts, from 0; everything where the variable is absent or no part.
    private static let part: (index: Int, count: Int) = {
        let numbers = (environment["LORAJOBS_SOAK_PART"] ?? "").split(separator: "/").compactMap { Int($0) }
        guard isSoak, numbers.count == 2, (1...max(1, numbers[1])).contains(numbers[0]) else { return (0, 1) }
        return (numbers[0] - 1, numbers[1])
    }()

    private func record(_ broken: [Explorer.Broken]) {
        for one in broken {
            Issue.record("seed \(Self.seed): \(one.description)\n  \(one.reasons.joined(separator: "\n  "))")
        }
    }

    private func say(_ text: String) {
        FileHandle.standardError.write(Data("power loss: \(text)\n".utf8))
    }
}
