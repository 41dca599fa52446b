import Foundation
import PipelineSpec
import Synchronization
import TestSupport
import Testing

@testable import Artifacts

/// What `gc` may take, and that it takes nothing else: beside writers and readers, and through a crash.
@Suite struct CollectTests {
    private static let week = 7 * 86_400.0

    /// Nothing is kept but for a reason.
    private var strict: RetentionPolicy {
        var policy = RetentionPolicy()
        (policy.keepLast, policy.keepDaily, policy.keepMonthly, policy.aliasHistory) = (1, 0, 0, 1)
        (policy.cacheBytes, policy.graceSeconds) = (0, 0)
        return policy
    }

    private var later: Date { Date(timeIntervalSinceNow: Self.week / 7 * 2) }

    private func subjects(_ garbage: [Garbage], _ kind: Garbage.Kind) -> [String] {
        garbage.filter { $0.kind == kind }.map(\.subject)
    }

    @discardableResult
    private func collect(_ store: ArtifactStore, _ policy: RetentionPolicy, now: Date) throws -> [Garbage] {
        var removed: [Garbage] = []
        for kind in [Garbage.Kind.version, .cachedOutput, .trash, .blob] {
            for garbage in try store.garbage(policy, now: now) where garbage.kind == kind {
                if try store.remove(garbage, policy, now: now) { removed.append(garbage) }
            }
        }
        return removed
    }

    @Test func theNewestOfEachDayAndMonthStay() throws {
        var policy = RetentionPolicy()
        (policy.keepLast, policy.keepDaily, policy.keepMonthly) = (2, 3, 2)
        let start = try Date("2026-01-30T01:00:00Z", strategy: .iso8601)
        // Two a day for ten days: 1 and 2 on January 30th, 19 and 20 on February 8th.
        let versions = (1...20).map { (number: $0, created: start.addingTimeInterval(Double($0 - 1) * 43_200)) }
        #expect(policy.kept(versions) == [20, 19, 18, 16, 4])
        #expect(RetentionPolicy().kept(versions).count == 20)
        #expect(policy.kept([]).isEmpty)
    }

    /// One history that cannot be read keeps its own versions, and no other name from being collected.
    @Test func aDamagedLogKeepsItsOwn() throws {
        let fixture = try StoreFixture()
        for name in ["tone", "other"] { for number in 1...3 { try fixture.publish(name, "\(name) \(number)") } }
        let log = fixture.store.versionLog(of: "tone", in: .adapters).url
        try Data("{".utf8).write(to: log)
        let found = try fixture.store.garbage(strict, now: later)
        #expect(subjects(found, .version) == ["other:1", "other:2"], "\(found)")
        #expect(try collect(fixture.store, strict, now: later).contains { $0.subject == "other:1" })
        #expect(try fixture.store.numbers(of: "tone", in: .adapters) == [1, 2, 3])
    }

    /// The best that was ever promoted stays, whatever the alias points at now: the next gate compares with it.
    @Test func theMarkStaysAfterTheAliasWasTakenBack() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        func publish(_ number: Int, strongest: Int?) throws {
            let folder = try fixture.adapter("weights \(number)")
            let name = strongest.map { ",\"strongest\":\($0)" } ?? ""
            try Data(#"{"evaluation":{"sets":[{"name":"test"\#(name)}]}}"#.utf8)
                .write(to: folder.appending(path: Version.recordFile))
            _ = try store.publish(
                folder: folder, in: .adapters, name: "tone", attemptID: "\(number)", now: StoreFixture.day)
        }
        let nights: [(Int, Int?)] = [(1, nil), (2, 1), (3, 2), (4, 2), (5, 2), (6, nil)]
        for (number, strongest) in nights {
            try publish(number, strongest: strongest)
            if number < 6 { _ = try store.promote(ArtifactReference("tone:\(number)"), reason: "night") }
        }
        _ = try store.rollBack("tone", to: 1, reason: "to see")
        var policy = strict
        policy.aliasHistory = 0
        // 6 is the newest, 1 in production; 5 was promoted last, and 2 was the best before it.
        #expect(subjects(try store.garbage(policy, now: later), .version) == ["tone:3", "tone:4"])
        // Without 2, any of those that it had beaten may be the best.
        try store.setRejected(true, ArtifactReference("tone:2"), reason: "rude")
        #expect(subjects(try store.garbage(policy, now: later), .version) == ["tone:2"])
    }

