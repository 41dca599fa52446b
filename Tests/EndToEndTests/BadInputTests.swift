import Foundation
import PipelineSpec
import TestSupport
import Testing

/// What is wrong gets one clear message, and does not touch what is right.
@Suite(.timeLimit(.minutes(30))) struct BadInputTests {
    /// A manifest that is refused: the finding that says why, and words of its message or hint.
    private struct Refused {
        var name: String
        var code: String
        var words: [String]
        var line: Int?
        var bytes: Data

        init(_ name: String, _ code: String, line: Int? = nil, _ words: String..., text: String) {
            self.init(name, code, line: line, words: words, bytes: Data(text.utf8))
        }

        init(_ name: String, _ code: String, line: Int? = nil, words: [String], bytes: Data) {
            (self.name, self.code, self.line, self.words, self.bytes) = (name, code, line, words, bytes)
        }
    }

    private func refused(_ shop: Workshop) throws -> [Refused] {
        let good = shop.manifest("bad")
        try FileManager.default.createDirectory(at: shop.url("models/empty"), withIntermediateDirectories: true)
        try copy("stories260K", to: "mute", shop, without: "tokenizer.json")
        try copy("stories260K", to: "hollow", shop, without: "model.safetensors")
        try shop.write("Once upon a time there was a cat.\n", to: "data/general.txt")
        try shop.write("pickled", to: "models/hollow/pytorch_model.bin")
        var bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n"
        for level in 1...9 {
            let copies = Array(repeating: "*a\(level - 1)", count: 8).joined(separator: ", ")
            bomb += "a\(level): &a\(level) [\(copies)]\n"
        }
        return [
            Refused("unparsable", "syntax", line: 2, text: "name: bad\nbase: ]models\ndata: x\n"),
            Refused("cut-off", "truncated", "truncated", text: "name: bad\nbase: \"models/ti"),
            Refused("oversized", "too_large", "1048576", text: good + String(repeating: "#", count: 1 << 20)),
            Refused(
                "binary", "binary", line: 1, words: ["binary"],
                bytes: try Data(contentsOf: shop.base.appending(path: "model.safetensors")).prefix(3000)),
            Refused("bomb", "anchor", line: 1, "aliases", text: bomb + good),
            Refused("deep", "too_deep", line: 1, "deep", text: "name: " + String(repeating: "[", count: 5000)),
            Refused(
                "outside-data", "path_outside_roots", line: 3, "/etc/passwd", "--allow-root",
                text: shop.manifest("bad", data: "/etc/passwd")),
            Refused("outside-base", "path_outside_roots", line: 2, "/etc", text: shop.manifest("bad", base: "/etc")),
            Refused("unknown", "unknown_key", line: 11, "lora_r", "adapter.rank", text: good + "lora_r: 8\n"),
            Refused(
                "planned", "unsupported", line: 3, "preference",
                text: good.replacing("max_length", with: "format: preference, max_length")),
            Refused(
                "gate", "bad_gate", line: 12, "no such suite",
                text: good + "evaluate: {retention: data/general.txt}\ngate: {max_regression: {suite.faq: 1%}}\n"),
            Refused(
                "no-config", "base_incomplete", line: 2, "models/empty", "config.json",
                text: shop.manifest("bad", base: "models/empty")),
            Refused(
                "mute", "base_incomplete", line: 2, "models/mute", "tokenizer.json",
                text: shop.manifest("bad", base: "models/mute")),
            Refused(
                "hollow", "base_incomplete", line: 2, "models/hollow", "model.safetensors", "is a pickle",
                text: shop.manifest("bad", base: "models/hollow")),
            Refused(
                "no-data", "path_not_found", line: 3, "data/missing.jsonl",
                text: shop.manifest("bad", data: "data/missing.jsonl")),
        ]
    }

    @Test func refusedManifestsAreReportedAndAGoodOneRuns() async throws {
        guard let shop = try await Workshop.make() else { return }
        try await shop.startDaemon()
        // Only an event says of a file that is cut off that no more of it will come.
        try await shop.until("the watcher is ready") {
            try await shop.program.run("status", "--json").json()["daemon"]?["watching"] == true
        }
        let all = try refused(shop)
        for (index, one) in all.enumerated() {
            try shop.drop(one.bytes, as: "\(one.name).yaml")
            if index == all.count / 2 { try shop.drop(shop.manifest(), as: "tone.yaml") }
        }
        // What a link leads to may change; the link itself is what is filed.
        try shop.write(shop.manifest("linked"), to: "linked.yaml")
        try FileManager.default.createSymbolicLink(
            at: shop.url("Jobs/inbox/link.yaml"), withDestinationURL: shop.url("linked.yaml"))

        #expect(try await shop.ended()["adapter"] == "tone:1")
        func reports() throws -> [String] {
            try shop.names(in: "Jobs/rejected").flatMap { day in
                try shop.names(in: "Jobs/rejected/\(day)").map { "Jobs/rejected/\(day)/\($0)" }
            }
        }
        try await shop.until("all of them are rejected") {
            try reports().count { $0.hasSuffix(".yaml") } == all.count + 1
        }
        #expect(try shop.names(in: "Jobs/inbox").isEmpty && shop.names(in: "Jobs/claimed").isEmpty)
        #expect(try await shop.jobs().count == 1)
        #expect(
            try await shop.program.run("status", "--json").json()["rejected_since_yesterday"] == .integer(all.count + 1)
        )

        let paths = try reports()
        for one in all {
            let path = try #require(paths.first { $0.hasSuffix("__\(one.name).yaml") }, "\(one.name) is not filed")
            #expect(try Data(contentsOf: shop.url(path)) == one.bytes)
            let report = try shop.json(path + ".error.json")
            #expect(report["valid"] == false && report["schema"] == 1)
            let findings = report["findings"]?.elements ?? []
            #expect(findings.count == 1, "\(one.name): \(findings)")
            let finding = try #require(findings.first)
            #expect(finding["code"]?.word == one.code, "\(one.name): \(finding)")
            if let line = one.line { #expect(finding["line"] == .integer(line), "\(one.name): \(finding)") }
            let message = (finding["message"]?.word ?? "") + " " + (finding["hint"]?.word ?? "")
            let text = try shop.text(path + ".error.txt")
            for word in one.words { #expect(message.contains(word) && text.contains(word), "\(one.name): \(text)") }
            #expect(text.contains("\(one.name).yaml"), "\(text)")
            if let line = one.line { #expect(text.contains("line \(line)"), "\(text)") }

            try shop.write(one.bytes, to: "\(one.name).yaml")
            let validate = try await shop.program.run("validate", "\(one.name).yaml", "--json")
            #expect(validate.status == 65)
            #expect(try validate.json() == report, "\(one.name): \(validate.output) and \(report)")
            // Nothing else in the way of a shell: the same words and the same code.
            let submit = try await shop.program.run("submit", "\(one.name).yaml")
            #expect(submit.status == 65 && submit.output.isEmpty, "\(submit)")
        }
        let link = try #require(paths.first { $0.hasSuffix("__link.yaml.error.json") })
        #expect(try shop.json(link)["findings"]?.elements.first?["code"] == "not_a_regular_file")
    }

    /// A job that fails when its stages read: the code, and words that say which file and where.
    private struct Failing {
        var name: String
        var stage: String
        var code: String
        var words: [String]
        var manifest: String
    }

    private func copy(_ model: String, to name: String, _ shop: Workshop, without left: String...) throws {
        let source = TestData.root.appending(path: "models/\(model)")
        let target = shop.url("models/\(name)")
        try FileManager.default.createDirectory(at: target, withIntermediateDirectories: true)
        for file in try FileManager.default.contentsOfDirectory(atPath: source.path)
        where (file.hasSuffix(".json") || file.hasSuffix(".safetensors")) && !left.contains(file) {
            try Data(contentsOf: source.appending(path: file)).write(to: target.appending(path: file))
        }
    }

    private func failing(_ shop: Workshop) throws -> [Failing] {
        try copy("stories260K-sharded", to: "short", shop)
        let shard = "models/short/model-00002-of-00003.safetensors"
        let bytes = try Data(contentsOf: shop.url(shard))
        try shop.write(bytes.dropLast(1000), to: shard)
        try copy("stories260K", to: "misfit", shop, without: "tokenizer.json")
        try shop.write(
            Data(contentsOf: TestData.root.appending(path: "tokenizers/gpt2/tokenizer.json")),
            to: "models/misfit/tokenizer.json")
        try shop.write("{\"text\": \"one\"}\n{\"text\": \"two\"}\n{\"text\": 3}\n", to: "data/broken.jsonl")
        func path(_ name: String) -> String { shop.url(name).path }
        return [
            Failing(
                name: "short", stage: "train", code: "weights_truncated",
                words: [path(shard), "model.layers."], manifest: shop.manifest("short", base: "models/short")),
            Failing(
                name: "misfit", stage: "tokenize", code: "vocabulary_mismatch",
                words: [path("models/misfit"), "tokenizer.json", "512"],
                manifest: shop.manifest("misfit", base: "models/misfit")),
            Failing(
                name: "broken", stage: "tokenize", code: "bad_record", words: [path("data/broken.jsonl") + ":3: "],
                manifest: shop.manifest("broken", data: "data/broken.jsonl")),
        ]
    }

    @Test func jobsWithBadInputFailOnceAndAGoodOneRuns() async throws {
        guard let shop = try await Workshop.make(), try TestData.folder("models/stories260K-sharded") != nil,
            try TestData.folder("tokenizers/gpt2") != nil
        else { return }
        try await shop.startDaemon()
        let all = try failing(shop)
        for (index, one) in all.enumerated() {
            try shop.drop(one.manifest, as: "\(one.name).yaml")
            if index == all.count / 2 { try shop.drop(shop.manifest(), as: "tone.yaml") }
        }
        for one in all {
            let job = try await shop.ended(one.name)
            #expect(job["state"] == "failed", "\(job)")
            let reason = try #require(job["reason"]?.word)
            #expect(reason.hasPrefix("\(one.stage): \(one.code): "), "\(reason)")
            for word in one.words { #expect(reason.contains(word), "\(reason)") }
            #expect(!reason.contains("\n") && !reason.contains("Error Domain"), "\(reason)")
            let id = try #require(job["id"]?.word)
            let log = try await shop.program.run("logs", id)
            for word in one.words { #expect(log.output.contains(word), "\(log)") }
            // Not tried again: it would be as wrong.
            #expect(try shop.attempts(id).last == "\(one.stage).1")
        }
        #expect(try await shop.ended()["adapter"] == "tone:1")
        #expect(try shop.names(in: "Artifacts/adapters") == ["tone"])

        // Put right, and done again as the program suggests.
        let lines = (1...200).map { "{\"text\": \"This is line \($0) of some text to learn.\"}\n" }
        try shop.write(lines.joined(), to: "data/broken.jsonl")
        let failed = try #require(try await shop.jobs().first { $0["name"] == "broken" }?["id"]?.word)
        let retry = try await shop.program.run("retry", failed)
        #expect(retry.status == 0, "\(retry)")
        let again = try await shop.ended("broken", count: 2)
        #expect(again["state"] == "succeeded" && again["adapter"] == "broken:1", "\(again)")
    }
}
