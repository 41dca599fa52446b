import Foundation
import TestSupport
import Testing

@testable import PipelineSpec

@Suite struct PathTests {
    let fixture: WorkspaceFixture

    init() throws { fixture = try WorkspaceFixture() }

    private func places(base: String = "models/tiny", data: String = "data/a.jsonl", settings: String = "") throws
        -> [Place]
    {
        try fixture.findings("name: x\nbase: \(base)\ndata: \(data)\n", settings: settings).map(Place.init)
    }

    @Test func pathsMustExist() throws {
        let findings = try fixture.findings(
            "name: x\nbase: models/other\ndata: [data/a.jsonl, data/deep/none/x.jsonl]\n")
        #expect(findings.map(Place.init) == [Place("path_not_found", 2, 7), Place("path_not_found", 3, 22)])
        #expect(findings[0].hint?.hasPrefix(fixture.root + "models exists") == true)
        #expect(findings[1].hint == "\(fixture.root)data/deep exists, what follows does not")
        #expect(findings[1].pointer == "/data/1")
        let pattern = try fixture.findings("name: x\nbase: models/tiny\ndata: data/deep/*.txt\n")
        #expect(pattern.map(Place.init) == [Place("path_not_found", 3, 7)])
        #expect(pattern[0].hint == "looked in \(fixture.root)data/deep")
    }

    @Test func pathsMustLieInsideARoot() throws {
        try fixture.write("outside/secret.jsonl", "{}")
        try fixture.writeModel("outside/model")
        try fixture.link("ws/data/link.jsonl", to: "../../outside/secret.jsonl")
        try fixture.link("ws/data/linked", to: "../../outside")
        try fixture.link("ws/models/linked", to: "../../outside/model")
        try fixture.write("ws/models/half/config.json", "{}")
        try fixture.write("ws/models/half/tokenizer.json", "{}")
        try fixture.link("ws/models/half/model.safetensors", to: "../../../outside/secret.jsonl")
        let outside = fixture.folder.url.path + "/outside"
        #expect(try places(data: "../outside/secret.jsonl") == [Place("path_outside_roots", 3, 7)])
        #expect(try places(data: "\(outside)/secret.jsonl") == [Place("path_outside_roots", 3, 7)])
        #expect(try places(data: "data/link.jsonl") == [Place("path_outside_roots", 3, 7)])
        #expect(try places(data: "data/li*.jsonl") == [Place("path_outside_roots", 3, 7)])
        #expect(try places(data: "data/linked/*.jsonl") == [Place("path_outside_roots", 3, 7)])
        #expect(try places(data: "data/link*/*.jsonl") == [Place("path_outside_roots", 3, 7)])
        #expect(try places(data: "/etc/passwd") == [Place("path_outside_roots", 3, 7)])
        #expect(try places(data: "/**/passwd") == [Place("path_outside_roots", 3, 7)])
        #expect(try places(data: "../ws/data/a.jsonl") == [])
        #expect(try places(base: "models/linked") == [Place("path_outside_roots", 2, 7)])
        #expect(try places(base: "models/half") == [Place("path_outside_roots", 2, 7)])
        #expect(try places(base: "../outside/model") == [Place("path_outside_roots", 2, 7)])
        // Once its folder is a root, all of it is welcome.
        let settings = "roots: [\(outside)]\n"
        #expect(try places(base: "models/linked", data: "data/li*.jsonl", settings: settings) == [])
        #expect(try places(base: "models/half", data: "\(outside)/*.jsonl", settings: settings) == [])
        // A root's name as a prefix of another folder's is not enough.
        try fixture.write("outside2/x.jsonl", "{}")
        #expect(try places(data: "\(outside)2/x.jsonl", settings: settings) == [Place("path_outside_roots", 3, 7)])
    }

    @Test func dataMustBeRegularFiles() throws {
        try FileManager.default.createDirectory(
            at: fixture.workspace.root.appending(path: "data/dir.jsonl"), withIntermediateDirectories: true)
        #expect(mkfifo(fixture.root + "data/pipe", 0o644) == 0)
        #expect(try places(data: "data/dir.jsonl") == [Place("not_a_regular_file", 3, 7)])
        #expect(try places(data: "data/pipe") == [Place("not_a_regular_file", 3, 7)])
        #expect(try places(data: "data/*.jsonl") == [])
        #expect(try places(data: "data/dir*") == [Place("path_not_found", 3, 7)])
    }

    @Test func aBaseNeedsItsConfiguration() throws {
        try fixture.write("ws/models/empty/README", "")
        #expect(try places(base: "models/empty") == [Place("base_incomplete", 2, 7)])
        #expect(try places(base: "models/tiny/config.json") == [Place("base_incomplete", 2, 7)])
        #expect(try places(base: "{config: models/none, init: random}") == [Place("path_not_found", 2, 16)])
    }

    @Test func aBaseNeedsItsWeightsAndItsTokenizer() throws {
        func findings(_ base: String) throws -> [Finding] {
            try fixture.findings("name: x\nbase: \(base)\ndata: data/a.jsonl\n")
        }
        try fixture.write("ws/models/bare/config.json", "{}")
        let bare = try findings("models/bare")
        #expect(bare.map(Place.init) == [Place("base_incomplete", 2, 7), Place("base_incomplete", 2, 7)])
        #expect(bare.map(\.message).first?.contains("model.safetensors") == true)
        #expect(bare.map(\.message).last?.contains("tokenizer.json") == true)
        // Random numbers need no file; the tokenizer is needed all the same.
        let random = try findings("{config: models/bare, init: random}")
        #expect(random.map(Place.init) == [Place("base_incomplete", 2, 16)])
        #expect(random.first?.message.contains("tokenizer.json") == true)

        try fixture.write("ws/models/bare/tokenizer.json", "{}")
        #expect(try findings("{config: models/bare, init: random}") == [])
        try fixture.write("ws/models/bare/pytorch_model.bin", "")
        let pickled = try findings("models/bare")
        #expect(pickled.count == 1 && pickled.first?.hint?.contains("pytorch_model.bin is a pickle") == true)
        try fixture.write("ws/models/bare/model.safetensors.index.json", "{}")
        #expect(try findings("models/bare") == [])
    }