    @Test func whatNothingNeedsGoesThroughTheTrash() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        for number in 1...6 { try fixture.publish("tone", "weights \(number)") }
        try store.setAlias("production", to: ArtifactReference("tone:1"), reason: "test")
        try store.setAlias("production", to: ArtifactReference("tone:2"), reason: "test")
        try store.setPinned(true, ArtifactReference("tone:3"), reason: "test")
        try store.setPinned(true, ArtifactReference("tone:4"), reason: "test")
        try store.setPinned(false, ArtifactReference("tone:4"), reason: "test")

        // 6 is the newest, 2 is production and 1 was, 3 is pinned.
        let found = try store.garbage(strict, now: later)
        #expect(subjects(found, .version) == ["tone:4", "tone:5"])
        #expect(subjects(found, .blob) == [])
        #expect(found.allSatisfy { $0.bytes > 0 && !$0.reason.isEmpty })
        #expect(try store.versions(of: "tone").count == 6, "looking has changed something")
        var patient = strict
        patient.graceSeconds = 400 * 86_400
        #expect(try store.garbage(patient, now: later).isEmpty)

        let removed = try collect(store, strict, now: later)
        #expect(subjects(removed, .version) == ["tone:4", "tone:5"])
        #expect(subjects(removed, .blob) == [], "they lie in the trash with their versions")
        #expect(try store.versions(of: "tone").map(\.number) == [6, 3, 2, 1])
        #expect(try store.verify().isEmpty && store.historyFaults().isEmpty)
        #expect(try store.log(of: "tone").compactMap { $0.event == .removed ? $0.version : nil } == [4, 5])
        // A number is never given again, an attempt makes no second version.
        #expect(try fixture.publish("tone", "weights 7").number == 7)
        #expect(try collect(store, strict, now: later).map(\.subject) == ["tone:6"])

