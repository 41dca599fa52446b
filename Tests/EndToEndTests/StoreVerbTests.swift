import Foundation
import PipelineSpec
import Testing

/// The verbs of the store and those that look back, on versions that were really trained.
@Suite struct StoreVerbTests {
    @Test func versionsArePromotedRolledBackComparedAndCollected() async throws {
        guard let shop = try await Workshop.make() else { return }
        let program = shop.program
        for seed in 1...3 {
            let text = shop.manifest(steps: 4).replacing("steps: 4", with: "steps: 4\n  seed: \(seed)")
            try shop.write(text, to: "tone.yaml")
            let made = try await program.run("run", "tone.yaml")
            #expect(made.status == 0, "\(made)")
        }
        #expect(try shop.versions() == [1, 2, 3])
        func target() -> String? {
            try? FileManager.default.destinationOfSymbolicLink(
                atPath: shop.url("Artifacts/adapters/tone/production").path)
        }
        #expect(try await program.run("adapters", "rollback", "tone", "--reason", "x").status == 66)
        for number in 1...3 {
            #expect(
                try await program.run("adapters", "promote", "tone:\(number)", "--reason", "n\(number)").status == 0)
        }
        #expect(target() == "3")
        let kept = try await program.run("adapters", "reject", "tone:3")
        #expect(kept.status == 64 && kept.talk.contains("rollback tone --alias production --reason TEXT"), "\(kept)")
        #expect(try await program.run("adapters", "promote", "tone:2", "--alias", "trial").status == 0)
        #expect(try shop.target("trial") == "2")
        let back = try await program.run("adapters", "rollback", "tone", "--reason", "it swears", "--json")
        #expect(try back.json()["version"] == 2 && back.json()["before"] == 3 && target() == "2", "\(back)")
        #expect(try await program.run("adapters", "reject", "tone:3", "--reason", "it swears").status == 0)
        let refused = try await program.run("adapters", "promote", "tone:3")
        #expect(refused.status == 64 && refused.talk.contains("it swears"), "\(refused)")