    @Test func modelIDsAreLookedUpInTheCache() throws {
        #expect(try places(base: "acme/tiny-lm") == [Place("path_not_found", 2, 7)])
        try fixture.write("hf/hub/models--acme--tiny-lm/refs/main", "abc123\n")
        try fixture.write("hf/hub/models--acme--tiny-lm/blobs/1", "{}")
        try FileManager.default.createDirectory(
            at: fixture.folder.url.appending(path: "hf/hub/models--acme--tiny-lm/snapshots/abc123"),
            withIntermediateDirectories: true)
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            try fixture.link("hf/hub/models--acme--tiny-lm/snapshots/abc123/\(name)", to: "../../blobs/1")
        }
        let job = try fixture.resolve("name: x\nbase: acme/tiny-lm\ndata: data/a.jsonl\n")
        #expect(job.manifest.base.path.hasSuffix("/hf/hub/models--acme--tiny-lm/snapshots/abc123"))
        #expect(try places(base: "acme/..") != [])
        let home = HuggingFaceCache(environment: ["HOME": "/home/x"])
        #expect(home.root == "/home/x/.cache/huggingface/hub")
        #expect(HuggingFaceCache(environment: ["HF_HUB_CACHE": "/c", "HF_HOME": "/h"]).root == "/c")
    }

    @Test func referencesAreLookedUpInTheStore() throws {
        var resolver = try fixture.resolver()
        let folder = fixture.workspace.root.appending(path: "Artifacts/models/tiny/3")
        try fixture.writeModel("ws/Artifacts/models/tiny/3")
        resolver.store = { reference in
            if reference == "bad:" { throw SpecError(.key, "malformed reference") }
            return reference == "tiny:3" ? folder : nil
        }
        func resolve(_ base: String) throws -> ResolvedManifest {
            try resolver.resolve(Data("name: x\nbase: \(base)\ndata: data/a.jsonl\n".utf8))
        }
        #expect(try resolve("store:tiny:3").manifest.base == .folder(fixture.root + "Artifacts/models/tiny/3"))
        for base in ["store:tiny@production", "\"store:bad:\""] {
            let error = #expect(throws: InvalidFile.self) { try resolve(base) }
            #expect(error?.findings.map(Place.init) == [Place("reference_not_found", 2, 7)])
        }
    }

    @Test func sharedFilesAreAWarning() throws {
        let job = try fixture.resolve(
            "name: x\nbase: models/tiny\ndata:\n  train: data/*.jsonl\n  test: data/b.jsonl\n")
        #expect(job.warnings.map(Place.init) == [Place("overlapping_splits", 5, 9)])
        #expect(job.warnings[0].severity == .warning)
    }

    @Test func patternsExpandSortedAndOnce() throws {
        try fixture.write("ws/data/.hidden.jsonl", "{}")
        try fixture.write("ws/data/[odd].jsonl", "{}")
        let job = try fixture.resolve(
            """
            name: x
            base: models/tiny
            data: ["data/**/*.jsonl", data/b.jsonl, "data/[odd].jsonl"]
            """)
        let files = try DataFiles(of: job.manifest, roots: fixture.resolver().roots)
        let names = files.train.map { $0.replacing(fixture.root, with: "") }
        #expect(names == ["data/[odd].jsonl", "data/a.jsonl", "data/b.jsonl", "data/deep/er/c.jsonl"])
        #expect(files.bySplit.keys.sorted() == ["train"])
        try FileManager.default.removeItem(atPath: fixture.root + "data/b.jsonl")
        let error = #expect(throws: InvalidFile.self) {
            try DataFiles(of: job.manifest, roots: fixture.resolver().roots)
        }
        #expect(error?.findings.map(\.code) == [.pathNotFound])
    }

    @Test(arguments: [
        ("*", "", true), ("*", "abc", true), ("a*c", "abbc", true), ("a*c", "abcd", false), ("?", "", false),
        ("?b", "ab", true), ("[a-c]x", "bx", true), ("[!a-c]x", "bx", false), ("[^a]x", "bx", true), ("[]]", "]", true),
        ("[", "[", true), ("[a", "[a", true), ("a**b", "ab", true), ("*a*b*", "xxaxxbxx", true),
        ("*.jsonl", "jsonl", false),
        ("[a-]", "-", true), ("é?", "éx", true),
    ])
    func segmentsMatch(_ pattern: String, _ name: String, _ expected: Bool) {
        #expect(FilePattern.match(Array(pattern)[...], Array(name)[...]) == expected)
    }

    @Test func patternsAreCheap() {
        // Quadratic at worst, where naive backtracking would not end.
        let pattern = Array(String(repeating: "*a", count: 100) + "b")
        #expect(!FilePattern.match(pattern[...], Array(String(repeating: "a", count: 2000))[...]))
        #expect(FilePattern(fixture.root + "**/**/*.jsonl").matches(budget: 2) == nil)
        #expect(FilePattern(fixture.root + "data/**/**/c.jsonl").matches() == [fixture.root + "data/deep/er/c.jsonl"])
    }
}
