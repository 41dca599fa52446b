import Foundation
import GRDB
import PipelineSpec
import TestSupport
import Testing

/// Many drops of every kind while daemon and workers are killed at random; then everything must add up.
@Suite(.timeLimit(.minutes(60))) struct KillStormTests {
    /// One thing a producer drops.
    private struct Drop {
        var name: String
        var text: String
        var tenant: String?
        var isCopied: Bool
        var isBad: Bool
        /// An earlier drop has the same idempotency key.
        var isDuplicate: Bool
    }

    private func drops(_ count: Int, _ run: Survival, _ random: inout SeededGenerator) -> [Drop] {
        var keys: [(tenant: String?, key: String)] = []
        return (0..<count).map { index in
            let name = "storm-\(index)"
            var tenant = [nil, nil, nil, "alpha", "beta"].randomElement(using: &random) ?? nil
            var key = "key-\(index)"
            var isDuplicate = false
            if Int.random(in: 0..<100, using: &random) < 2, let known = keys.randomElement(using: &random) {
                (tenant, key, isDuplicate) = (known.tenant, known.key, true)
            }
            let isBad = !isDuplicate && Int.random(in: 0..<100, using: &random) < 5
            if !isBad { keys.append((tenant, key)) }
            // Some share a name, so that versions of one adapter are made one after the other.
            let adapter = index % 5 == 0 ? "shared" : name
            let good = run.manifest(adapter, seed: index, more: ", idempotency_key: \(key)")
            // None that could be the beginning of a good one: such a file is given a minute to become whole.
            let bad = ["- name\n", "nmae: x\n", "name: 7:\n", good + "rank: eight\n", "\u{0}\u{1}binary"]
            return Drop(
                name: "\(name).yaml", text: isBad ? bad.randomElement(using: &random) ?? "" : good, tenant: tenant,
                isCopied: Bool.random(using: &random), isBad: isBad, isDuplicate: isDuplicate)
        }
    }

    private func storm(_ count: Int, kills: Int, within seconds: Double) async throws {
        let seed = Soak.seed()
        guard let run = try await Survival.make("storm, LORAJOBS_SEED=\(seed)") else { return }
        var random = SeededGenerator(seed: seed)
        let planned = drops(count, run, &random)
        for tenant in ["alpha", "beta"] {
            try FileManager.default.createDirectory(
                at: run.shop.url("Jobs/inbox/\(tenant)"), withIntermediateDirectories: true)
        }
        let producer = Task {
            var pauses = SeededGenerator(seed: seed + 1)
            for drop in planned {
                let path = drop.tenant.map { "\($0)/\(drop.name)" } ?? drop.name
                if drop.isCopied {
                    try await run.copy(drop.text, as: path)
                } else {
                    try run.drop(drop.text, as: path)
                }
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...40, using: &pauses)))
            }
        }
        var left = kills
        var next = ContinuousClock.now + .milliseconds(300)
        try await run.live(within: seconds, deaths: kills + 100) { daemon in
            guard left > 0 else { return run.drops < count }
            guard ContinuousClock.now >= next else { return true }
            next = ContinuousClock.now + .milliseconds(Int.random(in: 50...500, using: &random))
            left -= 1
            let workers = Processes.working(in: run.shop.url("Jobs/runs"))
            let victim = Int.random(in: 0..<10, using: &random)
            if victim >= 6 || victim == 0, let worker = workers.randomElement(using: &random) { kill(worker, SIGKILL) }
            if victim < 6 || workers.isEmpty { kill(daemon, SIGKILL) }
            return true
        }
        try await producer.value
        try run.expectSound()
        #expect(run.drops == count)

        let verdicts = try run.query { db in
            Dictionary(
                uniqueKeysWithValues: try Row.fetchAll(
                    db, sql: "SELECT verdict, count(*) AS n FROM intake GROUP BY verdict"
                )
                .map { ($0["verdict"] as String, $0["n"] as Int) })
        }
        let label = run.label
        #expect(verdicts["rejected", default: 0] == planned.count { $0.isBad }, "\(label): \(verdicts)")
        // Of one key the first that is taken is the job: which one that is, the order of the inbox says.
        #expect(verdicts["duplicate", default: 0] == planned.count { $0.isDuplicate }, "\(label): \(verdicts)")
        #expect(
            verdicts["accepted", default: 0] == planned.count { !$0.isBad && !$0.isDuplicate },
            "\(label): \(verdicts)")
        let reports = try run.files("rejected")
        #expect(reports.count { $0.hasSuffix(".error.txt") } == verdicts["rejected", default: 0], "\(label)")
        #expect(reports.count { $0.hasSuffix(".error.json") } == verdicts["rejected", default: 0], "\(label)")
        let receipts = try run.files("accepted").count { $0.hasSuffix(".receipt.json") }
        #expect(receipts == verdicts["accepted", default: 0] + verdicts["duplicate", default: 0], "\(label)")
        FileHandle.standardError.write(
            Data("storm: \(count) drops, \(run.deaths.count) daemons killed, \(verdicts)\n".utf8))
    }

    @Test func aShortStorm() async throws { try await storm(40, kills: 25, within: 300) }

    @Test(.enabled(if: Soak.isOn)) func aLongStorm() async throws { try await storm(1000, kills: 1500, within: 3000) }
}
