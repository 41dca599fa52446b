import Foundation
import Orchestration
import PipelineSpec
import TestSupport
import Testing

@testable import lorajobs

@Suite struct ManifestWritingTests {
    @Test(arguments: [
        "support-tone", "no", "1e3", "a: b", "data/*.jsonl", "42", "null", "a#b", "ünï", "~", "say \"hi\"", "x ",
    ])
    func scalarsReadBackAsTheyWere(text: String) throws {
        let manifest = ManifestTemplate(name: text, base: text, data: [text, text]).text
        let root = try DocumentReader().read(Data(manifest.utf8))
        #expect(root["name"]?.json == .string(text))
        #expect(root["base"]?.json == .string(text))
        #expect(root["data"]?.json == .array([.string(text), .string(text)]))
    }

    @Test func oneFileIsNoList() throws {
        let root = try DocumentReader().read(Data(ManifestTemplate(name: "n", base: "b", data: ["f.jsonl"]).text.utf8))
        #expect(root["data"]?.json == "f.jsonl")
        #expect(root.entries?.count == 3)
    }

    @Test func pathsOfTheCallerBecomePathsOfTheWorkspace() throws {
        let temporary = try TemporaryFolder()
        let workspace = Workspace(root: temporary.url.appending(path: "ws"))
        try workspace.create()
        let here = workspace.root.appending(path: "data", directoryHint: .isDirectory)
        try FileManager.default.createDirectory(at: here, withIntermediateDirectories: true)
        try Data("{}\n".utf8).write(to: here.appending(path: "a.jsonl"))
        try Data("{}\n".utf8).write(to: temporary.url.appending(path: "out.jsonl"))
        let chosen = Workspace(root: workspace.root)
        #expect(ManifestPath.chosen("a.jsonl", for: chosen, from: here) == "data/a.jsonl")
        #expect(ManifestPath.chosen("*.jsonl", for: chosen, from: here) == "data/*.jsonl")
        #expect(ManifestPath.chosen("./a.jsonl", for: chosen, from: here) == "data/a.jsonl")
        // What is not here may be in the workspace, in the cache or in the store.
        #expect(ManifestPath.chosen("models/m", for: chosen, from: here) == "models/m")
        #expect(ManifestPath.chosen("store:m@latest", for: chosen, from: here) == "store:m@latest")
        let outside = ManifestPath.chosen("../../out.jsonl", for: chosen, from: here)
        #expect(outside.hasPrefix("/") && outside.hasSuffix("/out.jsonl") && !outside.contains(".."))
    }

    @Test func submittedFilesCarryTheirIds() throws {
        for (given, kept) in [
            ("tone.yaml", "tone.yaml"), ("my file (2).yml", "my_file__2_.yaml"), ("x.json", "x.json"),
        ] {
            // One each: ids of one millisecond differ only in their last letters.
            let temporary = try TemporaryFolder()
            let workspace = Workspace(root: temporary.url)
            try workspace.create()
            let source = ManifestSource(path: "/some/where/\(given)", data: Data("name: x\n".utf8))
            #expect(source.name == given)
            let id = try InboxEntry.drop(source.data, name: source.name, in: workspace)
            let url = workspace.inbox.appending(path: "\(id)__\(kept)")
            #expect(try Data(contentsOf: url) == source.data)
            let pending = try #require(PendingDrop.find(String(id.prefix(24)), in: workspace))
            #expect(pending.id == id)
            #expect(PendingDrop.find("01", in: workspace) == nil)
            #expect(try FileManager.default.contentsOfDirectory(atPath: workspace.inbox.path).count == 1)
        }
    }

    @Test func aChangedJSONManifestIsYAML() throws {
        let source = ManifestSource(path: "a.json", data: Data(#"{"name": "x", "train": {"epochs": 3}}"#.utf8))
        #expect(try source.setting([]).name == "a.json")
        let changed = try source.setting(["train.epochs=1"])
        #expect(changed.name == "a.yaml")
        #expect(try DocumentReader().read(changed.data)["train"]?["epochs"]?.json == 1)
        #expect(throws: SpecError.self) { try source.setting(["train.epoch=1"]) }
    }

    @Test func momentsOfAt() throws {
        let zone = try #require(TimeZone(identifier: "Europe/Berlin"))
        // 2026-11-21 03:00 in Berlin.
        let now = try Date("2026-11-21T02:00:00Z", strategy: .iso8601)
        #expect(ManifestChanges.moment("04:30", now: now, timeZone: zone) == "2026-11-21T03:30:00Z")
        #expect(ManifestChanges.moment("02:30", now: now, timeZone: zone) == "2026-11-22T01:30:00Z")
        #expect(ManifestChanges.moment("+2h", now: now, timeZone: zone) == "2026-11-21T04:00:00Z")
        #expect(ManifestChanges.moment("25:00", now: now, timeZone: zone) == "25:00")
        #expect(ManifestChanges.moment("2027-01-31T02:30", now: now, timeZone: zone) == "2027-01-31T02:30")
    }
}
