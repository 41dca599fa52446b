import Foundation
import PipelineSpec
import TestSupport
import Testing

/// From a file in the inbox to a version in the store, with a daemon that watches.
@Suite(.timeLimit(.minutes(30))) struct InboxTests {
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
        let before = try #require(record["evaluation"]?["sets"]?.elements[0]["values"]?["base"]?["perplexity"]?.double)
        let after = try #require(record["evaluation"]?["sets"]?.elements[0]["values"]?["trained"]?["perplexity"]?.double)
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

    @Test func everyFileOfTheInboxIsExplainedAndARejectedOneIsDroppedAgain() async throws {
        guard let shop = try await Workshop.make() else { return }
        #expect(try await shop.program.run("inbox", "errors", "01ABC").status == 66, "there is no queue yet")
        #expect(try await shop.program.run("inbox", "retry").status == 64)
        try shop.write("x", to: "Jobs/inbox/notes.txt")
        try shop.write("x", to: "Jobs/inbox/a\u{1B}[31m\nb.yaml")
        try shop.write(shop.manifest("lost", data: "data/later.txt"), to: "Jobs/inbox/lost.yaml")
        func files() async throws -> [JSONValue] {
            try await shop.program.run("inbox", "ls", "--json").json()["files"]?.elements ?? []
        }
        // With no daemon: what waits for one, and what would wait for ever.
        var listed = try await files()
        #expect(listed.count == 3)
        let lost = try #require(listed.first { $0["path"] == "Jobs/inbox/lost.yaml" })
        #expect(lost["status"] == "waiting" && lost["reason"]?.word?.contains("lorajobs daemon") == true, "\(lost)")
        #expect(lost["age_seconds"]?.double != nil)
        #expect(listed.first { $0["path"] == "Jobs/inbox/notes.txt" }?["status"] == "refused")
        let table = try await shop.program.run("inbox", "ls").output
        #expect(!table.contains("\u{1B}") && table.split(separator: "\n").count == 4, "\(table)")

        try await shop.startDaemon()
        try await shop.until("it is rejected") {
            try await shop.program.run("inbox", "errors", "--json").json()["rejected"]?.elements.count == 1
        }
        try await shop.endDaemon(SIGTERM)
        let rejected = try await shop.program.run("inbox", "errors", "--since", "1h", "--json").json()
        let one = try #require(rejected["rejected"]?.elements.first)
        let id = try #require(one["id"]?.word)
        let path = try #require(one["file"]?.word)
        #expect(one["name"] == "lost.yaml" && one["dropped_again"] == false && path.hasSuffix("\(id)__lost.yaml"))
        #expect(try one["report"] == shop.json(path + ".error.json"))
        let summary = try await shop.program.run("inbox", "errors").output
        #expect(summary.contains(id) && summary.contains("line 3: "), "\(summary)")
        let report = try await shop.program.run("inbox", "errors", String(id.prefix(20))).output
        #expect(try report == shop.text(path + ".error.txt"))
        #expect(try await shop.program.run("inbox", "errors", "01ABC").status == 66)
        #expect(try await shop.program.run("inbox", "retry", "01ABC").status == 66)
        #expect(try await shop.program.run("inbox", "errors", "--since", "soon").status == 64)

        // Still wrong: it stays, unless it is forced.
        let refused = try await shop.program.run("inbox", "retry", id)
        #expect(refused.status == 65 && refused.output.isEmpty && refused.talk.contains("data/later.txt"), "\(refused)")
        // Now what it names is there; the file says as well which one is meant.
        try FileManager.default.copyItem(at: shop.url("data/play.txt"), to: shop.url("data/later.txt"))
        let again = try await shop.program.run("inbox", "retry", path, "--json").json()
        let new = try #require(again["jobs"]?.elements.first)
        #expect(new["retry_of"] == .string(id))
        try await shop.startDaemon()
        let job = try await shop.ended("lost")
        #expect(job["id"] == new["id"] && job["adapter"] == "lost:1", "\(job)")
        // What was answered is not dropped a second time.
        #expect(try await shop.program.run("inbox", "retry", "--all").output.isEmpty)
        let known = try await shop.program.run("inbox", "errors", "--json").json()["rejected"]?.elements
        #expect(known?.first?["dropped_again"] == true)
        listed = try await files()
        #expect(listed.count == 2)
    }

    @Test func aTenantsFolderIsMadeOnPurpose() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(shop.manifest(), to: "tone.yaml")
        let missing = try await shop.program.run("submit", "--tenant", "acme", "tone.yaml")
        #expect(missing.status == 66 && missing.talk.contains("mkdir") && missing.output.isEmpty, "\(missing)")
        #expect(try await shop.program.run("submit", "--tenant", "../x", "tone.yaml").status == 64)
        try FileManager.default.createDirectory(at: shop.url("Jobs/inbox/acme"), withIntermediateDirectories: false)
        try await shop.startDaemon()
        let done = try await shop.program.run("submit", "--tenant", "acme", "tone.yaml", "--wait")
        #expect(done.status == 0, "\(done)")
        #expect(try await shop.jobs().first?["tenant"] == "acme")
        // A second tenant with the same manifest has a job of its own.
        try FileManager.default.createDirectory(at: shop.url("Jobs/inbox/beta"), withIntermediateDirectories: false)
        #expect(try await shop.program.run("submit", "--tenant", "beta", "tone.yaml", "--wait").status == 0)
        #expect(try await shop.jobs().compactMap { $0["tenant"]?.word } == ["acme", "beta"])
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
