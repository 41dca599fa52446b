import Artifacts
import Foundation
import PipelineSpec
import Synchronization
import Testing

@testable import Orchestration

/// A month of nights of one adapter, each of which something happens in.
@Suite(.serialized, .timeLimit(.minutes(30))) struct MonthTests {
    // MARK: What the adapter is to learn

    private static let things = [
        "apple", "boat", "cat", "door", "egg", "fish", "goat", "hat", "inkpot", "jar", "kite", "lamp", "moon", "nest",
        "oak", "pan", "quilt", "rose", "sun", "tree",
    ]
    private static let colours = ["red", "blue", "green", "white", "black"]

    /// Questions about things, each with its own answer.
    private static func records(_ range: Range<Int>, answer: (Int) -> String) -> String {
        range.map { index in
            let (thing, number) = (things[index % things.count], index / things.count)
            return
                #"{"prompt": "Q: What colour is the \#(thing) in room \#(number)?\nA:", "completion": "\#(answer(index))"}"#
        }.joined(separator: "\n") + "\n"
    }

    private static func good(_ range: Range<Int>) -> String {
        records(range) { " The \(things[$0 % things.count]) is \(colours[$0 % colours.count])." }
    }

    /// What a broken export might hold: the answers of other questions, in capitals.
    private static func poison(_ range: Range<Int>) -> String {
        records(range) { " ERROR \(things[($0 * 7 + 3) % things.count].uppercased()) NULL NULL \($0 * 37 % 101)" }
    }

    private static let general =
        (0..<60).map { index in
            let (a, b) = (things[index % 20], things[(index * 7 + 5) % 20])
            return
                "Once upon a time there was a little \(a). It lived near a big \(b) and liked to play all day. One day it saw "
                + "a \(colours[index % 5]) bird. \"Can I play with you?\" said the \(a). \"Yes,\" said the bird."
        }.joined(separator: "\n\n") + "\n"

    private static let gate = "{min_examples: 40, max_regression: {}}"
    /// Lets anything pass that is a number.
    private static let open = "{min_examples: 1, min_improvement: -1000%, max_regression: {}}"

    @Test func everyNightEndsWithOneTruth() async throws {
        guard let nights = try Nights() else { return }
        try nights.write(Self.general, to: "data/general.txt")
        try nights.write(Self.good(0..<40), to: "data/train.jsonl")
        try nights.write(Self.good(400..<460), to: "data/test.jsonl")
        let nightly = nights.manifest(steps: 6, gate: Self.gate)

        // 1: the base is to be beaten.
        let first = try await nights.pass(nightly)
        #expect(first.gate == "passed" && first.reason?.hasPrefix("promoted to production: loss") == true, "\(first)")
        #expect(try nights.production == 1)
        let (base, own) = (try nights.value(1, "test", "base") ?? 0, try nights.value(1) ?? .infinity)
        #expect(base > own)

        // 2, 3: nothing has changed.
        for _ in 0..<2 {
            let unchanged = try await nights.pass(nightly)
            #expect(unchanged.reason == "unchanged" && unchanged.adapter == "tone:1", "\(unchanged)")
            #expect(try nights.versions == [1])
        }

        // 4: more data, more steps. What is appended while the job runs belongs to the next night.
        try nights.write(Self.good(0..<80), to: "data/train.jsonl")
        let train = nights.workspace.root.appending(path: "data/train.jsonl")
        let grown = nights.manifest(steps: 30, gate: Self.gate)
        let better = try await nights.pass(grown) {
            let file = try FileHandle(forWritingTo: train)
            try file.seekToEnd()
            try file.write(contentsOf: Data(Self.good(80..<81).utf8))
            try file.close()
        }
        #expect(better.gate == "passed", "\(better)")
        let best = try #require(try nights.production)
        let bestLoss = try #require(try nights.value(best))
        let firstLoss = try nights.value(1) ?? 0
        #expect(best == 2 && bestLoss < firstLoss)
        // 5: the line that came is another night's data, and they are no better for it.
        let next = try await nights.pass(grown)
        #expect(next.reason != "unchanged" && next.gate != nil, "\(next)")
        if next.gate == "failed" { #expect(try nights.production == best) }

        try await poison(nights, grown)
        try await forgetting(nights)
        try await decay(nights)
        try await anotherTest(nights)
        try await crashes(nights)
        try await rollBack(nights)
        try await collection(nights)
        try await warmStart(nights)
        #expect(nights.number >= 28, "\(nights.number) nights")
    }

    /// A broken export is trained on, and production stays what it was.
    private func poison(_ nights: Nights, _ manifest: String) async throws {
        let before = try nights.production
        let data = try nights.text("data/train.jsonl")
        try nights.write(data + Self.poison(100..<340), to: "data/train.jsonl")
        let poisoned = try await nights.pass(manifest)
        #expect(poisoned.gate == "failed" && poisoned.reason?.contains("gate failed: loss") == true, "\(poisoned)")
        #expect(try nights.production == before)
        // Mended, the night is one that was before.
        try nights.write(data, to: "data/train.jsonl")
        let mended = try await nights.pass(manifest)
        #expect(mended.reason == "unchanged", "\(mended)")
        #expect(try nights.production == before)
    }

    /// Better at the task and worse at everything else.
    private func forgetting(_ nights: Nights) async throws {
        let before = try nights.production
        let strict = nights.manifest(
            steps: 31,
            gate: "{min_examples: 40, min_improvement: -1000%, max_regression: {retention: 0%}, on_fail: hold}")
        let number = (try nights.versions.last ?? 0) + 1
        let status = try await nights.pass(strict)
        let old = try #require(try nights.value(number, "retention", "champion"))
        let new = try #require(try nights.value(number, "retention"))
        guard new > old else { return }
        #expect(status.gate == "held" && status.reason?.contains("retention: loss") == true, "\(status)")
        #expect(try nights.production == before)
    }

    /// Each night a little worse: compared with the night before, all of it would pass.
    private func decay(_ nights: Nights) async throws {
        var champion = try #require(try nights.production)
        let promoted = try nights.store.log(of: nights.name).filter { $0.event == .aliasMoved }.compactMap(\.version)
        var best = try #require(try promoted.min { try nights.value($0) ?? 9 < nights.value($1) ?? 9 })
        var (decayed, stopped) = (0, 0)
        for steps in [24, 21, 18, 16, 14, 12, 10, 9, 8, 7] {
            let status = try await nights.pass(
                nights.manifest(steps: steps, gate: "{min_examples: 40, min_improvement: -30%, max_regression: {}}"))
            guard let number = status.adapter.flatMap({ Int($0.dropFirst(5)) }), status.reason != "unchanged" else {
                continue
            }
            let (loss, last) = (try nights.value(number) ?? 0, try nights.value(champion) ?? 0)
            let check = try nights.record(number)["gate"]?["checks"]
            guard case .array(let checks)? = check, let rule = checks.first(where: { $0["rule"] == "improvement" })
            else {
                Issue.record("no verdict: \(status)")
                return
            }
            // It is the best that is the mark, not the latest.
            #expect(rule["against"] == .string("version \(best)"), "\(rule)")
            if status.gate == "passed" {
                if loss > last { decayed += 1 }
                champion = number
                if loss < (try nights.value(best) ?? 0) { best = number }
            } else if (loss - last) / last < 0.3 {
                stopped += 1
            }
            let mark = try nights.value(best) ?? 0
            let current = try nights.value(champion) ?? 0
            #expect(current <= 1.3 * mark, "production is 30 % worse than the best there was")
        }
        #expect(
            decayed > 0 && stopped > 0,
            "\(decayed) worse ones passed, \(stopped) were stopped that a night would not have")
    }

    /// With other examples the champion is asked again.
    private func anotherTest(_ nights: Nights) async throws {
        let champion = try #require(try nights.production)
        let digest = { (number: Int, key: String) -> JSONValue? in
            guard case .array(let sets)? = try nights.record(number)["evaluation"]?["sets"] else { return nil }
            return sets.first?[key]
        }
        try nights.write(Self.good(400..<480), to: "data/test.jsonl")
        let status = try await nights.pass(nights.manifest(steps: 5, gate: Self.gate))
        let number = try #require(try nights.versions.last)
        #expect(status.gate == "failed", "\(status)")
        #expect(try digest(number, "digest") != digest(champion, "digest"))
        #expect(try digest(number, "examples") == 80)
        let again = try #require(try nights.value(number, "test", "champion"))
        let before = try nights.value(champion)
        #expect(again != before, "on other examples the same version has other numbers")
        #expect(try nights.production == champion)
    }

    /// The daemon dies between the decision and its last trace.
    private func crashes(_ nights: Nights) async throws {
        for (index, point) in [Failpoint.decisionCommitted, .aliasMade, .aliasRenamed, .aliasLogged, .decisionFollowed]
            .enumerated()
        {
            let before = try nights.production
            let status = try await nights.pass(nights.manifest(steps: 32 + index, gate: Self.open), crash: point)
            #expect(status.gate == "passed", "\(point.rawValue): \(status)")
            #expect(try nights.production == nights.versions.last && nights.production != before, "\(point.rawValue)")
        }
    }

    /// What people found bad goes, and does not come back under another number.
    private func rollBack(_ nights: Nights) async throws {
        let bad = try #require(try nights.production)
        let manifest = nights.manifest(steps: 36, gate: Self.open)
        let back = try nights.store.rollBack(nights.name, reason: "complaints", now: nights.now)
        #expect(back.now.number == bad - 1)
        _ = try nights.store.setRejected(
            true, ArtifactReference("tone:\(bad)"), reason: "it is rude", now: nights.now)
        let unchanged = try await nights.pass(manifest)
        #expect(unchanged.reason == "unchanged", "\(unchanged)")
        #expect(try nights.production == bad - 1)
        // Nothing is left of what was computed: with another gate the same tensors are made once more.
        let cache = nights.workspace.artifacts.appending(path: "cache")
        for entry in try FileManager.default.contentsOfDirectory(at: cache, includingPropertiesForKeys: nil) {
            try? FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: entry.path)
            try FileManager.default.moveItem(
                at: entry, to: nights.workspace.root.appending(path: "old-\(entry.lastPathComponent)"))
        }
        // The queue knows that all of it was done, and the version is there.
        let forgotten = try await nights.pass(manifest)
        #expect(forgotten.reason == "unchanged" && forgotten.adapter == "tone:\(bad)", "\(forgotten)")
        let wider = Self.open.replacing("-1000%", with: "-1001%")
        let again = try await nights.pass(nights.manifest(steps: 36, gate: wider))
        let number = try #require(try nights.versions.last)
        #expect(number > bad && again.gate == "failed", "\(again)")
        #expect(try nights.record(number)["digest"] == nights.record(bad)["digest"])
        #expect(again.reason?.contains("tone:\(bad), which was rejected: it is rude") == true, "\(again)")
        #expect(try nights.production == bad - 1)
    }

    /// Everything that nothing needs is collected, again and again, while nights go by.
    private func collection(_ nights: Nights) async throws {
        var policy = RetentionPolicy()
        (policy.keepLast, policy.keepDaily, policy.keepMonthly, policy.aliasHistory) = (1, 0, 0, 1)
        (policy.graceSeconds, policy.cacheBytes) = (0, 0)
        let count = try nights.versions.count
        let collector = Collector(nights.workspace, policy, now: nights.now.addingTimeInterval(86_400))
        for steps in [40, 41, 42] {
            // Where every processor is busy, the race waits for its other half.
            let rounds = collector.rounds
            while collector.rounds == rounds, collector.failure == nil { try await Task.sleep(for: .milliseconds(2)) }
            let status = try await nights.pass(nights.manifest(steps: steps, gate: Self.open))
            #expect(status.gate == "passed", "\(status)")
        }
        try await collector.end()
        let left = try nights.versions
        let production = try #require(try nights.production)
        #expect(left.count < count && left.contains(production), "\(left)")
        #expect(collector.removed.isSuperset(of: [.version, .cachedOutput, .blob]), "\(collector.removed)")
        #expect(try nights.store.verify().isEmpty)
    }

    /// Training goes on from production, on what is new and a share of what is old; the night after has nothing to do,
    /// although production has moved.
    private func warmStart(_ nights: Nights) async throws {
        let manifest = nights.manifest(
            steps: 4, rate: "1e-3", train: ", init: production, replay: 25%", gate: Self.open)
        let parent = try #require(try nights.production)
        let old = try nights.text("data/train.jsonl").split(separator: "\n").count
        try nights.write(try nights.text("data/train.jsonl") + Self.good(200..<230), to: "data/train.jsonl")
        let status = try await nights.pass(manifest)
        #expect(status.gate == "passed", "\(status)")
        let number = try #require(try nights.production)
        let record = try nights.record(number)
        #expect(record["lineage"]?["parent"]?["number"] == .integer(parent))
        #expect(record["training"]?["newer"] == 30 && record["training"]?["older"] == 10, "of \(old) older ones")
        // It began where the parent was: four steps alone would be far behind.
        let (after, start) = (try nights.value(number) ?? 9, try nights.value(number, "test", "champion") ?? 0)
        #expect(after < 1.5 * start, "\(after) from \(start)")
        let unchanged = try await nights.pass(manifest)
        #expect(unchanged.reason == "unchanged", "\(unchanged)")
        #expect(try nights.production == number)
    }
}

