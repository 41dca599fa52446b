import Foundation
import PipelineSpec
import TestSupport
import Testing

/// From a file in the inbox to a version in the store, with a daemon that watches.
@Suite(.timeLimit(.minutes(3))) struct InboxTests {
    @Test func aDroppedManifestBecomesAnAdapter() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon()
        try shop.drop(shop.manifest(), as: "tone.yaml")
        let job = try await shop.ended()
        #expect(job["state"] == "succeeded" && job["reason"] == .null, "\(job)")
        #expect(job["adapter"] == "tone:1" && job["progress"] == 1)

        #expect(try shop.names(in: "Jobs/inbox").isEmpty && shop.names(in: "Jobs/claimed").isEmpty)
        let day = try #require(shop.names(in: "Jobs/accepted").first)
        let accepted = try shop.names(in: "Jobs/accepted/\(day)")
        #expect(accepted.count == 2 && accepted.first?.hasSuffix("__tone.yaml") == true, "\(accepted)")
        let receipt = try shop.json("Jobs/accepted/\(day)/\(try #require(accepted.last))")
        #expect(receipt["jobs"]?.elements.first?["id"] == job["id"] && receipt["verdict"] == "accepted", "\(receipt)")

        #expect(
            Set(try shop.names(in: "Artifacts/adapters/tone/1"))
                == ["README.md", "adapter_config.json", "adapter_model.safetensors", "lorajobs.json"])
        let latest = try await shop.program.run("adapters", "show", "tone@latest", "--json").json()
        #expect(latest["version"] == 1 && latest["path"] == "Artifacts/adapters/tone/1")
        let record = try shop.json("Artifacts/adapters/tone/1/lorajobs.json")
        let before = try #require(record["evaluation"]?["base"]?["perplexity"]?.double)
        let after = try #require(record["evaluation"]?["trained"]?["perplexity"]?.double)
        #expect(after < before)

        let listed = try await shop.program.run("adapters", "list", "--json").json()["adapters"]?.elements ?? []
        #expect(listed.count == 1)
        #expect(listed.first?["name"] == "tone" && listed.first?["version"] == 1)
        #expect(listed.first?["aliases"] == ["latest"] && listed.first?["path"] == "Artifacts/adapters/tone/1")
        #expect(listed.first?["metrics"]?["perplexity"]?.double == after)
        #expect(listed.first?["digest"] == record["digest"])

        let id = try #require(job["id"]?.word)
        let show = try await shop.program.run("show", id, "--json").json()
        #expect(show["job"]?["state"] == "succeeded" && show["job"]?["adapter"] == "tone:1")
        #expect(
            try await shop.stages(id) == [
                "tokenize": "succeeded", "train": "succeeded", "evaluate": "succeeded", "merge": "skipped",
                "package": "succeeded",
            ])
        let logs = try await shop.program.run("logs", id).output.split(separator: "\n")
        #expect(
            logs.filter { $0.hasPrefix("== ") } == [
                "== tokenize (attempt 1)", "== train (attempt 1)", "== evaluate (attempt 1)", "== package (attempt 1)",
            ])
        #expect(logs.contains { $0.contains("trained 20 steps") })
        let text = try await shop.program.run("adapters", "show", "tone").output
        #expect(text.contains("training.curve") && text.contains("20 values; see --json"), "\(text)")
        let loss = try #require(record["metrics"]?["loss"]?.double)
        let table = try await shop.program.run("adapters", "list").output
        #expect(table.contains("LOSS") && table.contains(String(format: "%.4f", loss)), "\(table)")
        try await shop.endDaemon(SIGTERM)
    }

    @Test func nothingIsTrainedAgainUntilTheDataChanges() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon()
        let text = shop.manifest()
        try shop.drop(text, as: "tone.yaml")
        #expect(try await shop.ended()["adapter"] == "tone:1")

        let cached = [
            "tokenize": "cached", "train": "cached", "evaluate": "cached", "merge": "skipped", "package": "cached",
        ]
        let data = shop.url("data/play.txt")
        for count in 2...3 {
            // The second time with a new date on the data, and a comment in the manifest.
            if count == 3 {
                try FileManager.default.setAttributes([.modificationDate: Date.distantFuture], ofItemAtPath: data.path)
            }
            try shop.drop(count == 3 ? "# nightly\n" + text : text, as: "tone.yaml")
            let again = try await shop.ended(count: count)
            #expect(again["state"] == "succeeded" && again["reason"] == "unchanged", "\(again)")
            #expect(again["adapter"] == "tone:1")
            #expect(try await shop.stages(again["id"]?.word ?? "") == cached)
            #expect(try shop.versions() == [1])
        }

        // Another byte under the old date.
        var bytes = try Data(contentsOf: data)
        bytes[1000] = bytes[1000] == UInt8(ascii: "x") ? UInt8(ascii: "y") : UInt8(ascii: "x")
        let handle = try FileHandle(forWritingTo: data)
        try handle.write(contentsOf: bytes)
        try handle.close()
        try FileManager.default.setAttributes([.modificationDate: Date.distantFuture], ofItemAtPath: data.path)
        try shop.drop(text, as: "tone.yaml")
        let changed = try await shop.ended(count: 4)
        #expect(changed["state"] == "succeeded" && changed["reason"] == .null, "\(changed)")
        #expect(changed["adapter"] == "tone:2")
        let states = try await shop.stages(changed["id"]?.word ?? "")
        #expect(states["tokenize"] == "succeeded" && states["train"] == "succeeded")
        #expect(try shop.versions() == [1, 2])
        let latest = try await shop.program.run("adapters", "show", "tone@latest", "--json").json()
        #expect(latest["version"] == 2)
        let all = try await shop.program.run("adapters", "list", "--all", "--json").json()["adapters"]?.elements
        #expect(all?.compactMap { $0["version"] } == [1, 2] || all?.compactMap { $0["version"] } == [2, 1])
    }

    @Test func aKilledWatcherDelaysNothingMuch() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon()
        let daemon = try #require(shop.daemon)
        try await shop.until("the watcher is ready") {
            try await shop.program.run("status", "--json").json()["daemon"]?["watching"] == true
        }
        let watcher = try #require(Processes.watcher(of: daemon.pid))
        kill(watcher, SIGKILL)
        try shop.drop(shop.manifest(), as: "tone.yaml")
        #expect(try await shop.ended()["adapter"] == "tone:1")
        // Another one takes its place.
        try await shop.until("there is a watcher again") {
            let other = Processes.watcher(of: daemon.pid)
            return other != nil && other != watcher
        }
    }

    @Test func aMissingWatcherDelaysNothingMuch() async throws {
        guard let shop = try await Workshop.make() else { return }
        let alone = shop.outside.appending(path: "lorajobs")
        try FileManager.default.copyItem(at: shop.program.executable, to: alone)
        try await shop.startDaemon(executable: alone)
        #expect(try await shop.program.run("status", "--json").json()["daemon"]?["watching"] == false)
        try shop.drop(shop.manifest(), as: "tone.yaml")
        #expect(try await shop.ended()["adapter"] == "tone:1")
    }

    @Test func aFlippedByteIsNoticedAndAnExportIsTheVersion() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(shop.manifest(), to: "tone.yaml")
        #expect(try await shop.program.run("run", "tone.yaml").status == 0)
        #expect(try await shop.program.run("adapters", "verify", "tone:1").status == 0)

        let export = try await shop.program.run("adapters", "export", "tone", "--for", "peft", "-o", "copy")
        #expect(export.status == 0, "\(export)")
        let version = "Artifacts/adapters/tone/1"
        #expect(try shop.names(in: "copy") == shop.names(in: version))
        for name in try shop.names(in: version) {
            #expect(try Data(contentsOf: shop.url("copy/\(name)")) == Data(contentsOf: shop.url("\(version)/\(name)")))
        }

        let weights = shop.url("\(version)/adapter_model.safetensors")
        var bytes = try Data(contentsOf: weights)
        bytes[bytes.count - 10] ^= 1
        chmod(weights.path, 0o644)
        let handle = try FileHandle(forWritingTo: weights)
        try handle.write(contentsOf: bytes)
        try handle.close()
        let verdict = try await shop.program.run("adapters", "verify", "tone:1")
        #expect(verdict.status == 65 || verdict.status == 1, "\(verdict)")
        #expect((verdict.output + verdict.talk).contains("adapter_model.safetensors"), "\(verdict)")
        #expect(try await shop.program.run("adapters", "verify").status == verdict.status)
        let refused = try await shop.program.run("adapters", "export", "tone", "-o", "second")
        #expect(refused.status != 0 && !FileManager.default.fileExists(atPath: shop.url("second").path), "\(refused)")
    }
}