        // What lies in the trash is there for its time.
        let day = try #require(FileTree.names(in: store.trash).first)
        #expect(try FileTree.names(in: store.trash.appending(path: day)).count == 3)
        let weights = try FileTree.files(below: store.trash).filter { $0.hasSuffix("adapter_model.safetensors") }
        #expect(
            try weights.map { try String(contentsOf: store.trash.appending(path: $0), encoding: .utf8) }.sorted()
                == ["weights 4", "weights 5", "weights 6"])
        let muchLater = Date(timeIntervalSinceNow: Self.week * 1.1)
        let last = try collect(store, strict, now: muchLater)
        // The weights and the record of each; the configuration is the same as that of the others.
        #expect(subjects(last, .trash).count == 3 && subjects(last, .blob).count == 6)
        #expect(try FileTree.files(below: store.trash).isEmpty)
    }

    @Test func whatIsReadOrLeasedStays() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        let first = try fixture.publish("tone", "one")
        try fixture.publish("tone", "two")
        var leases = StoreLeases()
        leases.names = ["tone"]
        #expect(try store.garbage(strict, leases: leases, now: later).isEmpty)
        let garbage = try #require(try store.garbage(strict, now: later).first)
        do {
            let reader = try OpenFile(first.url.path, O_RDONLY)
            try reader.lockShared()
            #expect(try !store.remove(garbage, strict, now: later))
            withExtendedLifetime(reader.descriptor) {}
        }
        // An alias was moved to it since it was found.
        try store.setAlias("night", to: ArtifactReference("tone:1"), reason: "test")
        #expect(try !store.remove(garbage, strict, now: later))
        try store.removeAlias("night", of: "tone", reason: "test")
        var forgetful = strict
        forgetful.aliasHistory = 0
        #expect(try !store.remove(garbage, strict, now: later), "its last alias is remembered")
        #expect(try store.remove(garbage, forgetful, now: later))
        #expect(try store.versions(of: "tone").count == 1)
    }

    @Test func theCacheLosesWhatWasUsedLongestAgo() throws {
        let fixture = try StoreFixture()
        let cache = StageCache(fixture.store)
        var keys: [String] = []
        for index in 1...3 {
            let out = fixture.folder.url.appending(path: "out\(index)")
            try FileManager.default.createDirectory(at: out, withIntermediateDirectories: true)
            try Data(count: 100_000).write(to: out.appending(path: "data"))
            let key = Digest.sha256(Data("\(index)".utf8))
            try cache.store(
                key: key, folder: out,
                metadata: StageCache.Metadata(kind: "train", created: StoreFixture.day, attemptID: "a"))
            try FileTree.remove(out)
            var times = [
                timespec(tv_sec: 1_700_000_000 + index, tv_nsec: 0),
                timespec(tv_sec: 1_700_000_000 + index, tv_nsec: 0),
            ]
            let entry = fixture.store.root.appending(path: "cache/\(key.dropFirst(7))")
            utimensat(AT_FDCWD, entry.path, &times, 0)
            keys.append(key)
        }
        var policy = strict
        policy.cacheBytes = 250_000
        #expect(subjects(try fixture.store.garbage(policy, now: later), .cachedOutput) == [keys[0]])
        policy.cacheBytes = nil
        #expect(try fixture.store.garbage(policy, now: later).isEmpty)
        policy.cacheBytes = 0
        var leases = StoreLeases()
        leases.cacheKeys = [keys[0]]
        #expect(
            subjects(try fixture.store.garbage(policy, leases: leases, now: later), .cachedOutput) == [
                keys[1], keys[2],
            ])
        // One that is looked up is in use.
        policy.cacheBytes = 250_000
        policy.graceSeconds = 86_400
        #expect(try cache.lookup(keys[0]) != nil)
        #expect(subjects(try fixture.store.garbage(policy, now: Date()), .cachedOutput) == [keys[1]])
        #expect(try collect(fixture.store, policy, now: Date()).map(\.subject) == [keys[1]])
        #expect(try cache.lookup(keys[1]) == nil && cache.lookup(keys[2]) != nil)
    }

    /// Killed between saying and doing: the next one finishes it, and nothing else is gone.
    @Test(arguments: [Failpoint.collectLogged, .collectMoved])
    func aCollectionIsKilled(at point: Failpoint) async throws {
        let fixture = try StoreFixture()
        for number in 1...3 { try fixture.publish("tone", "weights \(number)") }
        let (root, name) = (fixture.store.root.path, point.rawValue)
        await #expect(processExitsWith: .signal(SIGKILL)) { [root = root as String, name = name as String] in
            let store = ArtifactStore(URL(filePath: root))
            var policy = RetentionPolicy()
            (policy.keepLast, policy.keepDaily, policy.keepMonthly, policy.graceSeconds) = (1, 0, 0, 0)
            let now = Date(timeIntervalSinceNow: 2 * 86_400)
            for garbage in try store.garbage(policy, now: now) where garbage.kind == .version {
                _ = try CrashTests.killing(at: name) { try store.remove(garbage, policy, now: now) }
            }
        }
        #expect(try fixture.store.verify().isEmpty)
        let faults = try fixture.store.historyFaults()
        #expect(faults.map(\.kind) == (point == .collectLogged ? [.unremoved] : []))
        #expect(!faults.contains { !$0.isMendedByNextWrite })
        try fixture.store.mendHistory()
        #expect(try fixture.store.historyFaults().isEmpty)
        #expect(try fixture.store.versions(of: "tone").map(\.number) == [3, 2])
        _ = try collect(fixture.store, strict, now: later)
        #expect(try fixture.store.versions(of: "tone").map(\.number) == [3])
        #expect(try fixture.store.log(of: "tone").filter { $0.event == .removed }.map(\.version) == [1, 2])
        #expect(try fixture.store.verify().isEmpty && fixture.store.historyFaults().isEmpty)
    }

    /// A blob that nobody has any more is wanted again at the moment it is collected.
    @Test func aContentThatIsUsedAgainSurvives() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        try fixture.publish("tone", "old")
        try fixture.publish("tone", "new")
        let version = try #require(try store.garbage(strict, now: later).first { $0.kind == .version })
        #expect(try store.remove(version, strict, throughTrash: false, now: later))
        let blobs = try store.garbage(strict, now: later).filter { $0.kind == .blob }
        #expect(!blobs.isEmpty)
        let folder = try fixture.adapter("old")
        // After each content has been added, everything that looks unused is collected.
        let (policy, moment) = (strict, later)
        try Failpoint.withHandler({ point in
            guard point == .blobLinked else { return }
            for garbage in try store.garbage(policy, now: moment) where garbage.kind == .blob {
                // The lock is this very process's while the version is assembled.
                let lock = try OpenFile(store.root.appending(path: ".lock").path, O_RDWR)
                guard try lock.tryLock() else { continue }
                try FileTree.remove(garbage.url)
            }
        }) {
            let made = try store.publish(folder: folder, in: .adapters, name: "tone", attemptID: "again")
            #expect(made.number == 3)
        }
        #expect(try store.verify().isEmpty)
    }

    /// Publishing and collecting at once, with no time of grace at all.
    @Test func collectingRacesPublishing() async throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        let isSoak = ProcessInfo.processInfo.environment["LORAJOBS_SOAK"] == "1"
        let (rounds, policy, moment) = (isSoak ? 1000 : 100, strict, later)
        try await withThrowingTaskGroup { group in
            for writer in 0..<2 {
                group.addTask {
                    for round in 0..<(rounds / 2) {
                        // Few contents, so that the one that is published is often the one that is collected.
                        try fixture.publish("tone\(round % 3)", "weights \((round + writer) % 4)")
                        await Task.yield()
                    }
                }
            }
            group.addTask {
                var removed = 0
                for _ in 0..<(rounds / 4) {
                    for garbage in try store.garbage(policy, now: moment) {
                        if try store.remove(garbage, policy, throughTrash: false, now: moment) { removed += 1 }
                    }
                    await Task.yield()
                }
                #expect(removed > 0)
            }
            try await group.waitForAll()
        }
        #expect(try store.verify().isEmpty)
        #expect(try store.historyFaults().isEmpty)
        let published = try (0..<3).flatMap { try store.log(of: "tone\($0)") }.count { $0.event == .published }
        #expect(published == rounds / 2 * 2)
    }

    /// What goes while it is read is not damaged: `adapters verify` and `doctor` run beside a collector.
    @Test func verifyingRacesCollecting() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        let cache = StageCache(store)
        let verifier = Verifier(store)
        var round = 0
        // On a busy machine the other half of the race comes late.
        while round < 8 || verifier.rounds < 8 {
            for number in 0..<8 {
                try fixture.publish("tone", "weights \(round) \(number)")
                try cache.store(
                    key: Digest.sha256(Data("\(round) \(number)".utf8)),
                    folder: fixture.adapter("output \(round) \(number)"),
                    metadata: StageCache.Metadata(kind: "train", created: StoreFixture.day, attemptID: "a"))
            }
            for garbage in try store.garbage(strict, now: later) {
                _ = try store.remove(garbage, strict, throughTrash: false, now: later)
            }
            round += 1
        }
        #expect(verifier.end() == [])
    }

    /// Verifies a store again and again, on a thread of its own.
    private final class Verifier: Sendable {
        private struct State {
            var rounds = 0
            var isWanted = true
            var hasEnded = false
            var found: [String] = []
        }

        private let state = Mutex(State())

        var rounds: Int { state.withLock(\.rounds) }

        init(_ store: ArtifactStore) {
            Thread.detachNewThread { [self] in
                while state.withLock(\.isWanted) {
                    let found: [String]
                    do { found = try store.verify().map(\.message) } catch { found = ["\(error)"] }
                    state.withLock {
                        $0.rounds += 1
                        $0.found += found
                    }
                }
                state.withLock { $0.hasEnded = true }
            }
        }

        /// Waits for it to end, and says what it has found.
        func end() -> [String] {
            state.withLock { $0.isWanted = false }
            while !state.withLock(\.hasEnded) { usleep(2000) }
            return state.withLock(\.found)
        }
    }
}
