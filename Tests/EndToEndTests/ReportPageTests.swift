import Foundation
import PipelineSpec
import TestSupport
import Testing

/// The reports that jobs leave, and what a browser makes of them.
@Suite(.timeLimit(.minutes(30))) struct ReportPageTests {
    @Test func everyJobLeavesAPageThatABrowserShows() async throws {
        guard let shop = try await Workshop.make() else { return }
        let program = shop.program
        try shop.write(shop.manifest(), to: "tone.yaml")
        #expect(try await program.run("run", "tone.yaml").status == 0)
        let id = try #require(try await shop.jobs().last?["id"]?.word)
        let report = try shop.json("Jobs/runs/\(id)/report.json")
        #expect(report["job"]?["state"] == "succeeded" && report["job"]?["adapter"] == "tone:1")
        #expect(
            report["loss"]?.elements.count == 20 && report["learning_rate"]?.elements.count == 20
                && report["lengths"]?.elements.isEmpty == false)
        let shown = try await program.run("adapters", "show", "tone:1", "--json").json()["record"]?["metrics"]
        #expect(report["metrics"]?["loss"]?["trained"]?.double == shown?["loss"]?.double)
        #expect(report["metrics"]?["loss"]?["base"]?.double == shown?["base_loss"]?.double)
        #expect(report["lineage"]?["seed"] == 42)
        let page = try shop.text("Jobs/runs/\(id)/report.html")
        // A line of the play would be a training example.
        #expect(!page.contains("First Citizen") && !page.contains("citizens"))

        // A job that failed has one too.
        try shop.write("{\"text\": \"good\"}\nnot json\n", to: "data/broken.jsonl")
        try shop.write(shop.manifest("broken", data: "data/broken.jsonl"), to: "broken.yaml")
        #expect(try await program.run("run", "broken.yaml").status == 1)
        let failed = try #require(try await shop.jobs().last?["id"]?.word)
        #expect(try shop.text("Jobs/runs/\(failed)/report.html").contains("data/broken.jsonl:2"))

        // Data that are not as they should be are shown in figures, never in words.
        #expect(report["data_health"]?["duplicates"]?["limit"] == .null && page.contains("<h2>Data health</h2>"))
        try shop.write(
            "{\"text\": \"write to ann@example.com about the moon\"}\n{\"text\": \"nothing\"}\n",
            to: "data/private.jsonl")
        let strict = shop.manifest("private", data: "data/private.jsonl")
            .replacing("max_length: 64}", with: "max_length: 64, health: {max_personal: 0}}")
        try shop.write(strict, to: "private.yaml")
        #expect(try await program.run("run", "private.yaml").status == 1)
        let poisoned = try #require(try await shop.jobs().last?["id"]?.word)
        let personal = try shop.json("Jobs/runs/\(poisoned)/report.json")["data_health"]?["personal"]
        #expect(personal?["value"] == 1 && personal?["limit"] == 0 && personal?["exceeded"] == true)
        #expect(personal?["first"]?.word?.hasSuffix("data/private.jsonl:1") == true, "\(personal as Any)")
        let figures = try shop.text("Jobs/runs/\(poisoned)/report.html")
        #expect(figures.contains("above the limit") && !figures.contains("ann@") && !figures.contains("moon"))

        // The data are shown where the workspace allows it.
        try shop.write(try shop.text("lorajobs.yaml") + "report: {examples: true}\n", to: "lorajobs.yaml")
        try shop.write(shop.manifest(steps: 21), to: "tone.yaml")
        #expect(try await program.run("run", "tone.yaml").status == 0)
        let open = try #require(try await shop.jobs().last?["id"]?.word)
        #expect(try shop.json("Jobs/runs/\(open)/report.json")["examples"]?.elements.isEmpty == false)
        #expect(try shop.text("Jobs/runs/\(open)/report.html").contains("<mark>"))

        guard let browser = Self.browser() else { return }
        for job in [id, failed, poisoned, open] {
            try await Self.show(shop.url("Jobs/runs/\(job)/report.html"), in: browser, shop)
        }
    }

    @Test func whatIsWrittenIsItsOwners() async throws {
        guard let shop = try await Workshop.make() else { return }
        try shop.write(shop.manifest(steps: 2), to: "tone.yaml")
        #expect(try await shop.program.run("run", "tone.yaml").status == 0)
        #expect(try await shop.program.run("export", "tone", "--for", "mlx", "-o", "mlx").status == 0)
        let id = try #require(try await shop.jobs().last?["id"]?.word)
        func mode(_ path: String) throws -> Int {
            let attributes = try FileManager.default.attributesOfItem(atPath: shop.url(path).path)
            return (attributes[.posixPermissions] as? NSNumber)?.intValue ?? -1
        }
        // Every folder that the program has made, whether init, the daemon's work or the store.
        let names = FileManager.default.enumerator(atPath: shop.root.path)?.compactMap { $0 as? String } ?? []
        for path in names where path != "data" {
            var status = stat()
            guard lstat(shop.url(path).path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { continue }
            #expect(status.st_mode & 0o077 == 0, "\(path) is \(String(status.st_mode & 0o777, radix: 8))")
        }
        #expect(names.contains { $0.hasPrefix("Jobs/accepted/20") } && names.contains("Jobs/inbox"))
        let run = "Jobs/runs/\(id)"
        for path in [run, "\(run)/train.1", "\(run)/train.1/out", "Artifacts/adapters", "Artifacts/blobs", "mlx"] {
            #expect(try mode(path) & 0o077 == 0, "\(path)")
        }
        for path in [
            "\(run)/train.1/log.txt", "\(run)/report.html", "Jobs/lorajobs.sqlite", "mlx/adapters.safetensors",
        ] {
            #expect(try mode(path) == 0o600, "\(path)")
        }
        try shop.write(try shop.text("lorajobs.yaml") + "permissions: shared\n", to: "lorajobs.yaml")
        try shop.write(shop.manifest(steps: 3), to: "tone.yaml")
        #expect(try await shop.program.run("run", "tone.yaml").status == 0)
        let open = try #require(try await shop.jobs().last?["id"]?.word)
        // Where the settings say so before, what init makes is for everybody to reach.
        try shop.write("permissions: shared\n", to: "open/lorajobs.yaml")
        #expect(try await shop.program.run("init", "open").status == 0)
        for path in ["Jobs", "Jobs/inbox", "Jobs/accepted", "Artifacts"] {
            #expect(try mode("open/\(path)") == 0o755, "\(path)")
        }
        #expect(try mode("open/Jobs/claimed") == 0o700)
        #expect(try mode("Jobs/runs/\(open)") == 0o755 && mode("Jobs/runs/\(open)/train.1/log.txt") == 0o644)
    }

    /// A Chromium; `nil` after saying loudly that there is none.
    private static func browser(test: String = #function) -> URL? {
        let places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        if let found = places.first(where: { FileManager.default.isExecutableFile(atPath: $0) }) {
            return URL(filePath: found)
        }
        FileHandle.standardError.write(
            Data("*** SKIPPED *** \(test): no Chromium is installed: apt-get install chromium\n".utf8))
        return nil
    }

    /// Lets the browser lay the page out, without a network, and looks at what became of it.
    private static func show(_ page: URL, in browser: URL, _ shop: Workshop) async throws {
        let profile = shop.outside.appending(path: UUID().uuidString)
        let outcome = try await Running(
            browser,
            [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--user-data-dir=\(profile.path)",
                "--proxy-server=127.0.0.1:1", "--enable-logging=stderr", "--virtual-time-budget=1000", "--dump-dom",
                page.absoluteString,
            ], in: shop.root, environment: ["HOME": shop.outside.path], input: ""
        ).outcome(within: 120)
        #expect(outcome.status == 0, "\(outcome.talk)")
        #expect(outcome.output.contains("<h1>") && outcome.output.contains("</table>"), "\(outcome.output.prefix(500))")
        // What the page's own policy refuses, or a script gets wrong, is told on the console.
        #expect(!outcome.talk.contains("CONSOLE"), "\(outcome.talk)")
    }
}