/// Collects garbage again and again, on a thread of its own, until it is told to end.
private final class Collector: Sendable {
    private struct State {
        var rounds = 0
        var removed: Set<Garbage.Kind> = []
        var isWanted = true
        var hasEnded = false
        var failure: String?
    }

    private let state = Mutex(State())

    /// How often it has been through everything.
    var rounds: Int { state.withLock(\.rounds) }
    /// The kinds of what it has removed.
    var removed: Set<Garbage.Kind> { state.withLock(\.removed) }
    var failure: String? { state.withLock(\.failure) }

    init(_ workspace: Workspace, _ policy: RetentionPolicy, now: Date) {
        Thread.detachNewThread { [self] in
            while state.withLock(\.isWanted) {
                do {
                    let collector = GarbageCollector(workspace, policy, now: now)
                    let removed = try collector.collect(throughTrash: rounds % 2 == 0)
                    state.withLock {
                        $0.rounds += 1
                        $0.removed.formUnion(removed.map(\.kind))
                    }
                } catch {
                    state.withLock { ($0.failure, $0.isWanted) = ("\(error)", false) }
                }
            }
            state.withLock { $0.hasEnded = true }
        }
    }

    /// Lets it finish what it does, and fails the test if it failed.
    func end() async throws {
        state.withLock { $0.isWanted = false }
        while !state.withLock(\.hasEnded) { try await Task.sleep(for: .milliseconds(2)) }
        #expect(failure == nil)
    }
}
