import Foundation
import PipelineSpec
import TestSupport
import Testing

/// Being told, as people set it up, with a real daemon, a real server and real training.
@Suite struct NotifyVerbTests {
    private func settings(_ shop: Workshop, _ text: String) throws {
        try shop.write(try shop.text("lorajobs.yaml") + text, to: "lorajobs.yaml")
    }

    private func notices(_ shop: Workshop) async throws -> [JSONValue] {
        try await shop.program.run("notify", "ls", "--json").json()["notices"]?.elements ?? []
    }

    @Test func aNightIsTold() async throws {
        guard let shop = try await Workshop.make() else { return }
        let nobody = try await shop.program.run("notify")
        #expect(nobody.status == 0 && nobody.talk.contains("nobody is told"), "\(nobody)")
        let server = try LoopbackServer { number, _ in .status(number == 1 ? 500 : 200) }
        defer { server.stop() }
        try shop.write("s3cret\n", to: "token")
        try settings(
            shop,
            """
            notify:
              hook: {webhook: "\(server.address)/x7Kq/path", token_file: token, on: [failed, rejected, promoted]}
              board: {folder: told, on: []}

            """)
        // Before any daemon: whether targets can be reached.
        let refused = try await shop.program.run("notify", "test", "hook")
        #expect(refused.status == 74 && refused.talk.contains("HTTP 500"), "\(refused)")
        let reached = try await shop.program.run("notify", "test", "hook", "--json")
        #expect(try reached.status == 0 && reached.json()["delivered"] == true, "\(reached)")
        #expect(try await shop.program.run("notify", "test", "bord").status == 66)
        #expect(try await shop.program.run("notify", "test", "board").status == 0)
        #expect(try shop.names(in: "told").count == 1)
        let config = try await shop.program.run("config")
        #expect(config.output.contains("notify.hook.webhook") && !config.output.contains("x7Kq"), "\(config)")

        try await shop.startDaemon()
        try shop.drop(shop.manifest(steps: 2) + "notify: board\n", as: "tone.yaml")
        #expect(try await shop.ended()["state"] == "succeeded")
        try shop.drop("nmae: tone\n", as: "slip.yaml")
        try shop.drop(shop.manifest("evil", steps: 2) + "notify: [bored]\n", as: "evil.yaml")
        #expect(try await shop.program.run("adapters", "promote", "tone:1").status == 0)
        try await shop.until("everything is told") {
            let all = try await self.notices(shop)
            return all.count == 4 && all.allSatisfy { $0["state"] == "delivered" }
        }
        let told = try await notices(shop).compactMap { "\($0["event"]?.word ?? "") \($0["target"]?.word ?? "")" }
        #expect(told.sorted() == ["finished board", "promoted hook", "rejected hook", "rejected hook"])
        #expect(try shop.names(in: "told").count == 2)
        let table = try await shop.program.run("notify", "ls")
        #expect(table.output.contains("delivered") && table.output.contains("HTTP 200"), "\(table)")
        let promotions = try server.requests.map { try JSONDecoder().decode(JSONValue.self, from: $0.body) }
            .filter { $0["event"] == "promoted" }
        #expect(promotions.count == 1 && promotions[0]["promotion"]?["cause"] == "hand")
        #expect(server.requests.allSatisfy { $0.headers["authorization"] == "Bearer s3cret" })
        let none = try await shop.program.run("notify", "retry")
        #expect(none.status == 0 && none.talk.contains("0 deliveries"), "\(none)")
        try await shop.endDaemon(SIGTERM)
    }

    /// No secret is seen among the processes while a request is on its way, nor in the daemon's log.
    @Test func noListOfProcessesShowsASecret() async throws {
        guard let shop = try await Workshop.make() else { return }
        let server = try LoopbackServer { _, _ in .silence }
        defer { server.stop() }
        try shop.write("s3cret\n", to: "token")
        try settings(
            shop,
            "notify: {hook: {webhook: \"\(server.address)/s3cret/path\", token_file: token, timeout: 60s}}\n")
        let test = try shop.program.start(["notify", "test", "hook"])
        try await shop.until("it is asked") { server.requests.count == 1 }
        let children = try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { Int32($0) }.filter {
            let status = (try? String(contentsOfFile: "/proc/\($0)/status", encoding: .utf8)) ?? ""
            return status.contains("PPid:\t\(test.pid)\n")
        }
        #expect(!children.isEmpty)
        for pid in children {
            for file in ["cmdline", "environ"] {
                let data = FileManager.default.contents(atPath: "/proc/\(pid)/\(file)") ?? Data()
                #expect(!String(decoding: data, as: UTF8.self).contains("s3cret"))
            }
        }
        server.stop()
        test.signal(SIGTERM)
        _ = try await test.outcome()
        for pid in children { kill(pid, SIGKILL) }
    }

    /// `kill -9` of the program of a person who moves an alias: what was decided happens, and is told once.
    @Test func aPersonWhoseProgramDiesIsNotForgotten() async throws {
        guard let shop = try await Workshop.make() else { return }
        try settings(shop, "notify: {board: {folder: told, on: [promoted]}}\n")
        try await shop.startDaemon()
        try shop.drop(shop.manifest(steps: 2), as: "tone.yaml")
        #expect(try await shop.ended()["state"] == "succeeded")
        try await shop.endDaemon(SIGTERM)
        var dying = shop.program
        let points = ["alias.made", "alias.renamed", "alias.logged", "decision.followed", "move.recorded"]
        for point in points {
            // What the one before has left would be finished first, and die at the same point.
            let repaired = try await shop.program.run("doctor", "--repair")
            #expect(repaired.talk.contains("let the store follow") == (point != points[0]), "\(point): \(repaired)")
            dying.environment["LORAJOBS_FAILPOINTS"] = "\(point)=kill"
            let alias = point.replacing(".", with: "-")
            let end = try await dying.run("adapters", "promote", "tone:1", "--to", alias, "--reason", "good")
            #expect(end.status == 128 + SIGKILL, "\(point): \(end)")
        }
        // The last one is the daemon's to finish.
        try await shop.startDaemon()
        try await shop.until("all are told") {
            let all = try await self.notices(shop)
            return all.count == points.count && all.allSatisfy { $0["state"] == "delivered" }
        }
        var told: [String] = []
        for name in try shop.names(in: "told") where !name.hasPrefix(".") {
            told.append(try shop.json("told/\(name)")["promotion"]?["alias"]?.word ?? "")
        }
        let aliases = points.map { $0.replacing(".", with: "-") }
        #expect(told.sorted() == aliases.sorted())
        let log = try await shop.program.run("adapters", "log", "tone", "--json").json()
        let moves = log["log"]?.elements.compactMap { $0["alias"]?.word } ?? []
        #expect(moves.sorted() == aliases.sorted(), "\(log)")
        for alias in aliases {
            let path = shop.url("Artifacts/adapters/tone/\(alias)").path
            #expect(try FileManager.default.destinationOfSymbolicLink(atPath: path) == "1")
        }
        #expect(try await shop.program.run("doctor").status == 0)
    }
}