        let log = try await program.run("adapters", "log", "tone", "--json").json()["log"]?.elements ?? []
        #expect(
            log.map { $0["event"] } == [
                "published", "published", "published", "alias", "alias", "alias", "alias", "alias", "rejected",
            ])
        #expect(log[7]["reason"] == "rollback: it swears" && log[7]["previous"] == 3)
        let list = try await program.run("adapters", "list")
        #expect(list.output.contains("latest") && list.output.contains("production"), "both are shown: \(list)")
        let listed = try await program.run("adapters", "list", "--json").json()["adapters"]?.elements ?? []
        #expect(listed.map { $0["version"] } == [3] && listed.first?["production"] == 2)
        let diff = try await program.run("adapters", "diff", "tone:1", "2", "--json").json()
        let keys = diff["differences"]?.elements.compactMap { $0["key"]?.word } ?? []
        #expect(keys.contains { $0.hasSuffix("seed") } && keys.contains("digest"), "\(keys)")
        // What a version took is recorded of every stage, and is no difference between versions.
        let lineage = try await program.run("adapters", "show", "tone:1", "--json").json()["record"]?["lineage"]
        #expect(lineage?["program"]?.word?.hasPrefix("lorajobs ") == true, "\(lineage ?? .null)")
        for stage in ["tokenize", "train", "evaluate"] {
            let cost = lineage?["costs"]?[stage]
            #expect((cost?["cpu_seconds"]?.double ?? 0) > 0 && (cost?["peak_rss_bytes"]?.double ?? 0) > 1e6)
            #expect(cost?["log"]?.word?.hasPrefix("sha256:") == true, "\(cost ?? .null)")
        }
        #expect(!keys.contains { $0.hasPrefix("lineage.costs") }, "\(keys)")

        // Nothing is old enough; then everything but production, its past and what is pinned is.
        #expect(try await program.run("gc", "--json").json()["garbage"] == .array([]))
        #expect(try await program.run("adapters", "pin", "tone:3").status == 0)
        let settings = try shop.text("lorajobs.yaml")
        try shop.write(
            settings
                + "retention: {keep_last: 1, keep_daily: 0, keep_monthly: 0, alias_history: 0, grace: 0s, cache: 0B}\n",
            to: "lorajobs.yaml")
        let seen = try await program.run("gc", "--json").json()
        let found = seen["garbage"]?.elements ?? []
        #expect(seen["deleted"] == false && found.first?["subject"] == "tone:1", "\(seen)")
        #expect(found.count { $0["kind"] == "version" } == 1 && found.contains { $0["kind"] == "cached_output" })
        #expect(try shop.versions() == [1, 2, 3])
        let part = try await program.run("adapters", "verify", "--sample", "50%", "--json").json()
        #expect(part["valid"] == true && part["parts"] == 2)
        #expect(try await program.run("adapters", "verify", "--sample", "0%").status == 64)
        #expect(try await program.run("adapters", "verify", "tone:1", "--sample", "50%").status == 64)
        let shown = try await program.run("gc").output
        #expect(shown.contains("train of tone (") && !shown.contains("sha256:"), "\(shown)")
        #expect(try await program.run("gc", "--now").status == 64)
        let collected = try await program.run("gc", "--delete", "--now", "--json").json()
        #expect(collected["deleted"] == true && (collected["bytes"]?.double ?? 0) > 0, "\(collected)")
        #expect(try shop.versions() == [2, 3])
        #expect(try await program.run("adapters", "verify").status == 0)
        let doctor = try await program.run("doctor", "--json")
        #expect(try doctor.json()["sound"] == true, "\(doctor)")
        #expect(try await program.run("config", "--json").output.contains("retention.keep_last"))
    }

    /// Damage is said wherever a version is shown, until it is mended.
    @Test func aDamagedVersionIsMarkedWhereItIsShown() async throws {
        guard let shop = try await Workshop.make() else { return }
        let program = shop.program
        try shop.write(shop.manifest(steps: 2), to: "tone.yaml")
        #expect(try await program.run("run", "tone.yaml").status == 0)
        #expect(try await program.run("adapters", "promote", "tone:1", "--reason", "good").status == 0)
        #expect(try await program.run("adapters", "verify").status == 0)
        let weights = shop.url("Artifacts/adapters/tone/1/adapter_model.safetensors")
        let whole = try Data(contentsOf: weights)
        func write(_ data: Data) throws {
            chmod(weights.path, 0o644)
            let file = try FileHandle(forWritingTo: weights)
            try file.write(contentsOf: data)
            try file.close()
        }
        var broken = whole
        broken[whole.count - 1] ^= 1
        try write(broken)
        let verified = try await program.run("adapters", "verify")
        #expect(verified.status == 65 && verified.output.contains("; do: "), "\(verified)")
        #expect(verified.output.split(separator: "\n").count == 1, "\(verified)")
        #expect(try await program.run("status").output.contains("damaged: lorajobs adapters verify tone:1"))
        #expect(try await program.run("status", "--json").json()["production"]?.elements.first?["damaged"] == true)
        #expect(try await program.run("adapters", "show", "tone:1").output.contains("damaged"))
        #expect(try await program.run("adapters", "list").output.contains("damaged"))
        let listed = try await program.run("adapters", "list", "--json").json()["adapters"]?.elements
        #expect(listed?.first?["damaged"] == true)
        // The log too: one line that is not as it was written.
        let log = try shop.text("Artifacts/adapters/tone/log.jsonl")
        try shop.write(log.replacing("\"good\"", with: "\"goof\""), to: "Artifacts/adapters/tone/log.jsonl")
        let both = try await program.run("adapters", "verify")
        #expect(both.output.split(separator: "\n").count == 2 && both.output.contains("log.jsonl:2 "), "\(both)")
        #expect(try await program.run("status").status == 0)
        try shop.write(log, to: "Artifacts/adapters/tone/log.jsonl")
        try write(whole)
        #expect(try await program.run("adapters", "verify").status == 0)
        #expect(try await !program.run("status").output.contains("damaged"))
    }

    @Test func theMorningIsToldWhatTheNightDid() async throws {
        guard let shop = try await Workshop.make() else { return }
        let program = shop.program
        let quiet = try await program.run("report")
        #expect(quiet.status == 0 && quiet.output.contains("Nothing has happened"), "\(quiet)")
        try shop.write(shop.manifest(steps: 4), to: "tone.yaml")
        #expect(try await program.run("run", "tone.yaml").status == 0)
        #expect(try await program.run("run", "tone.yaml").status == 0)
        #expect(try await program.run("adapters", "promote", "tone:1", "--reason", "good").status == 0)
        try shop.dropBroken()
        try await shop.startDaemon()
        try await shop.until("it is rejected") {
            try await program.run("inbox", "errors", "--json").output.contains("broken.yaml")
        }
        let report = try await program.run("report", "--since", "today", "--json").json()
        let ended = report["ended"]?.elements ?? []
        #expect(ended.map { $0["unchanged"] } == [false, true] && ended.first?["adapter"] == "tone:1", "\(report)")
        let values = try shop.json("Artifacts/adapters/tone/1/lorajobs.json")["evaluation"]?["sets"]?.elements.first?[
            "values"]
        #expect(ended.first?["loss"] != nil && ended.first?["loss"] == values?["trained"]?["loss"])
        #expect(ended.first?["loss_before"] == values?["base"]?["loss"], "nothing was in production: \(report)")
        #expect(report["moves"]?.elements.map { $0["alias"] } == ["production"])
        #expect(report["rejected"]?.elements.map { $0["name"] } == ["broken.yaml"])
        let text = try await program.run("report").output
        for words in ["1 job succeeded", "1 job had nothing to do", "1 manifest rejected", "production", "good"] {
            #expect(text.contains(words), "\(words): \(text)")
        }
        let wrong = try await program.run("report", "--since", "dawn")
        #expect(wrong.status == 64 && wrong.talk.contains("yesterday"), "\(wrong)")

        let history = try await program.run("history", "--json").json()["jobs"]?.elements ?? []
        #expect(history.map { $0["state"] } == ["succeeded", "succeeded"])
        #expect(try await program.run("history", "--name", "other").output.isEmpty)
        let id = try #require(history.first?["id"]?.word)
        let events = try await program.run("history", id, "--json").json()["events"]?.elements ?? []
        #expect(events.contains { $0["kind"] == "attempt_started" && $0["stage"] == "train" }, "\(events)")
    }

    /// What a gate holds is shown until somebody has judged it.
    @Test func heldVersionsAreSeenUntilTheyAreJudged() async throws {
        guard let shop = try await Workshop.make() else { return }
        let program = shop.program
        let gate = "gate: {min_examples: 1, min_improvement: 1000%, max_regression: {}, on_fail: hold}\n"
        func waiting() async throws -> [String] {
            let versions = try await program.run("status", "--json").json()["awaiting_approval"]?.elements ?? []
            return versions.compactMap { $0["adapter"]?.word }
        }
        for steps in [2, 3] {
            try shop.write(shop.manifest(steps: steps) + gate, to: "tone.yaml")
            let run = try await program.run("run", "tone.yaml", "--json")
            #expect(try run.json()["jobs"]?.elements.first?["gate"] == "held", "\(run)")
        }
        #expect(try await waiting() == ["tone:1", "tone:2"])
        let status = try await program.run("status")
        #expect(
            status.output.contains("tone:2 waits: ") && status.output.contains("adapters promote tone:2"), "\(status)")
        let digest = try await program.run("report", "--since", "yesterday")
        #expect(digest.output.contains("2 versions for you to judge"), "\(digest)")

        #expect(try await program.run("adapters", "reject", "tone:1", "--reason", "dull").status == 0)
        #expect(try await waiting() == ["tone:2"])
        #expect(try await program.run("adapters", "promote", "tone:2", "--reason", "fine").status == 0)
        #expect(try await waiting() == [])
        // What was judged stays judged when production goes elsewhere.
        try shop.write(shop.manifest(steps: 4), to: "tone.yaml")
        #expect(try await program.run("run", "tone.yaml").status == 0)
        #expect(try await program.run("adapters", "promote", "tone:3", "--reason", "better").status == 0)
        #expect(try await program.run("adapters", "rollback", "tone", "--reason", "worse").status == 0)
        #expect(try await waiting() == [])
    }
}

extension Workshop {
    /// What an alias of the adapter points at.
    fileprivate func target(_ alias: String) throws -> String {
        try FileManager.default.destinationOfSymbolicLink(atPath: url("Artifacts/adapters/tone/\(alias)").path)
    }

    /// A manifest that cannot be read.
    fileprivate func dropBroken() throws { try drop("nmae: tone\n", as: "broken.yaml") }
}
